"""Stored messages: with other values, in a fact, a placement or a copy; and as files of a Maildir."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from msgspec.structs import fields, replace


def altered(value: Any, **changes: Any) -> Any:
    """As `dataclasses.replace`; what is no field of `value` is one of its `message`."""
    own = {each.name for each in fields(value)}
    inner = {name: change for name, change in changes.items() if name not in own}
    outer = {name: change for name, change in changes.items() if name in own}
    return replace(value, message=replace(value.message, **inner), **outer)


def message_files(archive: Path | str) -> list[str]:
    """Every message file of an archive on a disk, relative to it; those that wait in `tmp` are not seen yet."""
    found = (path for sub in ("cur", "new") for path in Path(archive).glob(f"*/**/{sub}/*"))
    return sorted(os.path.relpath(path, archive) for path in found if not path.name.startswith("."))
