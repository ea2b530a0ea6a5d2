"""Messages of an archive: found, shown, taken out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.verbs.options import AsOf, Configs, Json, Quiet, Verbose, terminal_of


class Form(StrEnum):
    """What `export` writes."""

    MAILDIR = "maildir"
    MBOX = "mbox"
    EML = "eml"


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
    from pipelines.cli.search import search_archives
    from pipelines.cli.search_options import Asked

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
    return search_archives(configs, asked, terminal_of(as_json))


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
    from pipelines.cli.show import show_message

    return show_message(config, reference, terminal_of(as_json), raw=raw)


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
    from archiver.account.export import ExportOptions
    from archiver.mail.dates import moment_of
    from pipelines.cli.export import export_archive

    moment = None if as_of is None else moment_of(as_of, "--as-of")
    options = ExportOptions(to.value, path, folders or ("*",), moment, include_vanished)
    return export_archive(config, options, terminal_of(as_json, quiet, verbose))
