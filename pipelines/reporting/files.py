"""The files of a report: JSON for programs, a page for people. Each is written completely or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from archiver.storage.files import Writing, make_directories, sync_paths


def write_report(path: Path, document: dict[str, Any]) -> None:
    """Write a report; durable on return. Its page for people is made when somebody asks for it: to make it takes
    longer than many a run.

    Raises:
        ArchiveNotWritable: there is no room for it.
    """
    encoder = json.JSONEncoder(indent=1, ensure_ascii=False)
    runs = path.parent.parent
    with Writing(os.fspath(runs)):
        make_directories(path.parent)
        _write(path, chain(encoder.iterencode(document), ["\n"]))
        sync_paths([os.fspath(each) for each in (path.parent, runs, runs.parent)])


def write_page(page: Path, document: Mapping[str, Any], written: int) -> None:
    """Write the page of a report. It gets the time at which the report was `written`, in nanoseconds: a page that
    is older than its report does not belong to it, also if a run has replaced the report in the meantime."""
    from archiver.report.page import render_html

    _write(page, [render_html(document)], written)


def _write(path: Path, text: Iterable[str], modified: int | None = None) -> None:
    """Write a private file, completely or not at all."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".report-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(text)
            file.flush()
            if modified is not None:
                os.utime(file.fileno(), ns=(modified, modified))
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
