"""A small file system to be filled up, one mebibyte if nothing else is said: needs root and the right to mount."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(directory: Path, size: str = "1m", inodes: int = 0) -> Iterator[Path]:
    """The small disk at `directory`, gone at the end; skips the test where it cannot be mounted. `inodes`: how many
    files and directories it has room for, 0 for as many as fit."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},nr_inodes={inodes}", "tmpfs", str(directory)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("may not mount a small disk")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@contextmanager
def read_only_view(directory: Path, at: Path) -> Iterator[Path]:
    """The directory once more at `at`, where it cannot be written, whatever happens in `directory` itself."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a directory twice")
    at.mkdir()
    if subprocess.run(["mount", "--bind", str(directory), str(at)], capture_output=True, check=False).returncode:
        pytest.skip("may not mount a directory twice")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(at)], check=True)
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def fill(directory: Path, *, spare: int = 0) -> Path:
    """Fill the disk up to `spare` octets; the file that fills it."""
    ballast = directory / "ballast"
    with ballast.open("wb") as file:
        free = os.statvfs(directory)
        file.write(b"\0" * (free.f_bavail * free.f_frsize - spare))
    return ballast


def fill_inodes(directory: Path, *, spare: int) -> list[Path]:
    """Use up the inodes but for `spare`; the files that use them."""
    ballast = [directory / f"ballast-{number}" for number in range(os.statvfs(directory).f_ffree - spare)]
    for each in ballast:
        each.touch()
    return ballast


def make_read_only(directory: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=True)


def make_larger(directory: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(directory)], check=True)


def make_writable(directory: Path) -> None:
    subprocess.run(["mount", "-o", "remount,rw", str(directory)], check=True)
