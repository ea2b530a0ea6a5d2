"""Notices of a report: what people should know, and what is no failure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from archiver.facts.known import Tally
from archiver.facts.replica import gone_words
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.mail.model import Listed
from archiver.mail.window import window_words
from archiver.report.document import Notice
from archiver.source.same_mailbox import renewed_words


def window_notices(tallies: Sequence[Tally]) -> list[Notice]:
    """Folders of which the server probably shows only a part."""
    return [
        window_notice(printable(each.name), each.shown, each.on_server - each.shown)
        for each in tallies
        if each.shown is not None
    ]


def renewed_notices(count: int) -> list[Notice]:
    """The notice that all `count` folders have a new UIDVALIDITY; none if `count` is 0."""
    return [Notice("", "renewed", count, renewed_words(count))] if count else []


def empty_notices(listed: Sequence[Listed]) -> list[Notice]:
    """The notice that the server shows no message at all, which may be a setting of the mailbox; none if it shows
    some, or does not report how many."""
    counts = [each.status.messages if each.status else None for each in listed if each.folder.selectable]
    if not counts or any(count != 0 for count in counts):
        return []
    text = (
        "the server shows no message in any folder: if the mailbox is not empty, check `user`, and the mailbox's "
        "settings for what IMAP may see"
    )
    return [Notice("", "empty", 0, text)]


def admin_notices(admin: str | None, names: Collection[str]) -> list[Notice]:
    """The notice that an admin who opened the mailbox of another user sees no folder (by these names) but INBOX:
    Dovecot hides the others from a master user if ACLs are on. None if the user logged in."""
    if admin is None or set(names) != {"INBOX"}:
        return []
    text = (
        f"the server shows {printable(admin)} no folder but INBOX: if the mailbox has others, access rights (ACL) "
        "hide them; docs/providers.md has what to set for admin logins"
    )
    return [Notice("", "admin", 1, text)]


def retention_notices(forgotten: int, held: int) -> list[Notice]:
    """What the rule of retention did: messages that it forgot, and those that are due and held."""
    found = []
    if forgotten:
        text = f"{counted(forgotten, 'message')} gone from the source for long: forgotten by [retention]"
        found.append(Notice("", "forgotten", forgotten, text))
    if held:
        text = f"{counted(held, 'message')} would be forgotten by [retention], but a hold keeps them"
        found.append(Notice("", "held", held, text))
    return found


def unnumbered_notices(names: Sequence[str], server: str) -> list[Notice]:
    """The notice about folders without UIDVALIDITY at the source or at the destination; none if there are none."""
    if not names:
        return []
    first = f'"{printable(names[0])}"'
    which = f"folder {first} has" if len(names) == 1 else f"{len(names):,} folders ({first} is the first) have"
    what = "messages" if server == "source" else "copies of ours"
    text = f"{which} no UIDVALIDITY at the {server}: in each run the {what} in them are compared with the archive"
    return [Notice("", "unnumbered", len(names), text)]


_DOUBTS = {
    "quoting": 'a ">" before "From " was taken off',
    "separator": 'the line "From " before the message is an unusual one',
    "length": "Content-Length goes over a line that looks like the beginning of another message",
    "line ends": "there were CRLF and LF, and each LF became CRLF",
}


def doubtful_notices(doubts: Mapping[str, Mapping[str, tuple[int, str]]]) -> list[Notice]:
    """Messages in files that could be read in another way: by folder and by what is doubtful, how many and
    which."""
    return [
        _doubtful(name, doubt, count, f": uid {uids}")
        for name, found in sorted(doubts.items())
        for doubt, (count, uids) in sorted(found.items())
    ]


def doubts_seen(listed: Sequence[Listed]) -> list[Notice]:
    """The same of files that were only looked at: which messages they are is known when they have their UIDs."""
    return [
        _doubtful(each.folder.name, doubt, count, "; the report of a run lists them")
        for each in listed
        for doubt, count in sorted(each.doubts.items())
    ]


def _doubtful(name: str, doubt: str, count: int, which: str) -> Notice:
    name = printable(name)
    what = f'folder "{name}": {counted(count, "message")} could be read in another way'
    return Notice(name, "doubtful", count, f"{what}, because {_DOUBTS.get(doubt, doubt)}{which}")


def pop3_notices(name: str, fetched: int, by_digest: int) -> list[Notice]:
    """What POP3 does not have for the messages that were fetched from a folder; and those that the server gives no
    UIDL that can be relied on."""
    notices = []
    if fetched:
        text = f'folder "{name}": POP3 has no dates of arrival; they are taken from the topmost Received field'
        notices.append(Notice(name, "received", fetched, text))
    if by_digest:
        which = counted(by_digest, "message has", "messages have")
        text = (
            f'folder "{name}": {which} no UIDL that can be relied on; each run reads them and compares their bytes'
        )
        notices.append(Notice(name, "by-digest", by_digest, text))
    return notices


_USERS_SHOWN = 5


def rights_notices(refused: Mapping[str, Sequence[tuple[str, str]]]) -> list[Notice]:
    """Access rights that the destination did not give, by folder: whose, and why."""
    notices = []
    for folder, users in sorted(refused.items()):
        name = printable(folder)
        shown = [f'"{printable(user)}" ({printable(reason)})' for user, reason in users[:_USERS_SHOWN]]
        more = [f"{len(users) - _USERS_SHOWN} more"] if len(users) > _USERS_SHOWN else []
        words = f"the destination did not give the access rights of {', '.join([*shown, *more])}"
        notices.append(Notice(name, "rights", len(users), f'folder "{name}": {words}'))
    return notices


def gone_notices(stranded: Mapping[str, int]) -> list[Notice]:
    """Folders that the source no longer has, by name, with the number of our copies that stay."""
    return [
        Notice(name, "gone", count, gone_words(name, count))
        for name, count in ((printable(folder), count) for folder, count in sorted(stranded.items()))
    ]


def left_out_notices(stored: Mapping[str, int]) -> list[Notice]:
    """Folders whose messages are not replayed, by name, with their number."""
    return [
        Notice(
            printable(name),
            "left-out",
            count,
            f'folder "{printable(name)}": {counted(count, "message is", "messages are")} not in All Mail, and '
            'with [replay] labels = "all-mail" not replayed',
        )
        for name, count in sorted(stored.items())
        if count
    ]


def window_notice(name: str, shown: int, hidden: int) -> Notice:
    """The notice about a folder that shows `shown` messages, and no longer shows `hidden` that the archive has."""
    return Notice(name, "window", shown, window_words(name, shown, hidden))
