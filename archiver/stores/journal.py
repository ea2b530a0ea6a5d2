"""The journal as files: one compressed, numbered, never changed file for each batch of facts.

Each file names the digest of the file before it, so a lost, damaged or foreign file is noticed when it is read,
and the catalog can be rebuilt from `journal/` alone. A file is written under a temporary name, made durable, and
only then given its own name: what is seen there is complete.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import re
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from archiver.errors import ArchiveNotWritable, ConfigError, IntegrityError
from archiver.facts import Fact, Segment, fact_from_json, fact_to_json
from archiver.model import Digest

FORMAT = "archiver-journal/1"

_NAME = re.compile(r"(\d{8,})-(.+)\.jsonl\.gz")
_RUN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+-]{0,99}")
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
_RESTORE = "restore the journal from a backup"


class FileJournal:
    """The journal of one archive, in `journal/` (0700) below `path`; each segment is one file (0600).

    `durability` "batch" and "file" sync every segment before it is seen; "none" leaves that to the system.
    Threads may append at once, each to be told by IntegrityError if another took its number; processes are kept
    apart by the account's lock. A segment interrupted while being written is never seen; what is left of it is
    removed when it is written again.
    """

    def __init__(self, path: Path, durability: Literal["batch", "file", "none"] = "batch") -> None:
        self._path = path
        self._directory = path / "journal"
        self._sync = durability != "none"
        self._appending = threading.Lock()

    def append(self, run: str, facts: Sequence[Fact], after: tuple[int, Digest]) -> Segment:
        """Write the next segment, durable on return; `after` is number and digest of the last one.

        Raises:
            IntegrityError: that number exists already, written by whatever run.
            ArchiveNotWritable: the disk is full, read-only or not ours; nothing was appended.
            ConfigError: the run id cannot be part of a file name.
        """
        if not _RUN.fullmatch(run):
            raise ConfigError("run id", [f"{run!r}: use letters, digits and . _ : + - only, at most 100"])
        number, previous = after[0] + 1, after[1]
        octets = _compressed(number, run, previous, facts)
        digest = Digest(hashlib.sha256(octets).hexdigest())
        segment = Segment(number, run, previous, digest, tuple(facts))
        with self._appending:
            self._refuse_taken(number)
            try:
                self._write(segment.name, octets)
            except OSError as error:
                raise ArchiveNotWritable(
                    f"{self._directory / segment.name}: {error.strerror}",
                    hint="free space or fix the permissions, and run again",
                ) from error
        return segment

    def read(self, after: tuple[int, Digest]) -> Iterator[Segment]:
        """The segments after that one, in order, each checked against the chain; one at a time is in memory.

        The file of `after` itself has to be there with that digest, so that a catalog is never continued from
        another archive's journal, nor from a journal that went back in time.

        Raises:
            IntegrityError: a segment is missing, damaged, there twice, or does not follow from the one before.
            ConfigError: a newer archiver wrote it.
        """
        number, previous = after
        files = self._files()
        if number:
            if number not in files:
                raise IntegrityError(f"{self._directory}: segment {number} is missing", hint=_RESTORE)
            _require_digest(self._directory / files[number], previous)
        for found in sorted(other for other in files if other > number):
            number += 1
            if found != number:
                raise IntegrityError(f"{self._directory}: segment {number} is missing", hint=_RESTORE)
            segment = _parsed(self._directory / files[found], number, previous)
            previous = segment.digest
            yield segment

    def _files(self) -> dict[int, str]:
        """The files by their numbers; temporary names and what is not ours are left out."""
        try:
            names = sorted(os.listdir(self._directory))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise IntegrityError(f"{self._directory}: {error.strerror}", hint=_RESTORE) from error
        files: dict[int, str] = {}
        for name in names:
            if match := _NAME.fullmatch(name):
                other = files.setdefault(int(match[1]), name)
                if other != name:
                    raise IntegrityError(
                        f"{self._directory / name}: its number is also that of {other}",
                        hint="two runs wrote at once; keep the one that the file after it names, remove the other",
                    )
        return files

    def _refuse_taken(self, number: int) -> None:
        if taken := self._files().get(number):
            raise _taken(self._directory / taken)

    def _write(self, name: str, octets: bytes) -> None:
        if not self._directory.is_dir():
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory.mkdir(mode=0o700, exist_ok=True)
            self._sync_directory(self._path)
        temporary = self._directory / f".{name}.tmp"
        temporary.unlink(missing_ok=True)
        try:
            with open(temporary, "xb", opener=_private) as file:
                file.write(octets)
                file.flush()
                if self._sync:
                    os.fsync(file.fileno())
            _publish(temporary, self._directory / name)
        finally:
            temporary.unlink(missing_ok=True)
        self._sync_directory(self._directory)

    def _sync_directory(self, directory: Path) -> None:
        if not self._sync:
            return
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _publish(temporary: Path, final: Path) -> None:
    """Give a complete file its own name, unless that name is taken."""
    try:
        try:
            os.link(temporary, final)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # NOTE: not claimed by an empty file first, which a crash would leave as a damaged segment. That the
            # number is free was just looked at, and the account's lock keeps others out.
            temporary.replace(final)
    except FileExistsError as error:
        raise _taken(final) from error


def _taken(path: Path) -> IntegrityError:
    return IntegrityError(
        f"{path}: that number is in the journal already", hint="is another run active? run again to catch up"
    )


def _compressed(number: int, run: str, previous: Digest, facts: Sequence[Fact]) -> bytes:
    """A segment's octets: the same ones for the same facts."""
    header = json.dumps({"format": FORMAT, "number": number, "run": run, "previous": previous})
    lines = "\n".join([header, *map(fact_to_json, facts), ""])
    # zlib writes 0 as the time in a gzip header (RFC 1952 section 2.3).
    return zlib.compress(lines.encode("ascii"), level=2, wbits=31)


