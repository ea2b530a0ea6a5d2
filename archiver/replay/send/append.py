"""Sending messages to one open folder: in groups, exactly once, down to the single message that is refused.

An intent is recorded before anything is sent, and its outcome when it is answered. In between nothing is assumed:
after a lost connection `sync_folder` finds out what arrived.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from msgspec import Struct, field

from archiver.destination.port import Appender, Closing
from archiver.errors import ConnectionLost, IntegrityError, Interrupted, PermanentError, TemporaryError
from archiver.facts.archive import Fact
from archiver.facts.destination import IntentFact, UnsentFact
from archiver.facts.mailbox import Appended
from archiver.facts.outgoing import Outgoing
from archiver.facts.replica import MessageKey
from archiver.replay.context import MOST_BLAMED, InFlight, JobFolder, ReplayContext
from archiver.replay.send.copies import Answered, Copies
from archiver.replay.send.prepare import (
    PreparedMessage,
    fit_together,
    fitting,
    groups,
    prepare,
    size_of,
    with_repairs,
    worth_a_look,
)
from archiver.replay.send.refused import Refusals

_FACTS = 500
_REFUSALS_AT_ONCE = 3  # while each message is sent by itself


class SendingConnection(Appender, Closing, Protocol):
    """What a `Sender` uses."""


class _Group(Struct):
    """Messages on their way, and when the first of them was sent, on the monotonic clock."""

    messages: list[PreparedMessage]
    begun: float


class _Look(Struct):
    """A look at messages that were accepted."""

    taken: Answered


class Sender(Struct):
    """Sends to the folder that is open at `destination`. Belongs to one connection's thread.

    Where the server says which UIDs the messages got, they are looked at while later ones are on their way. From
    the first answer on that says anything else, nothing is decided before everything is answered. `next_folder` is
    asked at the end for the folder that will be opened next.
    """

    context: ReplayContext
    destination: SendingConnection
    folder: JobFolder
    copies: Copies
    next_folder: Callable[[], bytes | None] = lambda: None
    _waiting: deque[list[Outgoing] | list[PreparedMessage]] = field(default_factory=deque)
    _in_flight: deque[_Group | _Look] = field(default_factory=deque)
    _heard: float = 0.0
    _taken: list[tuple[list[PreparedMessage], Appended]] = field(default_factory=list)
    _refused: list[tuple[list[PreparedMessage], Appended]] = field(default_factory=list)
    _looks_ahead: bool = True
    _was_all: bool = False
    _not_there: list[MessageKey] = field(default_factory=list)

    def send(self, batches: Iterable[Sequence[Outgoing]]) -> None:
        """Send these batches, each in its order; recorded on return. What makes the batches must call `finish`
        before it uses the connection.

        Raises:
            TemporaryError, FolderChanged: the outcome of some is unknown; their intents stay.
            OverQuota, FolderNotFound, PermissionDenied: nothing more can be sent here.
        """
        try:
            for batch in batches:
                if self.context.is_over():
                    break
                self._announce(batch)
                self._work_off(to_the_end=False)
            self._was_all = True
            self.finish()
        except TemporaryError as error:
            self._note_suspects(error)
            raise
        except (PermanentError, Interrupted):
            self._end_intents()
            raise
        finally:
            if self._in_flight:
                self.destination.hang_up()  # nobody else may read the answers
            self.copies.write()

    def finish(self) -> None:
        """Bring everything to its end that was begun, so that the connection is free."""
        self._work_off(to_the_end=True)

    def _announce(self, batch: Sequence[Outgoing]) -> None:
        """Record which messages are sent next. They wait then."""
        sendable = [each for each in batch if not self._is_too_big(each)]
        if sendable:
            keys = tuple(each.key for each in sendable)
            self._fact(IntentFact(self.folder.number, self.copies.since, keys, self.context.control.now()))
        self.copies.write()
        self._waiting.extend(groups(sendable, self.folder.job.send_alone))
        if self.context.prefetch is not None:
            self.context.prefetch.prefetch([each.placement for each in sendable])

    def _work_off(self, *, to_the_end: bool) -> None:
        """Send everything that waits, including what has to be tried again as a variant or by itself. Unless it is
        `to_the_end`, what is on its way then may stay there while the next batch is made."""
        while self._waiting or self._in_flight or self._taken or self._refused:
            self.context.control.check_stop()
            # NOTE: Exchange hangs up after ten refusals; what became of some has to be recorded before that.
            if self.folder.job.send_alone and not self._in_flight and len(self._refused) >= _REFUSALS_AT_ONCE:
                self._settle()
            if self._waiting and self.context.is_over():
                self._end_intents()
                self._waiting.clear()
            is_used_up = self._is_used_up
            while self._waiting and self._has_room() and not (is_used_up and self._is_at_work):
                self._begin(self._next_group())
                is_used_up = self._is_used_up
            if self._may_look_ahead and not (to_the_end and not self._waiting):
                self._look()
                if not self._waiting:
                    return
            if self._in_flight:
                self._hear()
            elif not self._waiting or is_used_up:
                self._settle()
        self.copies.all_found()

    def _hear(self) -> None:
        """Wait for the oldest answer."""
        first = self._in_flight[0]
        if isinstance(first, _Look):
            rows = self.destination.end_look()
            if not self.copies.confirm(first.taken, rows):
                self._looks_ahead = False
                self._taken[:0] = first.taken
            elif len(self.copies.facts) >= _FACTS:
                self.copies.write()
            self._in_flight.popleft()
        else:
            commands = self.destination.end_append()
            self._measure(first)
            self._in_flight.popleft()
            self._answered(first.messages, commands)

    def _next_group(self) -> list[Outgoing] | list[PreparedMessage]:
        """The group that waits longest, cut to what the destination answers in time."""
        group = self._waiting.popleft()
        count = fitting(group, self.context.pace, self.context.limits)
        if count < len(group):
            self._waiting.appendleft(group[count:])
        return group[:count]

    def _measure(self, group: _Group) -> None:
        now, before = time.monotonic(), max(group.begun, self._heard)
        self._heard = now
        octets = sum(message.to_append.size for message in group.messages)
        self.context.pace.answered(len(group.messages), octets, now - before)

    @property
    def _begun(self) -> list[_Group]:
        return [each for each in self._in_flight if isinstance(each, _Group)]

    @property
    def _is_careful(self) -> bool:
        """While a message is sought that breaks connections, or while the pace is unknown, one thing is done at a
        time."""
        return bool(self.folder.job.send_alone) or not self.context.pace.steady

    def _has_room(self) -> bool:
        """Whether one more group may be begun. Where several may, the second is not questioned."""
        begun = self._begun
        if self._is_careful:
            return not begun
        if len(begun) < min(2, self.destination.most_in_flight):
            return True
        if len(begun) >= self.destination.most_in_flight:
            return False
        sizes = [message.to_append.size for group in begun for message in group.messages]
        sizes += map(size_of, self._waiting[0])
        return fit_together(len(sizes), sum(sizes), self.context.pace)

    @property
    def _is_used_up(self) -> bool:
        """Whether the message that waits longest does not fit into what is left of the day. What was begun is
        brought to its end before the account ends for that."""
        return bool(self._waiting) and not self.context.limits.fits([size_of(self._waiting[0][0])])

    @property
    def _is_at_work(self) -> bool:
        return bool(self._in_flight or self._taken or self._refused)

    def _begin(self, group: list[Outgoing] | list[PreparedMessage]) -> None:
        made = (each if isinstance(each, PreparedMessage) else self._prepare(each) for each in group)
        messages = [message for message in made if message is not None]
        if messages:
            sizes, limits = list(map(size_of, messages)), self.context.limits
            self._waiting.appendleft(messages)  # they are not sent, if that ends here
            if not limits.reserve(sizes):
                raise limits.used_up()
            try:
                limits.pass_messages(len(messages), self.context.control)
                self.context.control.check_stop()  # as late as possible: reading the messages may have taken long
                self._waiting.popleft()
                begun = time.monotonic()  # before sending, which waits for some servers
                self._in_flight.append(_Group(messages, begun))
                self.destination.begin_append([message.to_append for message in messages])
            finally:
                limits.release(sizes)

    def _prepare(self, outgoing: Outgoing) -> PreparedMessage | None:
        try:
            message = prepare(self.context.store, outgoing, self.folder.opened)
            repairs = self.folder.job.repairs.get(outgoing.key)
            return message if repairs is None else with_repairs(self.context.store, message, sorted(repairs))
        except IntegrityError as error:
            self.context.damaged(error)
            self._refuse(outgoing, "damaged", "the archive's own copy is missing or altered")
            return None

    def _answered(self, messages: Sequence[PreparedMessage], commands: Sequence[Appended]) -> None:
        left, job = iter(messages), self.folder.job
        for command in commands:
            some = [next(left) for _ in range(command.count)]
            (self._taken if command.ok else self._refused).append((some, command))
            job.accepted += len(some) if command.ok else 0
            self._looks_ahead &= not command.ok or self.copies.has_uids(some, command)
            for message in () if command.ok else some:
                job.deferred_at.setdefault(message.key, job.accepted)

    @property
    def _may_look_ahead(self) -> bool:
        """Whether accepted messages may be looked at while others are on their way."""
        careful = self._is_careful or self._refused or self.destination.most_in_flight == 1
        return self._looks_ahead and not careful

    def _look(self) -> None:
        """Ask what the folder shows of accepted messages, once they are enough; one look at a time."""
        sizes = [message.to_append.size for some, _ in self._taken for message in some]
        if worth_a_look(len(sizes), sum(sizes)) and not any(isinstance(each, _Look) for each in self._in_flight):
            taken, self._taken = self._taken, []
            self._in_flight.append(_Look(taken))
            self.destination.begin_look(list(self.copies.reported_uids(taken).values()))

    def _settle(self) -> None:
        """With nothing in flight: find all accepted messages. Refused ones are examined after it is certain that
        none of them arrived."""
        taken, self._taken = self._taken, []
        refused, self._refused = self._refused, []
        then = self.next_folder() if self._was_all and not refused else None
        found = self.copies.find(taken, refused, then)
        rest = [([each for each in some if each.key not in found], command) for some, command in refused]
        self._not_there = [message.key for some, _ in rest for message in some]
        for some, command in rest:
            if len(some) > 1:
                middle = len(some) // 2
                self._waiting += (some[:middle], some[middle:])
            elif some:
                self._try_again(some[0], command)
        self._not_there = []

    # -- what was refused ------------------------------------------------------------------------------------

    @property
    def _refusals(self) -> Refusals:
        return Refusals(self.context, self.destination, self.folder)

    def _try_again(self, message: PreparedMessage, command: Appended) -> None:
        """A single refused message: send another variant if that may help, otherwise record the refusal."""
        then = self._refusals.next_step(message, command)
        if isinstance(then, PreparedMessage):
            (self._waiting.appendleft if self.folder.job.send_alone else self._waiting.append)([then])
        else:
            self._fact(then)

    def _is_too_big(self, outgoing: Outgoing) -> bool:
        if (refusal := self._refusals.too_big(outgoing)) is not None:
            self._fact(refusal)
        return refusal is not None

    def _refuse(self, outgoing: Outgoing, refusal: str, reason: str) -> None:
        self._fact(self._refusals.fact(outgoing, refusal, reason, None))

    def _fact(self, fact: Fact) -> None:
        self.copies.facts.append(fact)

    def _note_suspects(self, error: TemporaryError) -> None:
        """The connection broke while messages were under way. One of them may be to blame: next time each is sent
        by itself, and one at which it keeps breaking is refused. Narrowing it down counts as progress."""
        job = self.folder.job
        keys = {message.key for group in self._begun for message in group.messages}
        silent = isinstance(error, ConnectionLost) and error.silence > 0
        self._note_under_way(silent)
        if keys and silent:
            self.context.pace.silent(len(keys))
        if not (self.copies.appended or job.is_only_connection()):
            job.send_alone |= keys
            return  # may be a limit of this connection: nothing was accepted over it
        if keys - job.send_alone:
            job.send_alone |= keys
            job.steps += 1
        if len(keys) == 1:
            (job.silence_counts if silent else job.break_counts).update(keys)
            job.server_reply = error.server_reply
            job.steps += job.blamed_in_row < MOST_BLAMED

    def _note_under_way(self, silent: bool) -> None:
        """Note what was on the wire when the connection was lost, and end the intents of what was not."""
        unanswered = {id(to_append) for to_append in self.destination.unanswered}
        for group in self._begun:
            for message in group.messages:
                if id(message.to_append) in unanswered:
                    self.folder.job.in_flight[message.key] = InFlight(group.begun, silent)
        self._end_intents()

    def _end_intents(self) -> None:
        """End the intents of messages that were not sent, or were refused and did not arrive: otherwise the next
        run would wait for them to arrive late."""
        keys = dict.fromkeys([*self._not_there, *(each.key for group in self._waiting for each in group)])
        unsent = tuple(key for key in keys if key not in self.folder.job.refused)
        if unsent:
            self._fact(UnsentFact(self.folder.number, unsent, self.context.control.now()))
