"""Which folders a run opens and why, which it leaves out, and which are gone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct

from archiver.facts.known import RETRY_RUNS, KnownEpoch, KnownFolder, Quarantined
from archiver.imap.limits import limits_reading
from archiver.mail.folder_names import matches
from archiver.mail.model import INBOX, Folder, FolderStatus, Listed
from archiver.mail.window import is_window


class Plan(Struct, frozen=True):
    """What a run would do; printed by a dry run. `visit` and `skip` have folders with the reason."""

    visit: Sequence[tuple[Listed, str]] = ()
    unchanged: Sequence[Listed] = ()
    skip: Sequence[tuple[Folder, str]] = ()


def is_due(quarantined: Quarantined) -> bool:
    """Whether a normal run tries the message again. Tries that ended at a limit do not count against it."""
    if quarantined.accepted:
        return False
    reply = (quarantined.server_reply or "").encode()
    return quarantined.tries <= RETRY_RUNS or (b"[UNAVAILABLE]" not in reply and limits_reading(reply))


def plan_run(
    listed: Sequence[Listed],
    known: Mapping[bytes, KnownFolder],
    epochs: Mapping[int, KnownEpoch],
    *,
    include: Sequence[str],
    exclude: Sequence[str],
    whole: Sequence[str] = (),
    search: str | None,
    waiting: Collection[int],
    by_age: bool = False,
) -> Plan:
    """Sort the listed folders into those to visit, those unchanged, and those left out, each with its reason.

    `include`, `exclude` and `whole` are globs over decoded paths with "/" between levels; `exclude` wins. Folders
    that match `whole` count as complete, whatever number of messages they show. `waiting` are the epochs with
    quarantined messages that are due for another try. `by_age`: `search` is about dates alone.
    """
    visit: list[tuple[Listed, str]] = []
    unchanged: list[Listed] = []
    skip: list[tuple[Folder, str]] = []
    for each in listed:
        left_out = _left_out(each.folder, include, exclude)
        if left_out:
            skip.append((each.folder, left_out))
            continue
        folder = known.get(each.folder.raw)
        epoch = epochs.get(folder.number) if folder else None
        reason = visit_reason(each.status, epoch, search=search, waiting=waiting, by_age=by_age)
        if reason is None and epoch is not None:
            reason = _window_reason(each, epoch, matches(each.folder.path, whole))
        if reason:
            visit.append((each, reason))
        else:
            unchanged.append(each)
    return Plan(visit, unchanged, skip)


def chooses(folder: Folder, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether a folder is one of those that the rules select."""
    return _left_out(folder, include, exclude) is None


def _left_out(folder: Folder, include: Sequence[str], exclude: Sequence[str]) -> str | None:
    if not folder.selectable:
        return "it holds no messages itself (\\Noselect)"
    if not matches(folder.path, include):
        return "not in [folders] include"
    if matches(folder.path, exclude):
        return "in [folders] exclude"
    return None


def visit_reason(
    status: FolderStatus | None,
    epoch: KnownEpoch | None,
    *,
    search: str | None,
    waiting: Collection[int],
    by_age: bool = False,
) -> str | None:
    """Why a folder has to be opened; None if nothing changed since its last complete pass. `by_age`: what `search`
    finds follows from the folder and the dates in it."""
    if epoch is None:
        return "new"
    if epoch.other_source:
        return "the source is another server now"
    if status is None:
        return "the server does not report its status"
    if not status.uidvalidity:
        return "the server gives no UIDVALIDITY"
    if status.uidvalidity != epoch.uidvalidity:
        return "UIDVALIDITY changed"
    state = epoch.state
    if state is None:
        return "its last pass was not complete"
    if epoch.failed:
        return "its last pass failed"
    if search != state.filter or (search is not None and not by_age):
        return "the search filter may match other messages now" if search == state.filter else "the filter changed"
    if epoch.number in waiting:
        return "quarantined messages are due for another try"
    if epoch.unlabelled:
        return "the labels of some messages are not recorded yet"
    if status.highestmodseq is None or state.highestmodseq is None:
        return "flags may have changed (no HIGHESTMODSEQ)"
    here = (status.uidnext, status.messages, status.highestmodseq)
    if here != (state.uidnext, state.messages, state.highestmodseq):
        return "changed"
    # NOTE: a server that was restored from a snapshot and got as many new messages since can show the same three.
    if status.size is not None and status.size != state.size:
        return "its size changed or was unknown"
    return None


def _window_reason(listed: Listed, epoch: KnownEpoch, is_whole: bool) -> str | None:
    """Why a folder that did not change has to be opened: to decide again whether it shows all of its messages."""
    if epoch.hidden is not None and is_whole:
        return "[folders] whole lists it as complete"
    if epoch.hidden is None and not is_whole and listed.status and is_window([listed.status.messages]):
        return f"it shows exactly {listed.status.messages:,} messages, probably only a part of it"
    return None


def live_epochs(
    listed: Sequence[Listed], known: Mapping[bytes, KnownFolder], epochs: Mapping[int, KnownEpoch]
) -> frozenset[tuple[str, int]]:
    """The known epochs whose mail the server still shows under its UIDs, as (directory, uidvalidity). Mail of all
    other epochs may turn up elsewhere: its folder was renamed, deleted or recreated."""
    shown = set()
    for each in listed:
        folder = known.get(each.folder.raw)
        epoch = epochs.get(folder.number) if folder else None
        if folder is None or not each.folder.selectable or (epoch and epoch.other_source):
            continue
        # Also of a folder whose first epoch begins in this run.
        if each.status is not None and (each.status.uidvalidity or epoch is None):
            shown.add((folder.directory, each.status.uidvalidity))
        elif epoch is not None:
            shown.add((folder.directory, epoch.uidvalidity))
    return frozenset(shown)


def gone_folders(
    known: Iterable[KnownFolder], *, include: Sequence[str], exclude: Sequence[str]
) -> list[KnownFolder]:
    """The folders that the source had and no longer has, of those that the rules select.

    None if the listing is not credible because it lacks INBOX. A folder that is only named differently is not gone,
    as after a move to a server with another namespace: one with another delimiter, or one that is listed under
    other octets with the same text.
    """
    known = list(known)
    here = [each for each in known if each.holds_mail and not each.folder.is_imported]
    if not here or any(each.folder.raw == INBOX and not each.holds_mail for each in known):
        return []
    delimiters = {each.folder.delimiter for each in here if each.folder.raw != INBOX}
    paths = {each.folder.path for each in here}
    return [
        each
        for each in known
        if not each.holds_mail
        and (not delimiters or each.folder.delimiter in delimiters)
        and each.folder.path not in paths
        and matches(each.folder.path, include)
        and not matches(each.folder.path, exclude)
    ]
