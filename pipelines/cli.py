"""The command line: verbs, options, help, exit codes.

What a verb does is in `pipelines.commands` and imported when the verb is given, so that `archiver --help` need
not wait for Luigi, SQLAlchemy and an IMAP library.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from archiver.errors import ArchiverError, ConfigError

#: What the exit code says; with several accounts the worst counts.
EXIT_CODES: dict[int, str] = {
    0: "done: all that was asked for is in the archive, and at the destination",
    1: "unexpected error: a bug, with its traceback",
    2: "the command line or the configuration is wrong",
    3: "incomplete: some messages or folders are missing somewhere, all listed",
    4: "verify found differences at the destination, or strange files",
    5: "authentication or connection: refused, or not reached",
    6: "the archive is damaged: bytes are missing or different",
    7: "another run holds the account's lock",
    8: "the archive or the export cannot be written: disk full, no permission",
    75: "throttled: the server asks to try later",
    128: "stopped by signal N; what was fetched is kept, run again to go on",
}

_CODES = "\n".join(f"{'128+N' if code == 128 else code:>6} {text}" for code, text in EXIT_CODES.items())
_EPILOG = f"""
\b
Exit codes, the worst one with several accounts:
{_CODES}

\b
To begin:
  archiver init configs/alice.toml   write an account file
  archiver check configs/alice.toml  log in, look, change nothing
  archiver run configs/alice.toml    archive it, replay it; again every night

