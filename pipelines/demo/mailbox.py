"""The demo's source: a mailbox in use, and a record of everything that was ever in it.

The same calls change both. The record is independent of the archiver, so the copies can be compared with it.
"""

from __future__ import annotations

from collections import defaultdict

from msgspec.structs import replace

from pipelines.demo.mail import FOLDERS, NEW_FOLDER, RENAMED, SUBSCRIBED, Mail, new_mail, sample_mail
from pipelines.demo.server import SampleServer


class SourceMailbox:
    """The account of the sample mail on `server`."""

    def __init__(self, server: SampleServer) -> None:
        self.server = server
        self._now: dict[str, list[Mail]] = {}
        self._gone: defaultdict[str, list[Mail]] = defaultdict(list)

    @property
    def folders(self) -> int:
        return len(self._now)

    @property
    def messages(self) -> int:
        """How many messages it has now."""
        return sum(map(len, self._now.values()))

    @property
    def different_messages(self) -> int:
        """How many different messages it has now; the server says which are the same one."""
        return len({mail.octets for mails in self._now.values() for mail in mails})

    def ever(self) -> dict[str, list[Mail]]:
        """Everything that an archive must have: every folder with its messages, what was expunged, and the messages
        of a renamed folder under its old name, too."""
        names = dict.fromkeys([*self._now, *self._gone])
        return {name: [*self._now.get(name, ()), *self._gone.get(name, ())] for name in names}

    def to_be_there(self) -> dict[str, list[Mail]]:
        """What a destination must have if nothing is deleted there: every present folder, with what was
        expunged."""
        return {name: mails for name, mails in self.ever().items() if name in self._now}

    def fill(self) -> None:
        """Deliver the sample mail."""
        for folder in FOLDERS:
            self._create(folder, subscribed=folder in SUBSCRIBED)
        for folder, mails in sample_mail().items():
            for mail in mails:
                self._deliver(folder, mail)

    def change(self) -> tuple[int, str]:
        """Change the mailbox between two runs; returns how many messages arrived, and a description."""
        arrived = list(new_mail())
        self._create(NEW_FOLDER)
        for folder, mail in arrived:
            self._deliver(folder, mail)
        self._add_flags("INBOX", 3, "\\Seen")
        self._add_flags("Sent", 0, "\\Flagged", "$label1")
        self._expunge("Trash", 0)
        self._rename(*RENAMED)
        return len(arrived), (
            f"{len(arrived)} messages arrive, one of them in the new folder {NEW_FOLDER}; a message is read, "
            f"another gets a flag and a keyword; one is expunged from Trash; {RENAMED[0]} is renamed to "
            f"{RENAMED[1]}."
        )

    def _create(self, folder: str, *, subscribed: bool = False) -> None:
        self.server.create(folder, subscribed=subscribed)
        self._now[folder] = []

    def _deliver(self, folder: str, mail: Mail) -> None:
        self.server.deliver(folder, mail)
        self._now[folder].append(mail)

    def _add_flags(self, folder: str, position: int, *flags: str) -> None:
        self.server.add_flags(folder, position, *flags)
        mail = self._now[folder][position]
        self._now[folder][position] = replace(mail, flags=mail.flags | {*flags})

    def _expunge(self, folder: str, position: int) -> None:
        self.server.expunge(folder, position)
        self._gone[folder].append(self._now[folder].pop(position))

    def _rename(self, before: str, after: str) -> None:
        self.server.rename(before, after)
        self._now[after] = self._now.pop(before)
        self._gone[before] += self._now[after]
