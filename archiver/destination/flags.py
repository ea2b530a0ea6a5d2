"""Flags of messages in the open folder of an IMAP server: changed, and read back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from msgspec import Struct

from archiver.errors import TemporaryError
from archiver.imap.fetch_row import is_fetch, parse_fetch
from archiver.imap.replies import Reply, error_of
from archiver.imap.session import Session
from archiver.imap.tokens import uid_sets
from archiver.mail.model import Flags
from archiver.mail.refusal import classify

_FLIGHT = 50

_StoreStep = tuple[bytes, bytes, Flags]
"""A set of UIDs, whether flags are added (b"+") or removed (b"-"), and which."""


class FlagCommands(Struct):
    """The commands about flags over one session."""

    session: Session

    def store(self, changes: Mapping[tuple[Flags, Flags], Collection[int]]) -> dict[int, Flags]:
        """Add and remove flags: (added, removed) → UIDs. Returns the flags afterwards."""
        steps = [
            (chunk, sign, flags)
            for (added, removed), uids in changes.items()
            for chunk in uid_sets(uids)
            for sign, flags in ((b"+", added), (b"-", removed))
            if flags
        ]
        refused = self._store(steps)
        # NOTE: one flag that the server refuses makes it refuse the others of the same command.
        apart = [(chunk, sign, frozenset({flag})) for chunk, sign, flags in refused for flag in sorted(flags)]
        self._store([step for step in apart if step not in refused])
        # NOTE: not in the same flight: Dovecot may answer a pipelined FETCH from the state before the STORE.
        return self.read({uid for uids in changes.values() for uid in uids})

    def _store(self, steps: Sequence[_StoreStep]) -> list[_StoreStep]:
        """Change flags. Returns the steps that were refused."""
        commands = [
            b"UID STORE %s %sFLAGS.SILENT (%s)" % (chunk, sign, " ".join(sorted(flags)).encode())
            for chunk, sign, flags in steps
        ]
        refused: list[_StoreStep] = []
        for step, reply in zip(steps, self._in_flights(commands), strict=True):
            if reply.ok:
                continue
            said = reply.status + b" " + reply.text
            error = error_of(said, self.session.where, writing=True)
            # NOTE: "Too many user flags in mailbox" (Cyrus) is permanent.
            if isinstance(error, TemporaryError) and classify(said) != "flags":
                raise error
            refused.append(step)
        return refused

    def _in_flights(self, commands: Sequence[bytes]) -> Iterator[Reply]:
        for start in range(0, len(commands), _FLIGHT):
            yield from self.session.flight(*commands[start : start + _FLIGHT])

    def read(self, uids: Collection[int]) -> dict[int, Flags]:
        """The flags of these messages; those that are gone are left out."""
        shown: dict[int, Flags] = {}
        for reply in self._in_flights([b"UID FETCH %s (UID FLAGS)" % chunk for chunk in uid_sets(uids)]):
            for response in self.session.required(reply):
                row = parse_fetch(response).attributes if is_fetch(response.text) else None
                if row is not None and row.flags is not None and row.uid in uids:
                    shown[row.uid] = row.flags
        return shown
