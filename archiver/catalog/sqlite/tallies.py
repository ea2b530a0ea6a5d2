"""The equation of every folder, counted by the database with one grouped query for each kind of fact."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, and_, case, func, select

from archiver.catalog.sqlite.reading import folder_name
from archiver.catalog.sqlite.schema import EPOCH, FLAG_CHANGE, FOLDER, MESSAGE, PASS, PRESENCE_CHANGE, QUARANTINE
from archiver.mail.model import Tally


def tallies(connection: Connection, run: str | None) -> Sequence[Tally]:
    """One Tally for every listed folder that has an epoch, in the order in which folders were first seen.

    What only the server knows comes from the pass of `run`, or from the newest pass if `run` made none.
    """
    messages = {row.epoch: row for row in connection.execute(_messages(run))}
    quarantined = _counts(connection, select(QUARANTINE.c.epoch, func.count()).group_by(QUARANTINE.c.epoch))
    reflagged = _counts(connection, _changed(FLAG_CHANGE.c.epoch, FLAG_CHANGE.c.uid, FLAG_CHANGE.c.run == run))
    gone = and_(PRESENCE_CHANGE.c.run == run, PRESENCE_CHANGE.c.present.is_(False))
    vanished = _counts(connection, _changed(PRESENCE_CHANGE.c.epoch, PRESENCE_CHANGE.c.uid, gone))
    passes = _passes(connection, run)

    def tally(folder: Row[str, int, int]) -> Tally:
        path, epoch, uidvalidity = folder
        held, seen = messages.get(epoch), passes.get(epoch)
        return Tally(
            name=folder_name(path),
            uidvalidity=uidvalidity,
            on_server=seen.on_server if seen else 0,
            stored=held.stored if held else 0,
            excluded=seen.excluded if seen else 0,
            quarantined=quarantined.get(epoch, 0),
            fetched=held.fetched if held else 0,
            fetched_bytes=held.fetched_bytes if held else 0,
            flags_changed=reflagged.get(epoch, 0),
            vanished=vanished.get(epoch, 0),
            error=seen.error if seen else None,
            visited=seen is not None and run in (None, seen.run),
            stored_bytes=held.stored_bytes if held else 0,
            shown=seen.shown if seen else None,
        )

    return [tally(folder) for folder in connection.execute(_FOLDERS)]


_FOLDERS = (
    select(FOLDER.c.path, EPOCH.c.number, EPOCH.c.uidvalidity)
    .join(EPOCH, and_(EPOCH.c.folder == FOLDER.c.number, EPOCH.c.ended_at.is_(None)))
    .where(FOLDER.c.listed)
    .order_by(FOLDER.c.number)
)


def _messages(run: str | None) -> Select[int, int, int, int, int]:
    present = MESSAGE.c.vanished_at.is_(None)
    fetched = and_(MESSAGE.c.stored_run == run, MESSAGE.c.matched.is_(None))
    return select(
        MESSAGE.c.epoch,
        func.sum(case((present, 1), else_=0)).label("stored"),
        func.sum(case((present, MESSAGE.c.size), else_=0)).label("stored_bytes"),
        func.sum(case((fetched, 1), else_=0)).label("fetched"),
        func.sum(case((fetched, MESSAGE.c.size), else_=0)).label("fetched_bytes"),
    ).group_by(MESSAGE.c.epoch)


def _changed(epoch: Column[int], uid: Column[int], condition: ColumnElement[bool]) -> Select[int, int]:
    return select(epoch, func.count(uid.distinct())).where(condition).group_by(epoch)


def _counts(connection: Connection, statement: Select[int, int]) -> dict[int, int]:
    return {row[0]: row[1] for row in connection.execute(statement)}


def _passes(connection: Connection, run: str | None) -> dict[int, Row[int, int, int, str | None, str, int | None]]:
    """The pass that counts for each epoch: that of `run`, otherwise the newest."""
    columns = (PASS.c.epoch, PASS.c.on_server, PASS.c.excluded, PASS.c.error, PASS.c.run, PASS.c.shown)
    newest = select(PASS.c.epoch, func.max(PASS.c.segment).label("segment")).group_by(PASS.c.epoch).subquery()
    latest = select(*columns).join(newest, and_(newest.c.epoch == PASS.c.epoch, newest.c.segment == PASS.c.segment))
    found = {row.epoch: row for row in connection.execute(latest)}
    if run is not None:
        found.update({row.epoch: row for row in connection.execute(select(*columns).where(PASS.c.run == run))})
    return found
