"""The folders of a destination over one session: made, renamed, subscribed to, and who may do what in them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from msgspec import Struct

from archiver.destination.rights import RightsChange, in_old_letters
from archiver.errors import FolderNotFound, FolderRefused, ServerUnavailable, TemporaryError, Where
from archiver.facts.access import Rights
from archiver.imap.extensions import rights as acl
from archiver.imap.extensions.looking import flight
from archiver.imap.limits import without_names
from archiver.imap.listing import Abilities
from archiver.imap.replies import error_of, printable, response_code
from archiver.imap.session import Session
from archiver.mail import folder_names
from archiver.mail.refusal import classify

_FLIGHT = 50
_REFUSABLE = 8  # commands in a flight of which each may be refused: Courier hangs up at the tenth refusal in a row


class FolderCommands(Struct):
    """Implements what `MailDestination` says of folders, whichever of them is open."""

    session: Session
    abilities: Abilities

    def create(self, raw: bytes, use: str | None) -> None:
        if (how := self._with_use(use)) and self.session.command_with_name(b"CREATE", raw, how).ok:
            return
        reply = self.session.command_with_name(b"CREATE", raw)
        if reply.ok or response_code(reply.status + b" " + reply.text) == b"ALREADYEXISTS":
            return
        # NOTE: older servers say only in words that the folder exists; then STATUS succeeds.
        if self.session.command_with_name(b"STATUS", raw, b" (UIDVALIDITY)").ok:
            return
        said = reply.status + b" " + reply.text
        error = error_of(said, self.session.where, FolderRefused, writing=True, name=raw)
        # NOTE: "Too many mailboxes" looks like a throttle, but will not pass.
        if isinstance(error, ServerUnavailable) or classify(without_names(said, raw)) == "throttled":
            raise error
        raise _refused(error.reason, error.server_reply, raw)

    def create_all(
        self, folders: Sequence[tuple[bytes, str | None]]
    ) -> Iterator[tuple[bytes, FolderRefused | None]]:
        for start in range(0, len(folders), _FLIGHT):
            some = folders[start : start + _FLIGHT]
            created = self._each([(b"CREATE", raw, self._with_use(use)) for raw, use in some])
            for (raw, use), ok in zip(some, created, strict=True):
                refused = None
                try:
                    if not ok:
                        self.create(raw, use)
                except FolderRefused as error:
                    refused = error
                    self.session.flight(b"NOOP")
                yield raw, refused

    def _with_use(self, use: str | None) -> bytes:
        if not use or "CREATE-SPECIAL-USE" not in self.abilities:
            return b""
        return b" (USE (\\%s))" % use.removeprefix("\\").capitalize().encode("ascii")

    def rename(self, raw: bytes, to: bytes) -> None:
        """Rename a folder that is not open."""
        reply = self.session.command_with_strings(b"RENAME", [self.session.name(raw), self.session.name(to)])
        # NOTE: Courier says OK if there is nothing to rename, and a server that has renamed it before says NO.
        if self._exists(to) and not self._exists(raw):
            return
        said = reply.status + b" " + reply.text
        error = error_of(said, self.session.where, FolderRefused, name=to)
        words = without_names(without_names(said, raw), to)
        if not reply.ok and (isinstance(error, ServerUnavailable) or classify(words) == "throttled"):
            raise error
        old, new = (folder_names.printable(folder_names.decode_name(name)) for name in (raw, to))
        raise FolderRefused(
            f'the destination does not rename the folder "{old}" to "{new}": {error.reason}',
            server_reply=error.server_reply,
        )

    def _exists(self, raw: bytes) -> bool:
        """Whether the destination has a folder. A temporary error is raised, and does not mean that it is
        missing."""
        reply = self.session.command_with_name(b"STATUS", raw, b" (UIDVALIDITY)")
        if isinstance(error := self.session.refusal(reply, FolderNotFound), TemporaryError):
            raise error
        return error is None

    def rights(self, raws: Sequence[bytes]) -> dict[bytes, Rights]:
        if not acl.has_rights(self.abilities):
            return {}
        replies = flight(self.session, [(b"GETACL", raw, b"") for raw in raws])
        shown = ((raw, acl.rights_of(reply)) for raw, reply in zip(raws, replies, strict=True))
        return {raw: rights for raw, rights in shown if rights is not None}

    def change_rights(self, changes: Sequence[tuple[bytes, RightsChange]]) -> list[str | None]:
        is_new = acl.has_new_rights(self.abilities)
        commands = [
            acl.change_command(
                self.abilities,
                raw,
                each.identifier,
                each.sign,
                each.rights if is_new else in_old_letters(each.rights),
            )
            for raw, each in changes
        ]
        replies = iter(flight(self.session, [each for each in commands if each is not None]))
        answers = [None if each is None else next(replies) for each in commands]
        return [
            "its name cannot be sent"
            if reply is None
            else None
            if reply.ok
            else printable(reply.status + b" " + reply.text)
            for reply in answers
        ]

    def subscribe(self, raws: Collection[bytes]) -> None:
        commands = [(b"SUBSCRIBE", raw, b"") for raw in raws]
        for start in range(0, len(commands), _FLIGHT):
            self._each(commands[start : start + _FLIGHT])

    def _each(self, commands: Sequence[tuple[bytes, bytes, bytes]]) -> list[bool]:
        """Which of these commands, (before, name, after), succeed. They go in one flight, with a NOOP after some of
        them and at its end, which no server refuses. A command whose name needs a literal goes alone."""
        quoted = [self.session.quoted(raw) for _, raw, _ in commands]
        lines = [
            name and b"%b %b%b" % (before, name, after)
            for name, (before, _, after) in zip(quoted, commands, strict=True)
        ]
        sent = [line for line in lines if line]
        parts = [[*sent[start : start + _REFUSABLE], b"NOOP"] for start in range(0, len(sent), _REFUSABLE)]
        flight = [line for part in parts for line in part]
        answered = zip(flight, self.session.flight(*flight) if flight else (), strict=True)
        replies = iter([reply for line, reply in answered if line != b"NOOP"])
        return [
            (next(replies) if line else self.session.command_with_name(*command)).ok
            for line, command in zip(lines, commands, strict=True)
        ]


def _refused(reason: str, reply: str | None, raw: bytes) -> FolderRefused:
    name = folder_names.printable(folder_names.decode_name(raw))
    return FolderRefused(
        f"the destination does not create this folder: {reason}",
        where=Where(folder=name),
        server_reply=reply,
        hint="give it another name in [folders.rename]",
    )
