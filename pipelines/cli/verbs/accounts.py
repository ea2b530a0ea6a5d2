"""Accounts and what is known of them: written, looked at, reported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.verbs.options import Configs, Json, Quiet, Verbose, run_id_of, terminal_of


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
    from pipelines.cli.init import Answers, init_account

    references = {"env": password_env, "file": password_file, "command": password_command}
    references["keyring"] = password_keyring
    answers = Answers(host, user, tls, port, path, {kind: given for kind, given in references.items() if given})
    return init_account(file, answers, force=force, as_json=as_json)


def check(configs: Configs, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> int:
    """Log in to every account, once, and look: the server and what it can do, how the connection is secured, the
    folders with their sizes and their place in the archive, what is left out and why, and what a run would fetch.

    Nothing is changed, neither on the server nor on disk. A password that is refused is not tried again.

    \b
      archiver check configs/alice.toml
      archiver check configs/ --quiet     only what is wrong
    """
    from pipelines.cli.check import check_accounts

    return check_accounts(configs, terminal_of(as_json, quiet, verbose))


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
    from pipelines.cli.status import show_status

    return show_status(configs, terminal_of(as_json, quiet, verbose), runs=runs)


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
    from pipelines.cli.report import show_reports

    return show_reports(
        configs, terminal_of(as_json, False, verbose), run_id=run_id_of(run_id), open_page=open_page
    )


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
    from pipelines.cli.demo import show_demo

    return show_demo(directory, terminal_of(as_json))
