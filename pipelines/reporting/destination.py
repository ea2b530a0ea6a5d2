"""What a report says about the destination: the copies there, and what is missing or odd among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from archiver.account.archive import Archive
from archiver.facts.outgoing import Refused
from archiver.facts.replica import ReplicaTally
from archiver.mail.folder_names import decode_name, printable
from archiver.report.document import AtDestination, Failure, Notice, Party
from archiver.report.failures import (
    missing_failures,
    pending_failures,
    pruned_failures,
    refusal_failures,
    twin_failures,
)
from archiver.report.notices import gone_notices, left_out_notices, rights_notices, unnumbered_notices
from pipelines.failures import with_file
from pipelines.results import check_from_json, replay_from_json

if TYPE_CHECKING:
    from archiver.replay.run import ReplayResult

_OLDER = Failure(
    None,
    None,
    "replay",
    "the archive is older than the note next to the account file: it was restored from a backup that does not know "
    "what was pruned, or how far the migration is; so only what is new was sent to the destination",
    None,
    "restore a newer backup; or say how far the migration is by `archiver mark CONFIG cutover`, or another state: "
    "then flags and deletions are followed, also those by `prune`, if [replay] vanished says so",
)


class DestinationSide(Struct, frozen=True):
    """What the archive knows of its destination after a run. `gone` are folders that the source no longer has, from
    which messages were restored; `left_out` those that are not replayed by themselves. `result` is that of the
    replay, None if it was not completed. `unsent` are folders with messages that `prune` removed from the source
    and that were never there, and how many."""

    found: AtDestination
    refused: Sequence[Refused]
    gone: Sequence[str]
    left_out: Sequence[ReplicaTally] = ()
    result: ReplayResult | None = None
    unsent: Sequence[tuple[str, int]] = ()


def destination_side(archive: Archive, run_id: str, *, include_vanished: bool) -> DestinationSide | None:
    """The destination's side of a run, from the present state of the ledger; None if the account has none."""
    settings = archive.settings.destination
    if settings is None:
        return None
    party = Party(settings.host, settings.user)
    number = archive.destination_number
    unsent = [(each.folder.name, count) for each, count in archive.unsent_pruned()]
    if number is None:
        return DestinationSide(AtDestination(party, {}), (), (), unsent=unsent)
    replicas = archive.catalog.replicas
    sent = (*archive.pruned_folders(), *archive.replayed_folders(unlisted=include_vanished))
    chosen = {each.folder.name: each.listed for each in sent}
    checked = archive.catalog.ledger.step_result(run_id, "verify")
    check = check_from_json(checked) if checked else None
    tallies = [each for each in replicas.folders.tallies(number, run_id) if each.folder in chosen]
    tallies = [each if chosen[each.folder] else _all_restored(each, all_sent=include_vanished) for each in tallies]
    left_out = archive.left_out()
    found = AtDestination(
        party=party,
        tallies={each.folder: each for each in (*tallies, *left_out)},
        verified={name: (each.verified, each.differences) for name, each in check.folders.items()} if check else {},
        losses=[each for each in replicas.folders.losses(number) if each.folder in chosen],
        differences=[
            to_builtins(replace(each, next=with_file(each.next, archive.settings.file)))
            for each in (check.differences if check else ())
        ],
    )
    refused = [
        each for each in replicas.pending.refused(number, vanished=include_vanished) if each.folder in chosen
    ]
    gone = [each.folder for each in tallies if each.restored and not chosen[each.folder]]
    done = archive.catalog.ledger.step_result(run_id, "replay")
    result = replay_from_json(done) if done else None
    return DestinationSide(found, refused, gone, left_out, result, unsent)


def _all_restored(tally: ReplicaTally, *, all_sent: bool) -> ReplicaTally:
    """The tally of a folder that the source no longer has: everything that was sent counts as restored. Unless all
    is sent that is gone, only what we had removed there was, and what waits of that is not counted here."""
    restored, pending = tally.replayed + tally.restored, tally.pending if all_sent else 0
    return ReplicaTally(tally.folder, tally.name, 0, 0, 0, 0, pending, restored=restored)


def destination_failures(archive: Archive, side: DestinationSide, *, all_sent: bool) -> list[Failure]:
    """What is missing or wrong at the destination; `all_sent`: everything in the archive should be there."""
    failures, result = refusal_failures(side.refused) + twin_failures(side.found.losses), side.result
    if result is not None:
        left_out = {each.folder for each in side.left_out}
        tallies = [each for name, each in side.found.tallies.items() if name not in left_out]
        if all_sent:
            failures += missing_failures(side.left_out, archive.settings.replay.labels)
            failures += pruned_failures(side.unsent)
        failures += pending_failures(
            [each if all_sent else replace(each, pending=0) for each in tallies], result.errors
        )
        if result.blocked_reason is not None:
            confirming = f"`archiver replay --confirm-deletions` {archive.settings.replay.vanished}s them"
            advice = result.advice or confirming
            failures.append(Failure(None, None, "replay", printable(result.blocked_reason), None, advice))
    if all_sent and archive.is_older:
        failures.append(_OLDER)
    return failures


def destination_notices(archive: Archive, side: DestinationSide) -> list[Notice]:
    """What people should know about the destination, also about copies that were kept for other accounts."""
    number = archive.destination_number
    folders = archive.catalog.replicas.folders.current(number) if number is not None else {}
    unnumbered = [printable(decode_name(raw)) for raw, each in folders.items() if not each.uidvalidity]
    shared = side.result.left if side.result else ()
    return [
        *unnumbered_notices(unnumbered, "destination"),
        *gone_notices(archive.stranded_copies()),
        *_rights_notices(archive, number),
        *left_out_notices(archive.left_out_alone()),
        *(Notice(each.folder, "shared", each.count, printable(each.text)) for each in shared),
    ]


def _rights_notices(archive: Archive, destination: int | None) -> list[Notice]:
    """Access rights that the destination did not give, also in earlier runs."""
    if destination is None or not archive.settings.replay.acls:
        return []
    granted = archive.catalog.replicas.sharing.granted(destination)
    names = {each.number: each.folder.name for each in archive.chosen_folders()}
    return rights_notices(
        {names[number]: each.refused for number, each in granted.items() if each.refused and number in names}
    )
