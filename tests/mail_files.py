"""Mail as it lies on disks: messages written as a Maildir, as an mbox of each dialect, as single files, packed."""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

_FROM = b"From sender@example.org Wed Jan 10 08:05:00 2024\n"


def on_the_wire(octets: bytes) -> bytes:
    """As an IMAP server gives the message: each LF has a CR before it."""
    return re.sub(rb"(?<!\r)\n", b"\r\n", octets)


def ended(octets: bytes) -> bytes:
    """With a line end, which an mbox cannot do without."""
    return octets if not octets or octets.endswith(b"\n") else octets + b"\n"


def maildir(root: Path, messages: Iterable[bytes], flags: Sequence[str] = ("",)) -> Path:
    """A Maildir, or a folder of one."""
    for part in ("cur", "new", "tmp"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for number, octets in enumerate(messages):
        letters = flags[number % len(flags)]
        (root / "cur" / f"{1700000000 + number}.M{number}P1.mx:2,{letters}").write_bytes(octets)
    return root


def mboxrd(messages: Iterable[bytes]) -> bytes:
    """Each line "From ", after any number of ">", gets one more."""
    return b"".join(_FROM + re.sub(rb"(?m)^(>*From )", rb">\1", ended(each)) + b"\n" for each in messages)


def mboxo(messages: Iterable[bytes]) -> bytes:
    """Each line "From " gets a ">"."""
    return b"".join(_FROM + re.sub(rb"(?m)^(From )", rb">\1", ended(each)) + b"\n" for each in messages)


def mboxcl2(messages: Iterable[bytes]) -> bytes:
    """Content-Length says where a message ends, and nothing is quoted."""
    return b"".join(_FROM + _with_length(ended(each)) + b"\n" for each in messages)


def mboxcl(messages: Iterable[bytes]) -> bytes:
    """The same with quoted lines."""
    return b"".join(
        _FROM + _with_length(re.sub(rb"(?m)^(From )", rb">\1", ended(each))) + b"\n" for each in messages
    )


def _with_length(octets: bytes) -> bytes:
    header, empty, body = (
        re.fullmatch(rb"(?s)(.*?\n|)(\r?\n)(.*)", octets).groups()
        if b"\n\n" in octets or (b"\n\r\n" in octets or octets[:1] == b"\n")
        else (octets, b"", b"")
    )
    length = b"" if not empty else b"Content-Length: %d%b" % (len(body), empty)
    return header + length + empty + body


MBOXES: Mapping[str, Callable[[Iterable[bytes]], bytes]] = {
    "mboxrd": mboxrd, "mboxo": mboxo, "mboxcl": mboxcl, "mboxcl2": mboxcl2,
}  # fmt: skip


def single_files(root: Path, messages: Iterable[bytes]) -> Path:
    """A directory of .eml files."""
    root.mkdir(parents=True, exist_ok=True)
    for number, octets in enumerate(messages):
        (root / f"{number:05}.eml").write_bytes(octets)
    return root


def zipped(path: Path, files: Mapping[str, bytes]) -> Path:
    """A .zip of these files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, octets in files.items():
            archive.writestr(name, octets)
    return path


def tarred(path: Path, files: Mapping[str, bytes]) -> Path:
    """A .tar.gz of these files."""
    with tarfile.open(path, "w:gz") as archive:
        for name, octets in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(octets)
            archive.addfile(entry, io.BytesIO(octets))
    return path
