"""An account of Gmail on a scripted server: one message is in All Mail and in the folder of each of its labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from archiver.mail.folder_names import decode_name, encode_name
from tests.accounts import mail
from tests.servers.scripted import DESTINATION, FULL, ScriptedFolder, ScriptedMessage, ScriptedServer

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
        self._places: dict[tuple[int, str], int] = {}
        for each in messages:
            self.add(each)

    def _of(self, label: str) -> ScriptedFolder:
        known = next((each for each in self.folders.values() if each.label == label), None)
        if known is None:
            known = self.folders[encode_name(label)] = ScriptedFolder(11 + len(self.folders), label=label)
        return known

    def add(self, each: ScriptedMessage) -> None:
        """New mail."""
        self.all.add(each)
        for label in sorted(each.labels):
            (self._places[id(each), label],) = self._of(label).add(each)

    def relabel(self, uid: int, *labels: str) -> None:
        """Give a message of All Mail other labels: it comes into folders and leaves others, and its MODSEQ rises in
        all of them."""
        each = self.all.messages[uid]
        before = each.labels
        self.all.relabel(uid, labels)
        for label in sorted(each.labels - before):
            (self._places[id(each), label],) = self._of(label).add(each)
        for label in sorted(before - each.labels):
            self._of(label).expunge([self._places.pop((id(each), label))])
        shown_in = [self.all, *map(self._of, each.labels)]
        each.modseq = 1 + max(folder.highestmodseq or 0 for folder in shown_in)
        for folder in shown_in:
            folder.highestmodseq = each.modseq


class GmailServer(ScriptedServer):
    """Gmail as a destination: a message that gets a label is in the folder of that label, too."""

    def __init__(self, **how: Any) -> None:
        self.gmail = Gmail()
        super().__init__(self.gmail.folders, **{"capabilities": GMAIL_DESTINATION, "writable": True, **how})

    def relabel(self, folder: ScriptedFolder, uid: int, labels: frozenset[str]) -> None:
        with self.changing:
            if folder is not self.gmail.all:
                super().relabel(folder, uid, labels)
                return
            self.gmail.folders.update(self.folders)
            for raw, each in self.folders.items():
                if each.label is None and raw not in OWN:
                    each.label = decode_name(raw)
            self.gmail.relabel(uid, *labels)
            self.folders = {**self.folders, **self.gmail.folders}

    def labelled(self, folder: bytes = ALL_MAIL) -> dict[bytes, frozenset[str]]:
        """The labels of a folder's messages, by their octets, each of which is there once."""
        messages = list(self.folders[folder].messages.values())
        found = {each.octets: each.labels for each in messages}
        assert len(found) == len(messages)
        return found
