"""The page of a fleet, written as a file: for those who want to know how a migration goes, and have no shell."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args
from urllib.parse import quote

from archiver.control.run import utc_now
from archiver.errors import ArchiveNotWritable
from archiver.fleet.model import STATES
from archiver.report.fleet_page import FleetRow, render_fleet
from pipelines.fleet.ages import age_words
from pipelines.fleet.standing import Condition, Standing


def write_fleet_page(page: Path, standings: Sequence[Standing], archives: Mapping[str, Path]) -> None:
    """Write the page, completely or not at all, readable by its owner alone. `archives` are those of the account
    files; their newest reports are linked to.

    Raises:
        ArchiveNotWritable: it cannot be written.
    """
    page = page.absolute()
    rows = [_row(each, page, archives.get(each.file)) for each in standings]
    text = render_fleet(rows, utc_now(), get_args(Condition), STATES)
    try:
        _write(page, text)
    except OSError as error:
        hint = "give another FILE"
        raise ArchiveNotWritable(f"{page}: cannot be written: {error.strerror}", hint=hint) from error


def _write(page: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(dir=page.parent, prefix=".fleet-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.replace(name, page)
    except BaseException:
        os.unlink(name)
        raise


def _row(each: Standing, page: Path, archive: Path | None) -> FleetRow:
    return FleetRow(
        account=each.account,
        condition=each.condition,
        exit_code=each.exit_code,
        state=each.state,
        state_number=-1 if each.state is None else STATES.index(each.state),
        percent=each.percent,
        messages=each.messages,
        octets=each.octets,
        to_go=each.messages_to_go,
        success=each.success,
        age=each.age,
        ago="" if each.age is None else age_words(each.age),
        cause=each.cause if each.exit_code else None,
        next=each.next_step if each.exit_code else None,
        again=each.again_at,
        report=None if archive is None else _report(archive, each.run, page),
    )


def _report(archive: Path, run: str | None, page: Path) -> str | None:
    """The address of the newest report from where the page is; None if there is none. That of the last run is the
    newest, unless the run only looked and found nothing new."""
    runs = archive / "runs"
    newest = None if run is None else runs / run
    if newest is None or not (newest / "report.json").exists():
        try:
            there = [(entry.stat().st_mtime_ns, entry.path) for entry in os.scandir(runs) if entry.is_dir()]
        except OSError:
            return None
        newest = Path(max(there)[1]) if there else None
    if newest is None:
        return None
    files = (newest / "report.html", newest / "report.json")
    file = next((each for each in files if each.exists()), None)
    # NOTE: "./" keeps a name with a colon from being taken for a scheme.
    return None if file is None else "./" + quote(os.fsencode(os.path.relpath(file, page.parent)))
