"""Gmail's labels of messages in the open folder (X-GM-LABELS): changed, and read back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from msgspec import Struct

from archiver.errors import TemporaryError
from archiver.imap.fetch_row import is_fetch, parse_fetch
from archiver.imap.replies import Reply, error_of
from archiver.imap.session import Session
from archiver.imap.tokens import quote, uid_sets
from archiver.mail.folder_names import encode_name
from archiver.mail.model import Labels

_FLIGHT = 50

_Step = tuple[bytes, bytes, Labels]
"""A set of UIDs, whether labels are added (b"+") or removed (b"-"), and which."""


class LabelCommands(Struct):
    """The commands about labels over one session."""

    session: Session

    def store(self, changes: Mapping[tuple[Labels, Labels], Collection[int]]) -> dict[int, Labels]:
        """Add and remove labels: (added, removed) → UIDs. Returns the labels afterwards. A label that does not
        exist yet is created, if the server wants that."""
        steps = [
            (chunk, sign, labels)
            for (added, removed), uids in changes.items()
            for chunk in uid_sets(uids)
            for sign, labels in ((b"+", added), (b"-", removed))
            if labels
        ]
        refused = self._store(steps)
        # NOTE: one label that the server refuses makes it refuse the others of the same command.
        apart = [(chunk, sign, frozenset({label})) for chunk, sign, labels in refused for label in sorted(labels)]
        again = self._store([step for step in apart if step not in refused])
        again += [step for step in apart if step in refused]
        missing = sorted({label for _, sign, labels in again if sign == b"+" for label in labels})
        if created := self._create([label for label in missing if not label.startswith("\\")]):
            self._store([step for step in again if step[1] == b"+" and step[2] <= created])
        return self.read({uid for uids in changes.values() for uid in uids})

    def _create(self, labels: Sequence[str]) -> Labels:
        """Those that exist afterwards, as far as the server says."""
        replies = [self.session.command_with_name(b"CREATE", encode_name(label)) for label in labels]
        return frozenset(label for label, reply in zip(labels, replies, strict=True) if reply.ok)

    def _store(self, steps: Sequence[_Step]) -> list[_Step]:
        """Change labels. Returns the steps that were refused."""
        commands = [
            b"UID STORE %s %sX-GM-LABELS.SILENT (%s)" % (chunk, sign, b" ".join(map(_astring, sorted(labels))))
            for chunk, sign, labels in steps
        ]
        refused: list[_Step] = []
        for step, reply in zip(steps, self._in_flights(commands), strict=True):
            if reply.ok:
                continue
            error = error_of(reply.status + b" " + reply.text, self.session.where, writing=True)
            if isinstance(error, TemporaryError):
                raise error
            refused.append(step)
        return refused

    def _in_flights(self, commands: Sequence[bytes]) -> Iterator[Reply]:
        for start in range(0, len(commands), _FLIGHT):
            yield from self.session.flight(*commands[start : start + _FLIGHT])

    def read(self, uids: Collection[int]) -> dict[int, Labels]:
        """The labels of these messages; those that are gone are left out."""
        shown: dict[int, Labels] = {}
        for reply in self._in_flights([b"UID FETCH %s (UID X-GM-LABELS)" % chunk for chunk in uid_sets(uids)]):
            for response in self.session.required(reply):
                row = parse_fetch(response).attributes if is_fetch(response.text) else None
                if row is not None and row.labels is not None and row.uid in uids:
                    shown[row.uid] = row.labels
        return shown


def _astring(label: str) -> bytes:
    """A label as Gmail writes it itself: in quotes, in modified UTF-7, which is ASCII without line ends."""
    return quote(encode_name(label)) or b'""'
