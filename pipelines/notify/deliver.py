"""Which channels get what: pings before and after a run, one notice for each channel after it, and tests of them.

Nothing here raises or changes an exit code. What could not be delivered is one line for people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from archiver.config.tables.notify import NotifySettings, Occasion
from archiver.control.run import utc_now
from archiver.errors import ArchiverError
from archiver.mail.counts import counted
from pipelines.notify.apart import Delivery, deliver_all
from pipelines.notify.channel import Channel
from pipelines.notify.mail import Mail
from pipelines.notify.notice import Command, Notice, notice_of, one_line, trial_notice
from pipelines.notify.occasion import News, news_of, next_outcome, told_to
from pipelines.notify.outcomes import Outcome, keep_outcomes, outcomes_in
from pipelines.notify.ping import Ping
from pipelines.notify.program import OwnProgram
from pipelines.notify.results import Result, Watched
from pipelines.notify.webhook import Webhook
from pipelines.stop import STOP

_START_SECONDS = 5.0  # before the work begins

Say = Callable[[str], None]


class Group(Struct, frozen=True):
    """A channel, its occasions, and the accounts about which it gets notices."""

    channel: Channel
    on: tuple[Occasion, ...]
    accounts: tuple[str, ...]

    @property
    def line(self) -> str:
        """Where notices about these accounts go, for people."""
        when = " and ".join(self.on) if self.on else "start, success and failure"
        return f"{self.channel.name}, on {when} ({counted(len(self.accounts), 'account')})"


def groups_of(watched: Iterable[Watched]) -> list[Group]:
    """The channels of these accounts, pings last; accounts with equal channels and occasions share one."""
    notices: dict[tuple[Channel, tuple[Occasion, ...]], list[str]] = {}
    pings: dict[Channel, list[str]] = {}
    for each in watched:
        for channel in _channels(each.notify):
            notices.setdefault((channel, each.notify.on), []).append(each.account)
        if each.notify.ping is not None:
            pings.setdefault(Ping(each.notify.ping), []).append(each.account)
    found = [Group(channel, on, tuple(names)) for (channel, on), names in notices.items()]
    return found + [Group(channel, (), tuple(names)) for channel, names in pings.items()]


def _channels(notify: NotifySettings) -> Iterator[Channel]:
    if not notify.on:
        return
    if notify.mail is not None:
        yield Mail(notify.mail)
    if notify.webhook is not None:
        yield Webhook(notify.webhook, notify.webhook_secret)
    if notify.command is not None:
        yield OwnProgram(notify.command)


def announce(verb: str, watched: Sequence[Watched], say: Say) -> None:
    """Send the pings of a start. Waits for some seconds at most."""
    deliveries: list[Delivery] = []
    for group in groups_of(watched):
        if isinstance(group.channel, Ping):
            text = f"archiver {verb} begins: {counted(len(group.accounts), 'account')}\n"
            notice = Notice(text.strip(), text, {}, failed=False)
            deliveries.append((Ping(group.channel.url, "start"), notice))
    answers = deliver_all(deliveries, seconds=_START_SECONDS, is_stopped=_stopping())
    _say_failures(deliveries, answers, say)


def tell(
    command: Command, results: Sequence[Result], say: Say, is_first: Callable[[], bool] = lambda: True
) -> None:
    """Send what this command's end is worth, and keep what was told. `is_first` is asked if there is a notice to
    send: if another host has sent it, it was told, and only the pings are ours."""
    groups = groups_of(each.watched for each in results)
    if not groups:
        return
    known = {folder: outcomes_in(folder) for folder in {_folder(each) for each in results}}
    news = [news_of(each, known[_folder(each)].get(each.account, Outcome())) for each in results]
    by_account: dict[str, list[News]] = {}
    for one in news:
        by_account.setdefault(one.result.account, []).append(one)
    pings: list[Delivery] = []
    notices: list[Delivery] = []
    about: list[Sequence[News]] = []
    for group in groups:
        everybody = [one for name in dict.fromkeys(group.accounts) for one in by_account[name]]
        if isinstance(group.channel, Ping):
            notice = notice_of(command, ("ping",), [one for one in everybody if one.result.exit_code], everybody)
            pings.append((Ping(group.channel.url, "fail" if notice.failed else ""), notice))
            continue
        occasions, shown = told_to(group.on, everybody)
        if occasions:
            notices.append((group.channel, notice_of(command, occasions, shown, everybody)))
            about.append(shown)
    if notices and not is_first():
        notices, about = [], []
    deliveries = [*notices, *pings]
    answers = deliver_all(deliveries, is_stopped=_stopping())
    _say_failures(deliveries, answers, say)
    _keep(news, about, answers[: len(notices)], say)


def try_out(watched: Sequence[Watched]) -> list[tuple[Group, str | ArchiverError]]:
    """Send a test notice through each channel; what the other side answered, or why it did not arrive. A ping goes
    to URL/log, so that the service does not take it for a run."""
    groups = groups_of(watched)
    deliveries: list[Delivery] = []
    for group in groups:
        channel = Ping(group.channel.url, "log") if isinstance(group.channel, Ping) else group.channel
        deliveries.append((channel, trial_notice(utc_now(), group.accounts)))
    return list(zip(groups, deliver_all(deliveries, is_stopped=_stopping()), strict=True))


def _stopping() -> Callable[[], bool]:
    """Whether a signal came since now: one that ended the run does not keep its end from being told."""
    before = STOP.asked_to
    return lambda: before is None and STOP.asked_to is not None


def _say_failures(deliveries: Sequence[Delivery], answers: Sequence[str | ArchiverError], say: Say) -> None:
    """One line for each kind of failure, however many channels there are."""
    lines: dict[str, int] = {}
    for (channel, _), answer in zip(deliveries, answers, strict=True):
        if isinstance(answer, ArchiverError):
            what = "" if isinstance(channel, Ping) else "notice not delivered: "
            line = f"{what}{channel.name}: {one_line(str(answer))}"
            lines[line] = lines.get(line, 0) + 1
    for line, times in lines.items():
        say(line if times == 1 else f"{line} ({times:,} times)")


def _keep(
    news: Sequence[News], about: Sequence[Sequence[News]], answers: Sequence[str | ArchiverError], say: Say
) -> None:
    """Keep the outcomes of accounts that somebody was told about, or that were worth no notice. What nobody
    could be told waits for the next run."""
    lost: set[int] = set()
    told: set[int] = set()
    for shown, answer in zip(about, answers, strict=True):
        (lost if isinstance(answer, ArchiverError) else told).update(map(id, shown))
    now = utc_now()
    kept: dict[Path, dict[str, Outcome]] = {}
    for one in news:
        if any(_channels(one.result.watched.notify)) and id(one) not in lost - told:
            kept.setdefault(_folder(one.result), {})[one.result.account] = next_outcome(one, now)
    for folder, outcomes in kept.items():
        try:
            keep_outcomes(folder, outcomes)
        except OSError as error:
            say(f"{folder}: what was told cannot be noted here ({error.strerror}); the next run may tell it again")


def _folder(result: Result) -> Path:
    return result.watched.file.parent


def as_json(groups: Iterable[tuple[Group, str | ArchiverError | None]]) -> list[Mapping[str, object]]:
    """The channels in a JSON document, with their answers if they were tried."""
    found: list[Mapping[str, object]] = []
    for group, answer in groups:
        failure = str(answer) if isinstance(answer, ArchiverError) else None
        fields: dict[str, object] = {
            "to": group.channel.name,
            "on": list(group.on),
            "accounts": list(group.accounts),
        }
        if answer is not None:
            fields |= {"delivered": failure is None, "answer": failure or answer}
        found.append(fields)
    return found