CONFIG is an account file or a folder of them. `archiver VERB --help` tells all about a verb.
"""

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=True,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

Configs = Annotated[
    list[Path], typer.Argument(metavar="CONFIG", help="Account files, or folders of account files.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout and nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing unless something needs a person.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log every folder and every step.")]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Accounts side by side.", show_default="4, or fewer accounts"),
]
SchedulerUrl = Annotated[
    str | None, typer.Option("--scheduler-url", metavar="URL", help="Use this luigid instead of a local scheduler.")
]
RunId = Annotated[
    str | None,
    typer.Option("--run", metavar="ID", help="Name the run; the same name again resumes it, or does nothing."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan; fetch nothing, write nothing.")]
NewSource = Annotated[
    bool, typer.Option("--new-source", help="Confirm that the account's mail moved to another server or user.")
]

AsOf = Annotated[
    str | None,
    typer.Option("--as-of", metavar="DATE", help="As it stood then: 2026-11-20, or 2026-11-20T14:00."),
]
IncludeVanished = Annotated[
    bool, typer.Option("--include-vanished", help="Send also what is gone from the source: a restore.")
]
IncludeRemoved = Annotated[
    bool, typer.Option("--include-removed", help="Send again what was removed at the destination.")
]
ConfirmDeletions = Annotated[
    bool,
    typer.Option("--confirm-deletions", help='Carry out [replay] vanished = "mark" or "expunge" beyond the brake.'),
]


class Form(StrEnum):
    """What `export` writes."""

    MAILDIR = "maildir"
    MBOX = "mbox"
    EML = "eml"


@app.callback(
    invoke_without_command=True,
    epilog=_EPILOG,
    help="Archive IMAP accounts exactly, incrementally and provably: fetched once, byte for byte, into a Maildir "
    "that any mail program reads; re-run without fear; verified like a backup.",
)
def archiver(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", hidden=True)] = False,
) -> None:
    if show_version:
        text = json.dumps({"format": "archiver-version/1", "version": _version()}) if as_json else _version()
        typer.echo(text if as_json else f"archiver {text}")
        raise typer.Exit(0)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


@app.command(short_help="Write a commented account file.")
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The account file, as in configs/alice.toml.")],
    host: Annotated[str | None, typer.Option(help="The IMAP server, as in imap.example.org.")] = None,
    user: Annotated[str | None, typer.Option(help="The user's name at the server.")] = None,
    tls: Annotated[str | None, typer.Option(help='"implicit" (port 993), "starttls" (143) or "off".')] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="If it is not the usual one.")] = None,
    path: Annotated[str | None, typer.Option(help="Where the archive is to be; {account} is its name.")] = None,
    password_env: Annotated[str | None, typer.Option(metavar="NAME", help="The password's variable.")] = None,
    password_file: Annotated[str | None, typer.Option(metavar="PATH", help="The password's file.")] = None,
    password_command: Annotated[
        str | None, typer.Option(metavar="COMMAND", help='What prints it, as in "pass show mail/alice".')
    ] = None,
    password_keyring: Annotated[str | None, typer.Option(metavar="SERVICE", help="Its keyring entry.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")] = False,
    as_json: Json = False,
) -> int:
    """Write a commented account file, from options, or by asking on a terminal for what they leave out.

    The password is never asked for and never written: the file says where to find it. An account file that is
    there is not touched, unless --force is given. No server is contacted; `archiver check FILE` does that.

    \b
      archiver init configs/alice.toml
      archiver init configs/alice.toml --host imap.example.org --user alice@example.org \\
          --password-command "pass show mail/alice" --path /srv/mail-archive/{account}
    """
    from pipelines.commands.init import Answers, init_account

    references = {"env": password_env, "file": password_file, "command": password_command}
    references["keyring"] = password_keyring
    answers = Answers(host, user, tls, port, path, {kind: given for kind, given in references.items() if given})
    return init_account(file, answers, force=force, as_json=as_json)


@app.command(short_help="Log in, look at the server and the folders, change nothing.")
def check(configs: Configs, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> int:
    """Log in to every account, once, and look: the server and what it can do, how the connection is secured, the
    folders with their sizes and their place in the archive, what is left out and why, and what a run would fetch.

    Nothing is changed, neither on the server nor on disk. A password that is refused is not tried again.

    \b
      archiver check configs/alice.toml
      archiver check configs/ --quiet     only what is wrong
    """
    from pipelines.commands.look import check_accounts

    return check_accounts(configs, _terminal(as_json, quiet, verbose))


@app.command(short_help="Archive accounts; with a [destination] replay and compare them, too.")
def run(
    configs: Configs,
    dry_run: DryRun = False,
    run_id: RunId = None,
    workers: Workers = None,
    scheduler_url: SchedulerUrl = None,
    new_source: NewSource = False,
    confirm_deletions: ConfirmDeletions = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Archive the accounts: list the folders, fetch what is new by UID, follow flags, mark what vanished, and write
    a report. Only what is new is fetched, so run it every night; a run that was stopped or killed goes on where it
    stopped. Several accounts run side by side, and one that fails stops only itself.

    An account with a [destination] is then replayed: folders, messages, flags and dates go there from the archive,
    each message once, and every copy is compared with the archive. Run it again and again while people still use
    the old server, and a last time on the night of the move.

    The source is never changed: folders are opened read-only and nothing is marked as read. What is deleted on the
    server stays in the archive. Messages that cannot be had, or that the destination refuses, are listed, tried
    again in the next runs, and end the run with exit code 3.

    \b
      archiver run configs/alice.toml          one account
      archiver run configs/                    all accounts of a folder
      archiver run configs/ --dry-run          what would be fetched, and which folder goes where
      archiver run configs/ --quiet            for cron: speaks only of trouble
      archiver run configs/ --json >run.json   for programs
    """
    given = _Given(run_id, scheduler_url, new_source, confirm_deletions=confirm_deletions)
    return _run(configs, "run", given, dry_run, workers, _terminal(as_json, quiet, verbose))


