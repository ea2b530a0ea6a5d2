"""Which file system a path is on, according to the kernel."""

from __future__ import annotations

from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")

_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gfs2", "ocfs2"})
_NETWORK_FUSE = frozenset({"fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "fuse.ceph"})


def kind_of(path: Path, mounts: Path = MOUNTS) -> str | None:
    """The type of the file system of `path`; None if it is unknown."""
    try:
        table = mounts.read_text(errors="surrogateescape")
    except OSError:
        return None
    return file_system_of(path.absolute().resolve(), table)


def network_file_system_of(path: Path, mounts: Path = MOUNTS) -> str | None:
    """The type of the file system of `path`, if it is one that several hosts share; otherwise None."""
    kind = kind_of(path, mounts)
    return kind if kind in _NETWORK or kind in _NETWORK_FUSE else None


def file_system_of(path: Path, mountinfo: str) -> str | None:
    """The type of the file system of an absolute path, from proc(5) mountinfo; the newest mount counts."""
    best, kind, within = -1, None, f"{path}/"
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        if not separator:
            continue
        mounted = _unescaped(before.split(" ")[4]).rstrip("/")
        # Of two places that hold the path the longer one is the deeper.
        if within.startswith(f"{mounted}/") and len(mounted) >= best:
            best, kind = len(mounted), after.split(" ")[0]
    return kind


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    for octal in ("040", "011", "012", "134"):
        text = text.replace("\\" + octal, chr(int(octal, 8)))
    return text
