"""Who may do what in the folders, and what is noted about them: recorded when it changed.

A server counts no such change, so these are read of all folders that are archived, in a run that opens one of them;
a night without news asks for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from archiver.archive.context import Context
from archiver.facts.access import AnnotationsFact, RightsFact
from archiver.facts.archive import Fact
from archiver.mail.model import Folder
from archiver.source.port import MailSource

_SERVER = 0


def record_access(context: Context, source: MailSource, folders: Sequence[Folder]) -> None:
    """Read the rights and annotations of these folders, and of the server; record what is not known yet. What the
    server refuses to say stays as it was known."""
    seen = source.access(folders)
    if not seen:
        return
    sharing, now = context.catalog.replicas.sharing, context.control.now()
    rights, annotations = sharing.rights(), sharing.annotations()
    facts: list[Fact] = []
    for raw, each in seen.items():
        number = context.folders[raw].number if raw else _SERVER
        if each.rights is not None and each.rights != rights.get(number):
            facts.append(RightsFact(number, each.rights.entries, each.rights.mine, now))
        noted = each.annotations
        if noted is not None and noted != annotations.get(number) and (noted.is_some or number in annotations):
            facts.append(AnnotationsFact(number, noted.entries, noted.left_out, now))
    context.recorder.write(facts)