@app.command(short_help="The archive step alone.")
def archive(
    configs: Configs,
    dry_run: DryRun = False,
    run_id: RunId = None,
    workers: Workers = None,
    scheduler_url: SchedulerUrl = None,
    new_source: NewSource = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Archive the accounts and leave their destinations alone; see `archiver run --help`.

    \b
      archiver archive configs/alice.toml
    """
    given = _Given(run_id, scheduler_url, new_source)
    return _run(configs, "archive", given, dry_run, workers, _terminal(as_json, quiet, verbose))


@app.command(short_help="The archive onto the destination; the source is not asked.")
def replay(
    configs: Configs,
    include_vanished: IncludeVanished = False,
    include_removed: IncludeRemoved = False,
    confirm_deletions: ConfirmDeletions = False,
    as_of: AsOf = None,
    run_id: RunId = None,
    workers: Workers = None,
    scheduler_url: SchedulerUrl = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Bring the destinations up to date with the archives, and compare them. The sources are not contacted and may
    be long gone: this is how an archive is restored.

    Folders are made and subscribed, messages appended octet for octet with their dates, flags and keywords, each
    once, whatever happens in between. What is there already is known again by its octets and not sent twice. Flags
    that changed in the archive are followed; what the destination's user changed or deleted there stays as he left
    it. Nothing is deleted there, unless [replay] vanished says so, and then never more than 50 messages or 10 % of
    a folder or the account without --confirm-deletions.

    With --include-vanished messages come back that were deleted at the source, as after a mailbox was wiped; with
    --include-removed those that were deleted at the destination.

    With --as-of the folders are replayed as the archive knew them then: every message that was in a folder comes,
    with the flags it had, if it is not there already. Nothing else is done: what is at the destination stays, with
    the flags it has there, and nothing is deleted or marked, whatever [replay] vanished says. A day means its end
    in local time. To have the folders of a day and nothing else, replay into an empty mailbox.

    \b
      archiver replay configs/alice.toml
      archiver replay configs/alice.toml --include-vanished
      archiver replay configs/alice.toml --as-of 2026-11-20
    """
    moment = None
    if as_of is not None:
        from archiver.moment import moment_of

        if include_vanished or confirm_deletions:
            other = "--include-vanished" if include_vanished else "--confirm-deletions"
            raise ConfigError("--as-of", [f"it says what is sent, and {other} something else; give one of them"])
        moment = moment_of(as_of, "--as-of")
    given = _Given(run_id, scheduler_url, False, include_vanished, include_removed, confirm_deletions, moment)
    return _run(configs, "replay", given, False, workers, _terminal(as_json, quiet, verbose))


@app.command(short_help="What the archives hold, and what waits in quarantine.")
def status(
    configs: Configs,
    runs: Annotated[bool, typer.Option("--runs", help="List all runs, newest first.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Show what the archives hold: each folder's equation (on server = stored + excluded + quarantined), the last
    run, and what waits in quarantine and why. Contacts no server and changes nothing.

    Exit code 3 if something is missing from an archive or its last run did not end well.

    \b
      archiver status configs/
      archiver status configs/alice.toml --runs
    """
    from pipelines.commands.status import show_status

    return show_status(configs, _terminal(as_json, quiet, verbose), runs=runs)


@app.command(short_help="What the last run did: as text, or as a page for the browser.")
def report(
    configs: Configs,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the page report.html in the browser, too.")
    ] = False,
    run_id: Annotated[
        str | None,
        typer.Option("--run", metavar="ID", help="The report of this run.", show_default="the last one"),
    ] = None,
    as_json: Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="List every folder, however many.")] = False,
) -> int:
    """Show the report of the last run: each folder's equation, what was fetched and delivered, every message that
    is missing with the reason and what to do, what differs at the destination, and what it could not keep.

    Every run writes it twice: report.json for programs, and beside it report.html, one page that needs nothing
    else: to be opened in any browser, printed, or sent to whoever owns the mail. Subjects and folder names are in
    it, messages are not.

    Contacts no server. Exit code 0 if there is a report, whatever it says, and 2 if there is none. How the archives
    are now is told by `archiver status`.

    \b
      archiver report configs/alice.toml
      archiver report configs/alice.toml --open
      archiver report configs/alice.toml --run 20261123T153258Z --json
    """
    from pipelines.commands.report import show_reports

    return show_reports(configs, _terminal(as_json, False, verbose), run_id=_run_id(run_id), open_page=open_page)


@app.command(short_help="Find messages by sender, subject, date, size, flags.")
def search(
    configs: Configs,
    folder: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help='Only in these folders, as in "Lists/*"; repeatable.')
    ] = None,
    sender: Annotated[str | None, typer.Option("--from", metavar="TEXT", help="Part of the sender.")] = None,
    to: Annotated[str | None, typer.Option(metavar="TEXT", help="Part of the recipients: To, Cc, Bcc.")] = None,
    subject: Annotated[str | None, typer.Option(metavar="TEXT", help="Part of the subject.")] = None,
    text: Annotated[str | None, typer.Option(metavar="TEXT", help="Part of any of the three.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Arrived on that day or later, as in 2026-01-05.")
    ] = None,
    before: Annotated[str | None, typer.Option(metavar="DATE", help="Arrived before that day.")] = None,
    larger: Annotated[str | None, typer.Option(metavar="SIZE", help="Larger than this, as in 5M or 300k.")] = None,
    smaller: Annotated[str | None, typer.Option(metavar="SIZE", help="Smaller than this.")] = None,
    flag: Annotated[
        list[str] | None,
        typer.Option(metavar="FLAG", help="Has this flag, as in Seen or $Forwarded; repeatable."),
    ] = None,
    unflagged: Annotated[
        list[str] | None, typer.Option(metavar="FLAG", help="Does not have this flag; repeatable.")
    ] = None,
    message_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Its whole Message-ID, with or without <>.")
    ] = None,
    vanished: Annotated[bool, typer.Option("--vanished", help="Also what is gone from the source.")] = False,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, help="The newest N messages of each account.", show_default=True)
    ] = 100,
    as_json: Json = False,
) -> int:
    """Find messages in the archives by their headers: those that are all of what the options say, newest first.
    What is given as TEXT may be anywhere in the field; case does not count, in any script, and encoded words
    (RFC 2047) are looked at decoded. Bodies are not searched.

    Dates are of when a message arrived (INTERNALDATE): a year, a month, a day or a minute, in local time. Sizes are
    octets, in powers of ten. Folders are as in [folders] include: * is any characters, ? is one.

    The last column is what `archiver show` takes: FOLDER/UID, or the beginning of the digest.

    Contacts no mail server. Headers are kept since version 0.3.0. Those of older messages are read from the
    archive the first time, once, under the account's lock. While another run holds it, the headers of what is not
    read yet are not looked at, and it is said of how many.

    Exit code 0 also if nothing is found: the question was answered. Scripts look at --json, which lists what was
    found.

    \b
      archiver search configs/alice.toml --from bob --since 2025
      archiver search configs/ --text invoice --larger 1M --folder "INBOX*"
      archiver search configs/alice.toml --vanished --subject "minutes" --json
    """
    from pipelines.commands.asked import Asked
    from pipelines.commands.search import search_archives

    asked = Asked(
        folders=tuple(folder or ()),
        sender=sender,
        recipients=to,
        subject=subject,
        text=text,
        since=since,
        before=before,
        larger=larger,
        smaller=smaller,
        flagged=tuple(flag or ()),
        unflagged=tuple(unflagged or ()),
        message_id=message_id,
        vanished=vanished,
        limit=limit,
    )
    return search_archives(configs, asked, _terminal(as_json))


@app.command(short_help="One message: its header, where it lies, its parts, its octets.")
def show(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="One account file.")],
    reference: Annotated[
        str, typer.Argument(metavar="REF", help="FOLDER/UID, or 8 or more hex digits of the digest.")
    ],
    raw: Annotated[bool, typer.Option("--raw", help="Write the exact octets to stdout, and nothing else.")] = False,
    as_json: Json = False,
) -> int:
    """Show one message of an archive: its header, decoded; each folder it is in, with its UID, or since when it is
    gone from there; its date, flags, size and digest; the file it lies in; and the tree of its parts.

    With --raw its octets are written as the server gave them, of whatever size, to be looked at by other programs.
    They are compared with their digest on the way: exit code 6 if they are not what was stored.

    REF is what `archiver search` prints: INBOX/17, or the beginning of a digest, which names the message wherever
    it lies. Exit code 2 if there is no such message, or more than one. Contacts no mail server.

    \b
      archiver show configs/alice.toml INBOX/17
      archiver show configs/alice.toml 5f2c1a90b3d4e6f7 --raw >message.eml
      archiver show configs/alice.toml "Lists/dovecot/4" --raw | less
    """
    from pipelines.commands.show import show_message

    return show_message(config, reference, _terminal(as_json), raw=raw)


@app.command(short_help="Prove that every message is there, octet for octet; at the destination, too.")
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
    from pipelines.commands.upkeep import verify_archives
    from pipelines.upkeep import VerifyOptions

    options = VerifyOptions(_share(sample), deep, offline)
    return verify_archives(configs, options, _terminal(as_json, quiet, verbose))


@app.command(short_help="Fetch again what is missing or damaged in the archive.")
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
    from pipelines.commands.upkeep import repair_archives
    from pipelines.mending import RepairOptions

    return repair_archives(configs, RepairOptions(deep, dry_run), _terminal(as_json, quiet, verbose))


@app.command(short_help="Try quarantined messages again, or accept their loss.")
def retry(
    configs: Configs,
    accept: Annotated[
        bool, typer.Option("--accept", help="Take what the server gives now, or else accept that it is lost.")
    ] = False,
    workers: Workers = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Try all quarantined and refused messages again, also those that were tried before in vain. It is a run: what
    is new is archived and replayed, too.

    With --accept a server's placeholder is taken for the message, and what still cannot be had, or is refused by
    the destination, is marked as accepted: it stays listed but no longer ends a run with exit code 3. A message
    that can be fetched or sent later is.

    \b
      archiver retry configs/alice.toml
      archiver retry configs/alice.toml --accept
    """
    from pipelines.commands.run import run_configs
    from pipelines.engine import Options

    options = Options(retry="accept" if accept else "all")
    return run_configs(configs, _terminal(as_json, quiet, verbose), options, workers=workers)


@app.command(short_help="Folders, of now or of then, as a Maildir, as mboxes or as single files.")
def export(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="One account file.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A new or an empty directory.")],
    to: Annotated[Form, typer.Option("--to", help="The form.")],
    folders: Annotated[
        list[str] | None,
        typer.Option("--folder", metavar="GLOB", help="Only these folders, as in 'Archive/*'; may be repeated."),
    ] = None,
    as_of: AsOf = None,
    include_vanished: Annotated[
        bool, typer.Option("--include-vanished", help="Also what is gone from the source, among the others.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Export an account's folders for other programs, octet for octet. No server is contacted, the archive is only
    read, and a run may be at work meanwhile.

    \b
      maildir  PATH/Maildir, a Maildir++ that Dovecot, mutt and mbsync read, with flags, dates, UIDs, subscriptions
      mbox     PATH/Parent/Child.mbox for each folder ("mboxrd"), and an index with flags and dates beside it
      eml      PATH/Parent/Child/DATE-UID-SUBJECT.eml for each message, and an index.jsonl in each folder

    With --as-of the folders are exported as the archive knew them then: a day means its end in local time, and what
    a run saw counts from that run on. With --include-vanished also messages that were gone from the source by then,
    and folders that were.

    Every message's SHA-256 is compared while it is written. A damaged one is left out and listed, and the exit code
    is 6. PATH/export.json is written last: an export without it is not complete. Nothing that is at PATH is ever
    overwritten, so an export that was cut off is removed and made again.

    \b
      archiver export configs/alice.toml /tmp/alice --to maildir
      archiver export configs/alice.toml /tmp/then --to mbox --as-of 2026-11-20 --folder 'Work*'
    """
    from archiver.moment import moment_of
    from archiver.wiring_export import ExportOptions
    from pipelines.commands.export import export_archive

    moment = None if as_of is None else moment_of(as_of, "--as-of")
    options = ExportOptions(to.value, path, folders or ("*",), moment, include_vanished)
    return export_archive(config, options, _terminal(as_json, quiet, verbose))


@app.command(short_help="What killed runs left in buckets: list it, or remove it.")
def gc(
    configs: Configs,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove what is listed; without it nothing is changed.")
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

    The account's lock is held meanwhile. A journal that is damaged or not complete ends it with exit code 6 before
    anything is removed. A Maildir has nothing to collect.

    \b
      archiver gc configs/alice.toml
      archiver gc configs/ --delete
    """
    from pipelines.commands.upkeep import collect_garbage

    return collect_garbage(configs, _terminal(as_json, quiet, verbose), delete=delete)


@app.command(short_help="Make a lost or damaged catalog again.")
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
    from pipelines.commands.upkeep import rebuild_archive

    return rebuild_archive(config, _terminal(as_json, quiet, verbose))


@app.command(short_help="See the whole job in a minute, without an account.")
def demo(
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where it works; made anew each time.")
    ] = Path("archiver-demo"),
    as_json: Json = False,
) -> int:
    """See the whole job in under a minute, without an account: starts two mail servers of its own, archives the
    first one's lively mailbox and replays it to the second, changes the mailbox and does so again, compares both
    servers message by message, verifies, and says where the report and everything else lies.

    Needs the extra: pip install 'mail-archiver[demo]'. A folder that no demo made is never touched.

    \b
      archiver demo --dir /tmp/archiver-demo
    """
    from pipelines.commands.tour import show_demo

    return show_demo(directory, _terminal(as_json))


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The `archiver` command. Ends the process with one of `EXIT_CODES`."""
    code = invoke(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read us has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def invoke(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code. An error that nobody foresaw is raised as it is."""
    as_json = "--json" in arguments
    try:
        command = typer.main.get_command(app)
        code = command.main(args=list(arguments), prog_name="archiver", standalone_mode=False)
    except typer.TyperException as error:
        return _fail(_usage_error(error), as_json)
    except typer.Abort:
        return _fail(ConfigError("archiver", ["no answer was given"], hint="nothing was written"), as_json)
    except ArchiverError as error:
        return _fail(error, as_json)
    except BaseException as error:
        if as_json and not isinstance(error, SystemExit):
            _print_error(f"unexpected error: {error!r}", None, 1)
        raise
    return int(code or 0)


@dataclass(frozen=True, slots=True)
class _Given:
    """The options of a run."""

    run_id: str | None
    scheduler_url: str | None
    new_source: bool
    include_vanished: bool = False
    include_removed: bool = False
    confirm_deletions: bool = False
    as_of: str | None = None


def _run(configs: list[Path], steps: Any, given: _Given, dry_run: bool, workers: int | None, terminal: Any) -> int:
    run_id = _run_id(given.run_id)
    if dry_run:
        from pipelines.commands.look import plan_accounts

        return plan_accounts(configs, terminal, new_source=given.new_source, with_destination=steps == "run")
    from pipelines.commands.run import run_configs
    from pipelines.engine import Options

    options = Options(
        run_id=run_id,
        scheduler_url=given.scheduler_url,
        new_source=given.new_source,
        steps=steps,
        include_vanished=given.include_vanished,
        include_removed=given.include_removed,
        confirm_deletions=given.confirm_deletions,
        as_of=given.as_of,
    )
    return run_configs(configs, terminal, options, workers=workers)


def _run_id(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text):
        raise ConfigError("--run", ["an ID has ASCII letters, digits and . _ - only, not first, 100 at most"])
    return text


def _terminal(as_json: bool, quiet: bool = False, verbose: bool = False) -> Any:
    from pipelines.commands.terminal import open_terminal

    if quiet and verbose:
        raise ConfigError("archiver", ["--quiet and --verbose contradict each other"])
    return open_terminal(as_json=as_json, quiet=quiet, verbose=verbose)


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


def _version() -> str:
    try:
        return version("mail-archiver")
    except PackageNotFoundError:
        return "(not installed)"


def _usage_error(error: typer.TyperException) -> ConfigError:
    """A mistake on the command line in our words: one line, and where to read on."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "archiver"
    text = error.format_message().rstrip(".").replace("\n", " ")
    return ConfigError(command, [text[:1].lower() + text[1:]], hint=f"`{command} --help` tells more")


def _fail(error: ArchiverError, as_json: bool) -> int:
    if as_json:
        _print_error(error.message, error.hint, error.exit_code)
    for line in str(error).splitlines():
        typer.echo(f"archiver: {line.removeprefix('archiver: ')}", err=True)
    return error.exit_code


def _print_error(message: str, hint: str | None, exit_code: int) -> None:
    typer.echo(json.dumps({"error": {"message": message, "hint": hint, "exit_code": exit_code}}, indent=1))
