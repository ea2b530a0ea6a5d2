"""A disk that takes writes and loses them: needs root, the right to mount, and a loop device.

Its image is a sparse file on a small tmpfs. When that is full, what the disk keeps already can still be changed,
but nothing new comes to it: the kernel finds out when it writes its pages back, long after `write` has returned.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.servers import small_disk


class FailingDisk:
    """A file system at `path`; from `begin` on it loses what is new."""

    def __init__(self, path: Path, below: Path) -> None:
        self.path = path
        self._below = below

    def begin(self) -> None:
        """From here on what is written is lost; what was written before is on the disk."""
        self.sync()
        with suppress(OSError), (self._below / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(b"\0" * 4096)

    def sync(self) -> int:
        """Another program syncs the file system, and gets the report of what was lost. → what syncfs returned"""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            return int(ctypes.CDLL(None).syncfs(descriptor))
        finally:
            os.close(descriptor)


@contextmanager
def failing_disk(directory: Path) -> Iterator[FailingDisk]:
    """The disk, empty and still sound, mounted at `directory`; skips the test where it cannot be made."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("needs root and mkfs.ext4 to make a disk that fails")
    with small_disk.mounted(directory.with_name(f"{directory.name}.below"), "12m") as below:
        image = below / "image"
        image.write_bytes(b"\0" * (8 << 20))
        os.truncate(image, 64 << 20)
        options = ["-q", "-O", "^has_journal", "-E", "nodiscard,lazy_itable_init=0", "-N", "256"]
        subprocess.run(["mkfs.ext4", *options, str(image)], check=True)
        directory.mkdir()
        mount = ["mount", "-o", "loop", str(image), str(directory)]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            pytest.skip("may not mount a loop device")
        try:
            yield FailingDisk(directory, below)
        finally:
            subprocess.run(["umount", "--lazy", str(directory)], check=True)
