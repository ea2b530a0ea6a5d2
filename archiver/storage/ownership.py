"""Who else can change what lies in a directory. The rule is that of a password file."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path


def open_to_others(path: Path) -> str | None:
    """Who else can change what is archived there, or cannot read what root adds; None if there is nobody."""
    status = path.stat()
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"other users can change {path}; `chmod go-w` keeps it private"
    if os.geteuid() == status.st_uid:
        return None
    if os.geteuid() != 0:
        return f"{path} belongs to another user, who can change it; `chown` makes it yours"
    owner = _user_name(status.st_uid)
    return f"{path} belongs to {owner}, who cannot read what root writes there; run as {owner} instead"


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"#{number}"
