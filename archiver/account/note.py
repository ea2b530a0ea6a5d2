"""Whether an archive may be begun: the note next to an account file says which archive is the account's.

If a disk is not mounted, there is an empty directory where the archive should be, just as before a first run. So
the note that tells the two apart is kept elsewhere, next to the account file.
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Literal

from msgspec import Struct, to_builtins

from archiver.account.store import Medium
from archiver.config.settings import Settings
from archiver.errors import ArchiveMissing, ArchiverError, ConfigError
from archiver.facts.archive import ArchiveFact
from archiver.storage.files import replace_file

FORMAT = "archiver-note/1"
SUFFIX = ".archive"

Begin = Literal["never", "first", "confirmed"]
"""Whether an archive may be begun: "never"; "first": if none is known; "confirmed": the user says that the place is
right."""


class Note(Struct, frozen=True):
    """Which archive is the account's, where it was last, since when, and of whose mail; empty where the note cannot
    be read, `host` and `user` also in one of an earlier version. Its journal had a segment of this number and
    digest when somebody said last how far the migration is, or pruned; 0 if nobody did."""

    archive_id: str = ""
    place: str = ""
    since: str = ""
    host: str = ""
    user: str = ""
    segment: int = 0
    digest: str = ""


class NoteFile(Struct, frozen=True):
    """The note next to the file of an account whose archive lies on `medium`."""

    settings: Settings
    medium: Medium

    @property
    def path(self) -> Path:
        """Where it is, whether it is there or not."""
        return self.settings.file.with_name(self.settings.account + SUFFIX)

    def read(self) -> Note | None:
        """The note; None if there is none. One that cannot be read still says that there was an archive."""
        return _read(self.path)

    def leave(self, identity: ArchiveFact, segment: tuple[int, str] | None = None) -> bool:
        """Note that this archive is the account's, and that its journal has this `segment`, by number and digest
        (None: the one that is noted); does nothing if the note says so. False where it cannot be written, as in a
        folder that belongs to another user."""
        known = self.read()
        is_same = known is not None and known.archive_id == identity.archive_id
        since = known.since if known is not None and is_same else identity.at
        if segment is None:
            segment = (known.segment, known.digest) if known is not None and is_same else (0, "")
        note = Note(identity.archive_id, self.medium.name, since, identity.host, identity.user, *segment)
        if known == note:
            return True
        record = {"format": FORMAT, "account": self.settings.account, **to_builtins(note)}
        file = os.fspath(self.path)
        try:
            replace_file(file, f"{file}.tmp", f"{json.dumps(record, indent=1)}\n".encode("ascii"), sync=True)
        except OSError:
            return False
        return True

    def why_not_begin(self, begin: Begin) -> ArchiverError | None:
        """Why no archive may be begun where there is none; None if one may."""
        if begin == "confirmed":
            return None
        note, place, wanted = self.read(), self.medium.name, self.medium.wanted
        begin_again = f"`archiver run --new-archive {self.settings.file}` begins a new one"
        if note is not None:
            if note.place and note.place != place:
                told = f"{place}: no archive here; {self.path} says that it is at {note.place}"
                return ArchiveMissing(told, hint=f"move the archive here, or change [archive] back; {begin_again}")
            since = f" since {note.since[:10]}" if note.since else ""
            told = f"{place}: no archive here; {self.path} says that there is one{since}"
            return ArchiveMissing(told, hint=f"is the {wanted}? {begin_again}")
        if (renamed := self._renamed()) is not None:
            return renamed
        if self.settings.archive.must_exist:
            hint = f"is the {wanted}? No run begins one, since [archive] must_exist is set; {begin_again}"
            return ArchiveMissing(f"{place}: no archive here", hint=hint)
        if begin == "first":
            return None
        return ConfigError(place, ["there is no archive here yet"], hint="`archiver run` makes one")

    def _renamed(self) -> ArchiveMissing | None:
        """Why no archive may be begun if the account file seems to have had another name: a note next to it, of the
        same user at the same server, belongs to no account file any more."""
        source = self.settings.source
        for path in sorted(self.path.parent.glob("*" + SUFFIX)):
            note = None if path == self.path or path.with_suffix(".toml").exists() else _read(path)
            if note is not None and (note.host.lower(), note.user) == (source.host.lower(), source.user):
                before, now = path.with_suffix(".toml").name, self.settings.file.name
                told = f"{self.medium.name}: no archive here; {path} is the note of {source.mailbox}"
                move = f"`mv {shlex.quote(str(path))} {shlex.quote(str(self.path))}`, and move the archive here"
                return ArchiveMissing(
                    f"{told}, whose archive is at {note.place}, and there is no {before}",
                    hint=f"if {now} is {before} renamed: {move} or set [archive] to where it is, then "
                    f"`archiver run --new-source {self.settings.file}` once; if not, "
                    f"`archiver run --new-archive {self.settings.file}` begins a new one",
                )
        return None

    def why_not_this(self, identity: ArchiveFact, begin: Begin) -> ArchiverError | None:
        """Why the archive that is there is not the account's; None if it is, or if there is no note."""
        note = self.read()
        if begin == "confirmed" or note is None or note.archive_id in ("", identity.archive_id):
            return None
        there = f"{self.medium.name}: holds another archive, of {identity.at[:10]}"
        told = f"{there}, than the one of {note.since[:10]} that {self.path} names"
        again = f"`archiver run --new-archive {self.settings.file}` goes on with this one"
        return ArchiveMissing(told, hint=f"is the right {self.medium.wanted}? {again}")


def _read(path: Path) -> Note | None:
    try:
        record = json.loads(path.read_bytes())
        archive_id, place, since = (str(record[name]) for name in ("archive_id", "place", "since"))
        host, user, digest = (str(record.get(name, "")) for name in ("host", "user", "digest"))
        return Note(archive_id, place, since, host, user, int(record.get("segment", 0)), digest)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Note()
