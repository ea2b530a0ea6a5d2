"""`init`: an account file from options, or from a person's answers."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec.structs import replace

from archiver.errors import ConfigError
from pipelines.cli.new_accounts.answers import Answers, destination_of, given_of, protocol_of, token_options
from pipelines.cli.new_accounts.discovered import address_in, with_server
from pipelines.cli.new_accounts.from_csv import Request, accounts_from_csv, common_tree
from pipelines.cli.new_accounts.one import require_absent, write_account
from pipelines.cli.options import PATH, Integer, json_option

_FILE = click.Path(readable=False)


# One parameter for each option is what makes this function long.
@click.command
@click.argument(
    "file",
    type=PATH,
    metavar="FILE",
    help="The account file, like configs/alice.toml; or an address, whose server is searched for.",
)
@click.option("--protocol", metavar="NAME", help='"imap", or "pop3" where the server has nothing else.')
@click.option("--files", type=_FILE, metavar="PATH", help="Mail that lies in files; then there is no server.")
@click.option("--host", metavar="HOST", help="The server, like imap.example.org.")
@click.option("--user", metavar="USER", help="The user's name at the server.")
@click.option("--tls", metavar="MODE", help='"implicit", "starttls" or "off".')
@click.option(
    "--port", type=Integer(min=1, max=65535), metavar="PORT", help="The port, if it is not the usual one."
)
@click.option("--path", metavar="PATH", help="The path of the archive; {account} is the account's name.")
@click.option("--password-env", metavar="NAME", help="The environment variable with the password.")
@click.option(
    "--password-file",
    type=_FILE,
    metavar="PATH",
    help="The file with the password; relative to the account file or to the current folder.",
)
@click.option(
    "--password-command",
    metavar="COMMAND",
    help='The command that prints the password, like "pass show mail/alice".',
)
@click.option("--password-keyring", metavar="SERVICE", help="The keyring entry with the password.")
@click.option("--oauth2", metavar="PROVIDER", help='A token instead of a password: "microsoft" or "google".')
@click.option("--client-id", metavar="ID", help="The app that you registered there.")
@click.option("--tenant", metavar="NAME", help="The tenant, at Microsoft.")
@click.option("--flow", metavar="FLOW", help='How to get it, like "device", "browser", "client_credentials".')
@click.option(
    "--ca-file",
    type=_FILE,
    metavar="PATH",
    help="The certificate authority to trust (PEM), if the system does not know it.",
)
@click.option("--to-host", metavar="HOST", help="The server that the mail moves to, if it does.")
@click.option("--to-user", metavar="USER", help="The user's name at that server.")
@click.option("--to-tls", metavar="MODE", help="As --tls, for that server.")
@click.option("--to-port", type=Integer(min=1, max=65535), metavar="PORT", help="As --port, for that server.")
@click.option("--to-ca-file", type=_FILE, metavar="PATH", help="As --ca-file, for that server.")
@click.option("--to-prefix", metavar="FOLDER", help="A folder at that server; everything goes below it.")
@click.option("--to-password-env", metavar="NAME", help="The environment variable with the password there.")
@click.option("--to-password-file", type=_FILE, metavar="PATH", help="The file with the password there.")
@click.option("--to-password-command", metavar="COMMAND", help="The command that prints the password there.")
@click.option("--to-password-keyring", metavar="SERVICE", help="The keyring entry with the password there.")
@click.option("--offline", is_flag=True, help="Look only into the table of providers for the server.")
@click.option("--to-oauth2", metavar="PROVIDER", help="As --oauth2, for that server.")
@click.option("--to-client-id", metavar="ID", help="As --client-id, for that server.")
@click.option("--to-tenant", metavar="NAME", help="As --tenant, for that server.")
@click.option("--to-flow", metavar="FLOW", help="As --flow, for that server.")
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
@click.option(
    "--from-csv", type=PATH, metavar="CSV", help="Write an account file for each row; FILE is their folder."
)
@click.option("--encoding", metavar="NAME", help='Of the CSV file: "utf-8", "latin-1", "windows-1252", "utf-16".')
@click.option("--dry-run", is_flag=True, help="With --from-csv: print what would be written.")
@json_option
def init(
    file: Path,
    protocol: str | None,
    files: str | None,
    host: str | None,
    user: str | None,
    tls: str | None,
    port: int | None,
    path: str | None,
    password_env: str | None,
    password_file: str | None,
    password_command: str | None,
    password_keyring: str | None,
    oauth2: str | None,
    client_id: str | None,
    tenant: str | None,
    flow: str | None,
    ca_file: str | None,
    to_host: str | None,
    to_user: str | None,
    to_tls: str | None,
    to_port: int | None,
    to_ca_file: str | None,
    to_prefix: str | None,
    to_password_env: str | None,
    to_password_file: str | None,
    to_password_command: str | None,
    to_password_keyring: str | None,
    offline: bool,
    to_oauth2: str | None,
    to_client_id: str | None,
    to_tenant: str | None,
    to_flow: str | None,
    force: bool,
    from_csv: Path | None,
    encoding: str | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Write a commented account file from the options; in a terminal, ask for what they leave out.

    The password itself is never asked for or written: the file says where to find it. An existing account file is
    not touched, unless --force is given. No mail server is contacted; `archiver check FILE` does that.

    With an address instead of a file, host, port and TLS are found: in the table of providers, else by asking DNS
    and the address's domain. Each question to the net is printed before it is asked.

    \b
      archiver init configs/alice.toml
      archiver init alice@example.org
      archiver init configs/alice.toml --host imap.example.org --user alice@example.org \\
          --password-command "pass show mail/alice" --path /srv/mail-archive/{account}
      archiver init configs/old.toml --files /srv/old-mail/alice

    With --from-csv, FILE is a folder, and each row of the CSV file becomes an account file in it. The first line
    names the columns, in any order: account (or name), host, user, password, to_host, to_user, to_password, and
    others that docs/configuration.md lists. Passwords go into files of their own below the folder, which only this
    user can read. What the options say is for all accounts: it goes into the folder's defaults.toml, if that does
    not exist yet.

    All mistakes in the table are named by their lines, and then nothing is written. Run it again with a longer
    table: only what is new is written; files that differ from their rows are listed and left as they are.

    \b
      archiver init configs/ --from-csv people.csv --dry-run
      archiver init configs/ --from-csv people.csv --host imap.example.org --to-host imap.example.net
    """
    password = {
        "env": password_env,
        "file": password_file,
        "command": password_command,
        "keyring": password_keyring,
    }
    references_there = {
        "env": to_password_env,
        "file": to_password_file,
        "command": to_password_command,
        "keyring": to_password_keyring,
    }
    token = token_options(oauth2, client_id, tenant, flow)
    token_there = token_options(to_oauth2, to_client_id, to_tenant, to_flow)
    there = Answers(
        to_host, to_user, to_tls, to_port, None, given_of(references_there), to_ca_file, token=token_there
    )
    answers = Answers(host, user, tls, port, path, given_of(password), ca_file, token=token, files=files)
    if from_csv is not None:
        if force:
            raise ConfigError("--force", ["does not go with --from-csv, which leaves files that are there alone"])
        if protocol is not None:
            protocol_of(protocol)
        common = common_tree(answers, protocol, there, to_prefix)
        return accounts_from_csv(Request(from_csv, file, encoding or "utf-8", common, dry_run, as_json))
    if encoding is not None or dry_run:
        raise ConfigError("--encoding" if encoding else "--dry-run", ["goes with --from-csv"])
    answers = replace(answers, destination=destination_of(there, to_prefix), protocol=protocol_of(protocol))
    if (address := address_in(file)) is not None:
        file = file.with_name(f"{address}.toml")
        require_absent(file, force=force)
        answers = with_server(address, answers, offline=offline) if host is None and files is None else answers
    return write_account(file, answers, force=force, as_json=as_json)
