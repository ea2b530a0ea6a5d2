"""Archives proved, mended, cleaned up, made whole again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archiver.errors import ConfigError
from pipelines.cli.verbs.options import Configs, Json, Quiet, Verbose, terminal_of


def verify(
    configs: Configs,
    sample: Annotated[
        str | None, typer.Option("--sample", metavar="SHARE", help="Read only a share of the messages, as in 5%.")
    ] = None,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Read all octets: of every copy at the destination, of every object in a bucket."
        ),
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Contact no mail server: the archive alone.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Prove the archives: every message has its file, every file's SHA-256 is the recorded one, no file is a
    stranger, the journal is whole, and the catalog is what the journal says.

    An account that was replayed is compared with its destination: size, flags and INTERNALDATE of every message,
    with --deep the octets that the destination gives back, too. A server that writes messages in its own way
    (line ends, blanks in headers) is compared without that, and it is said. What the destination's user changed or
    removed there is told, and is no difference.

    On a disk all octets are read. In a bucket one listing tells whether every object is there with its size, and
    nothing is downloaded: a flipped octet is found only where octets are read, with --deep or --sample. With
    --sample only that share of the archive is read, others every day; that all of it is there is looked at anyway.

    Each finding is named by folder and UID: missing, damaged, or a stray, which is a file or an object that no
    message accounts for. `archiver repair` mends the first two. The source is not contacted. Exit code 4 for
    differences and strays, 6 for an archive that lost something.

    \b
      archiver verify configs/
      archiver verify configs/ --sample 5%     every night; all within some weeks
      archiver verify configs/alice.toml --deep
      archiver verify configs/alice.toml --deep --offline     all of the archive, nothing of the destination
    """
    from pipelines.cli.upkeep import verify_archives
    from pipelines.work.verify import VerifyOptions

    options = VerifyOptions(_share(sample), deep, offline)
    return verify_archives(configs, options, terminal_of(as_json, quiet, verbose))


def repair(
    configs: Configs,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read all octets to find what is damaged, also of a bucket.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what could be mended, and from where; write nothing.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Find the messages that are missing or damaged in the archives, as `archiver verify` does, and mend them: each
    is taken from another copy in the archive, from the source, if it still has it under the same UID, or from the
    destination, where a copy of it is. Octets are accepted only if their SHA-256 is the recorded one, and are read
    back after they were written. The servers are contacted only when something is to be mended, and not changed.

    What is whole is not touched, nor are files and objects that no message accounts for. On a disk all octets are
    read to find damage; in a bucket sizes are compared, and octets are read with --deep. With --dry-run the octets
    are fetched as well, so that it says what could be mended, but nothing is written.

    What no place has any more is listed by folder, UID, date and subject, and ends the command with exit code 6;
    only a backup has it. A message in quarantine never was in the archive: see `archiver retry`.

    \b
      archiver repair configs/alice.toml --dry-run
      archiver repair configs/alice.toml
      archiver repair configs/ --deep --json >repair.json
    """
    from pipelines.cli.upkeep import repair_archives
    from pipelines.work.repair import RepairOptions

    return repair_archives(configs, RepairOptions(deep, dry_run), terminal_of(as_json, quiet, verbose))


def gc(
    configs: Configs,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove what is listed; without it nothing is changed.")
    ] = False,
    confirm_deletions: Annotated[
        bool, typer.Option("--confirm-deletions", help="Remove it, however much it is.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """List what lies in the buckets of archives although no run ever recorded it: messages and packs that a killed
    run had sent. With --delete remove it.

    Only messages and packs count that no segment of the journal names, from the first one on, and that have been
    there for seven days by the endpoint's own clock. Younger ones are counted: they are used when their messages
    are put again. Journal, marker and lease are never touched, nor is anything of another name: `archiver verify`
    tells of that. What an Object Lock or a legal hold keeps is listed with the reason, and stays.

    A brake stops what looks like a journal that was lost and begun anew, which does not name the archive's own
    messages: where something is older than the journal, or where more than 50 messages (or 5 packs) and more than a
    quarter of all would go, nothing is removed, it says so, and ends with exit code 3. --confirm-deletions is a
    person's word that it is meant.

    The account's lock is held meanwhile. A journal that is damaged or not complete ends it with exit code 6 before
    anything is removed. A Maildir has nothing to collect.

    \b
      archiver gc configs/alice.toml
      archiver gc configs/ --delete
    """
    from pipelines.cli.upkeep import collect_garbage

    terminal = terminal_of(as_json, quiet, verbose)
    return collect_garbage(configs, terminal, delete=delete, confirmed=confirm_deletions)


def rebuild(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="One account file.")],
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Make an archive's catalog again from its store and journal alone, after it was lost or damaged.

    No server is contacted and no message is touched. The old catalog is kept beside the new one, and stays in its
    place if the journal is damaged.

    \b
      archiver rebuild configs/alice.toml
    """
    from pipelines.cli.upkeep import rebuild_archive

    return rebuild_archive(config, terminal_of(as_json, quiet, verbose))


def _share(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ConfigError("--sample", [f'"{text}" is not a share of the messages'], hint='write it as in "5%"')
    return share
