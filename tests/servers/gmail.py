"""An account of Gmail on a scripted server: one message is in All Mail and in the folder of each of its labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from archiver.mail.folder_names import encode_name
from tests.accounts import mail
from tests.servers.scripted import DESTINATION, FULL, ScriptedFolder, ScriptedMessage

#: Gmail has neither OBJECTID nor QRESYNC.
GMAIL = (*(each for each in FULL if each not in ("OBJECTID", "QRESYNC")), "X-GM-EXT-1")
GMAIL_DESTINATION = (*(each for each in DESTINATION if each not in ("OBJECTID", "QRESYNC")), "X-GM-EXT-1")

ALL_MAIL = b"[Gmail]/All Mail"
SPAM, TRASH = b"[Gmail]/Spam", b"[Gmail]/Trash"

#: Folders of every account, with their special use and the label that they show.
OWN: Mapping[bytes, tuple[str, str | None]] = {
    b"INBOX": ("", "\\Inbox"),
    b"[Gmail]": ("\\Noselect", None),
    ALL_MAIL: ("\\All", None),
    b"[Gmail]/Drafts": ("\\Drafts", "\\Draft"),
    b"[Gmail]/Important": ("\\Important", "\\Important"),
    b"[Gmail]/Sent Mail": ("\\Sent", "\\Sent"),
    SPAM: ("\\Junk", None),
    b"[Gmail]/Starred": ("\\Flagged", "\\Starred"),
    TRASH: ("\\Trash", None),
}


def message(number: int, *labels: str, body: str = "", flags: tuple[str, ...] = ()) -> ScriptedMessage:
    """A message with labels; two of them are in one thread."""
    return ScriptedMessage(
        mail(number, body=body),
        flags,
        f"02-Jan-2020 {number // 60 % 24:02}:{number % 60:02}:00 +0000",
        emailid=str(1278455344230334865 + number),
        thrid=str(1266894439832287888 + number // 2),
        labels=frozenset(labels),
    )


class Gmail:
    """The folders of an account, for a scripted server, and what its user does."""

    def __init__(self, messages: Iterable[ScriptedMessage] = (), labels: Iterable[str] = ()) -> None:
        self.folders = {
            raw: ScriptedFolder(11 + place, attributes=(use,) if use else (), label=label)
            for place, (raw, (use, label)) in enumerate(OWN.items())
        }
        for label in labels:
            self._of(label)
        self.all = self.folders[ALL_MAIL]
        for each in messages:
            self.add(each)

    def _of(self, label: str) -> ScriptedFolder:
        known = next((each for each in self.folders.values() if each.label == label), None)
        if known is None:
            known = self.folders[encode_name(label)] = ScriptedFolder(11 + len(self.folders), label=label)
        return known

    def add(self, each: ScriptedMessage) -> None:
        """New mail."""
        for folder in (self.all, *map(self._of, sorted(each.labels))):
            folder.add(each)

    def relabel(self, uid: int, *labels: str) -> None:
        """Give a message of All Mail other labels: it comes into folders and leaves others, and its MODSEQ rises in
        all of them."""
        each = self.all.messages[uid]
        before = each.labels
        self.all.relabel(uid, labels)
        for label in sorted(each.labels - before):
            self._of(label).add(each)
        for label in sorted(before - each.labels):
            folder = self._of(label)
            folder.expunge([its for its, other in folder.messages.items() if other is each])
        for folder in self.folders.values():
            if any(other is each for other in folder.messages.values()):
                each.modseq = folder.highestmodseq = max(each.modseq, folder.facts()["HIGHESTMODSEQ"]) + 1
        for folder in self.folders.values():
            if any(other is each for other in folder.messages.values()):
                folder.highestmodseq = max(folder.highestmodseq or 0, each.modseq)