def _octets(path: Path) -> tuple[bytes, Digest]:
    try:
        octets = path.read_bytes()
    except OSError as error:
        raise IntegrityError(f"{path}: {error.strerror}", hint=_RESTORE) from error
    return octets, Digest(hashlib.sha256(octets).hexdigest())


def _require_digest(path: Path, digest: Digest) -> None:
    if _octets(path)[1] != digest:
        raise IntegrityError(
            f"{path}: is not the segment that the catalog knows",
            hint="the catalog is of another journal, or the file was changed: restore it, or use archiver rebuild",
        )


def _parsed(path: Path, number: int, previous: Digest) -> Segment:
    octets, digest = _octets(path)
    try:
        first, *lines = gzip.decompress(octets).decode("ascii").removesuffix("\n").split("\n")
        header = json.loads(first)
        form, run = header["format"], header["run"]
        if form != FORMAT:
            raise _other_format(path, form)
        if (header["number"], f"{number:08d}-{run}.jsonl.gz") != (number, path.name):
            raise ValueError("its header does not agree with its name")
        if header["previous"] != previous:
            raise ValueError("it does not follow from the segment before it")
        facts = tuple(map(fact_from_json, lines))
    except (ValueError, KeyError, TypeError, OSError, EOFError, zlib.error) as error:
        raise IntegrityError(f"{path}: {_reason(error)}", hint=_RESTORE) from error
    return Segment(number, run, previous, digest, facts)


def _other_format(path: Path, form: object) -> ConfigError | ValueError:
    """What a newer archiver wrote is not damaged."""
    if isinstance(form, str) and re.fullmatch(r"archiver-journal/\d{1,6}", form):
        return ConfigError(
            str(path),
            [f"the journal has the format {form}, this archiver knows {FORMAT}"],
            hint=f"install a mail-archiver that knows {form}",
        )
    return ValueError(f"format {form!r}, expected {FORMAT!r}")


def _reason(error: Exception) -> str:
    if isinstance(error, (OSError, EOFError, zlib.error)):
        return f"not a complete gzip file ({error})"
    if isinstance(error, (KeyError, TypeError)):
        return "not a segment of a journal"
    return str(error)
