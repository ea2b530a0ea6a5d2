"""The audit of a Maildir: every message has its file with its size and octets, and no file is unexpected.

Messages are read in the order of their folders, large ones by two threads close together: one hashes, which does
not hold the interpreter's lock, while the other reads. More would only make a disk's head move, and with small
messages they would only wait for each other.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import BinaryIO

from archiver.errors import IntegrityError
from archiver.mail.model import Placement
from archiver.storage.audit import NOT_THERE, Audited, Fault, Looked, Stray, fault_in, wrong_size
from archiver.storage.maildir.strays import strays
from archiver.storage.maildir.tree import MaildirTree
from archiver.storage.port import Rows

# Messages are handed to a thread by fifties, and a few of these wait for it.
_READERS, _AT_ONCE, _AHEAD = 2, 50, 6
_LARGE = 6000  # octets a message: from here on reading and hashing take longer than what is around them


def audit(
    tree: MaildirTree, rows: Rows, reads: Callable[[Placement], bool], locate: Callable[[Placement], BinaryIO]
) -> Generator[Audited, None, None]:
    """All unexpected files, then all messages; `locate` opens a message even if a mail program renamed its file."""
    yield from (Stray(path, reason) for path, reason in strays(tree, rows.placements()))
    places = rows.placements()
    with ThreadPoolExecutor(_READERS, "audit") as pool:
        under_way: deque[Future[Sequence[Looked]]] = deque()
        try:
            while some := list(islice(places, _AT_ONCE)):
                if sum(each.size for each in some if reads(each)) >= _LARGE * len(some):
                    under_way.append(pool.submit(_looked, some, reads, locate))
                else:
                    under_way.append(Future())
                    under_way[-1].set_result(_looked(some, reads, locate))
                while under_way and (under_way[0].done() or len(under_way) > _AHEAD):
                    yield from under_way.popleft().result()
            while under_way:
                yield from under_way.popleft().result()
        finally:
            for each in under_way:
                each.cancel()


def _looked(
    placements: Sequence[Placement], reads: Callable[[Placement], bool], locate: Callable[[Placement], BinaryIO]
) -> Sequence[Looked]:
    return [Looked(each, read := reads(each), _fault(each, read, locate)) for each in placements]


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
