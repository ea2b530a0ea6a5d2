"""Exports an account's archive in the chosen form, into a directory of its own."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from msgspec import Struct, to_builtins

from archiver.account.archive import Archive
from archiver.control.run import RunControl, utc_now
from archiver.errors import ArchiveNotWritable, ConfigError
from archiver.events import Progress
from archiver.export.eml import EmlWriter
from archiver.export.maildir import MaildirWriter
from archiver.export.mbox import MboxWriter
from archiver.export.run import ExportResult, ExportStep
from archiver.export.writer import ExportWriter
from archiver.storage.files import make_directories, private_file, sync_paths, sync_tree
from archiver.storage.maildir.store import MaildirStore
from archiver.storage.syncing import WatchedFileSystem, watched

Form = Literal["maildir", "mbox", "eml"]

FORMS: tuple[Form, ...] = get_args(Form)
FORMAT = "archiver-export/1"
SUMMARY = "export.json"

_COUNTED = ("messages", "octets", "vanished", "damaged")


class ExportOptions(Struct, frozen=True):
    """What is exported, and how. `moment` (UTC, ISO 8601): as the folders stood then; None: now. `folders` are
    globs; `vanished`: also what was gone from the source."""

    form: Form
    path: Path
    folders: Sequence[str] = ("*",)
    moment: str | None = None
    vanished: bool = False


def export_account(archive: Archive, options: ExportOptions, control: RunControl) -> ExportResult:
    """Export an archive. The summary is written last: where it is, the export is complete and on the disk.

    Raises:
        ConfigError: the path is not an empty directory of its own, no such folder, or the archive began later.
        ArchiveNotWritable: the export cannot be written; what was written so far is left there.
        IntegrityError: the journal is damaged. A damaged message is in the result.
    """
    root = os.path.abspath(options.path)
    _require_room_of_its_own(archive, root)
    # Several exports may be at work, each with a name of its own.
    with archive.as_it_was(options.moment, f"export-{uuid.uuid4().hex}", control.check_stop) as state:
        _make(root)
        file_system = watched(root)
        step = ExportStep(
            state=state,
            catalog=archive.catalog,
            store=archive.store,
            prefetch=archive.storage.prefetch,
            writer=_writer(options.form, root, control.progress),
            include=options.folders,
            vanished=options.vanished,
            control=control,
        )
        result = step.run()
        identity = state.account.identity()
    whose = {"account": archive.settings.account, "archive_id": identity.archive_id if identity else None}
    summary = {"format": FORMAT, **whose, "exported_at": utc_now(), **export_to_record(options, result)}
    _complete(root, file_system, summary)
    return result


def export_to_record(options: ExportOptions, result: ExportResult) -> dict[str, Any]:
    """What was exported, as JSON."""
    return {
        "to": options.form,
        "as_of": options.moment,
        "include_vanished": options.vanished,
        "folders": [to_builtins(each) for each in result.folders],
        "totals": {name: sum(getattr(each, name) for each in result.folders) for name in _COUNTED},
        "left_out": result.left_out,
        "damaged": [to_builtins(each) for each in result.damaged],
    }


def _writer(form: Form, root: str, progress: Progress) -> ExportWriter:
    match form:
        case "maildir":
            # Made durable in one go when it is complete.
            store = MaildirStore(Path(root), "none")
            return MaildirWriter(store, store.metadata, progress)
        case "mbox":
            return MboxWriter(root)
        case "eml":
            return EmlWriter(root)


def _require_room_of_its_own(archive: Archive, root: str) -> None:
    """
    Raises:
        ConfigError: something is there, or it is within the archive.
    """
    if Path(os.path.realpath(root)).is_relative_to(os.path.realpath(archive.settings.archive.path)):
        raise ConfigError(root, ["lies within the archive"], hint="export to another place")
    try:
        taken = bool(os.listdir(root))
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(root, [str(error.strerror)], hint="give an empty directory, or a new one") from error
    if taken:
        hint = "give an empty directory, or a new one; if an export was interrupted, remove it and start again"
        raise ConfigError(root, ["is not empty, and nothing in it is overwritten"], hint=hint)


def _make(root: str) -> None:
    try:
        make_directories(root)
    except OSError as error:
        raise ArchiveNotWritable(f"{root}: {error.strerror}", hint="choose another place") from error


def _complete(root: str, file_system: WatchedFileSystem | None, summary: dict[str, Any]) -> None:
    """Bring all of it to the disk, then write the summary."""
    try:
        spool = os.path.join(root, "spool")
        if os.path.isdir(spool):
            os.rmdir(spool)
        if file_system is not None:
            file_system.sync()
        else:
            sync_tree(root)
        with private_file(os.path.join(root, SUMMARY)) as file:
            file.write(json.dumps(summary, indent=1).encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync_paths([root, os.path.dirname(root)])
    except OSError as error:
        raise ArchiveNotWritable(f"{root}: {error.strerror}", hint="remove it, and export again") from error
