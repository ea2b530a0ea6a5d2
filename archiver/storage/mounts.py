"""Which file system a path is on, as the kernel tells."""

from __future__ import annotations

from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")


def kind_of(path: Path, mounts: Path = MOUNTS) -> str | None:
    """The type of the file system that holds `path`; None where nobody tells."""
    try:
        table = mounts.read_text(errors="surrogateescape")
    except OSError:
        return None
    return file_system_of(path.absolute().resolve(), table)


def file_system_of(path: Path, mountinfo: str) -> str | None:
    """The type of the file system that holds an absolute path, by proc(5) mountinfo; the newest mount counts."""
    best, kind = -1, None
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        if not separator:
            continue
        mounted = Path(_unescaped(before.split(" ")[4]))
        if path.is_relative_to(mounted) and len(mounted.parts) >= best:
            best, kind = len(mounted.parts), after.split(" ")[0]
    return kind


def _unescaped(text: str) -> str:
    for octal in ("040", "011", "012", "134"):
        text = text.replace("\\" + octal, chr(int(octal, 8)))
    return text
