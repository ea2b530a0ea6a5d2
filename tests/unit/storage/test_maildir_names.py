"""What a Maildir asks of a file system, on file systems that do not have it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from archiver.errors import ArchiveNotWritable
from archiver.mail.folder_names import UNIX_NAMES, DirectoryNames, directory_of
from archiver.storage.maildir.names import directory_names, require_fit


def test_a_directory_that_takes_all_names_is_left_as_it_was(tmp_path: Path) -> None:
    require_fit(tmp_path / "not" / "made yet")
    assert list(tmp_path.iterdir()) == []
    assert directory_names(tmp_path) == UNIX_NAMES


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EPERM, errno.ENOENT])
def test_a_file_system_without_colons_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    make = os.mkdir

    def mkdir(path: Path, *arguments: Any, **options: Any) -> None:
        if ":" in path.name:
            raise OSError(number, os.strerror(number), os.fspath(path))
        make(path, *arguments, **options)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(ArchiveNotWritable, match=r'file system refuses ":" in names') as refused:
        require_fit(tmp_path / "archive")
    assert str(refused.value).startswith(f"{tmp_path}: ")
    assert "ext4" in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_share_that_changes_names_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: [name.replace(":", "\uf022") for name in names(path)])
    with pytest.raises(ArchiveNotWritable, match="under another name"):
        require_fit(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_too_short_for_messages_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pathconf", lambda path, name: 100)
    with pytest.raises(ArchiveNotWritable, match="names of 100 octets at most"):
        require_fit(tmp_path)


def test_a_place_where_nothing_can_be_written_is_no_matter_of_names(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    require_fit(tmp_path / "file")


def test_short_names_leave_folders_shorter_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pathconf", lambda path, name: 143)
    require_fit(tmp_path)
    names = directory_names(tmp_path)
    assert names == DirectoryNames(88)
    path, raw = ("x" * 120,), b"x" * 120
    assert len(directory_of(path, raw, (), names)) == 88
    assert directory_of(("Sent",), b"Sent", (), names) == ".Sent"


def test_where_case_does_not_count_no_two_folders_share_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "journal").mkdir()
    exists = os.path.lexists
    monkeypatch.setattr(os.path, "lexists", lambda path: exists(str(path).replace("JOURNAL", "journal")))
    names = directory_names(tmp_path)
    assert names.folds_case
    first = directory_of(("Work",), b"Work", (), names)
    second = directory_of(("work",), b"work", {first}, names)
    assert first == ".Work"
    assert second.startswith(".work-")
    assert directory_of(("inbox",), b"&AGkAbgBiAG8AeA-", (), names).lower() != ".inbox"
