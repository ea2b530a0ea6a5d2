"""The audit of a Maildir: every message has its file with its size and octets, and no file is unexpected.

A disk is read fastest by one reader, so messages are read one after the other in the order of their folders.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from typing import BinaryIO

from archiver.errors import IntegrityError
from archiver.mail.model import Placement
from archiver.storage.audit import NOT_THERE, Audited, Fault, Looked, Stray, fault_in, wrong_size
from archiver.storage.maildir.strays import strays
from archiver.storage.maildir.tree import MaildirTree
from archiver.storage.port import Rows


def audit(
    tree: MaildirTree, rows: Rows, reads: Callable[[Placement], bool], locate: Callable[[Placement], BinaryIO]
) -> Generator[Audited, None, None]:
    """All unexpected files, then all messages; `locate` opens a message even if a mail program renamed its file."""
    yield from (Stray(path, reason) for path, reason in strays(tree, rows.placements()))
    for placement in rows.placements():
        read = reads(placement)
        yield Looked(placement, read, _fault(placement, read, locate))


def _fault(placement: Placement, read: bool, locate: Callable[[Placement], BinaryIO]) -> Fault | None:
    try:
        with locate(placement) as file:
            size = os.fstat(file.fileno()).st_size
            if size != placement.size:
                return wrong_size(size, placement)
            return fault_in(file, placement) if read else None
    except IntegrityError:
        return NOT_THERE
    except PermissionError:
        raise  # that this user may not read it is no damage
    except OSError as error:
        return Fault("damaged", f"cannot be read: {error.strerror or error}")
