"""The account file that `archiver init` writes: commented, with every key, and valid without changes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from string import Template

from msgspec import Struct

from archiver.config.protocols import usual_port
from archiver.config.references import SecretReference
from archiver.config.tables.oauth2 import OF_A_PERSON, Flow, Provider
from archiver.config.tables.server import Protocol, Tls

PLACEHOLDER = SecretReference("env", "ALICE_PASSWORD")


class NewToken(Struct, frozen=True):
    """What `archiver init` knows about logins by a token."""

    provider: Provider
    client_id: str
    flow: Flow
    tenant: str | None = None


class NewDestination(Struct, frozen=True):
    """What `archiver init` knows about a destination. Everything goes below the folder `prefix`."""

    host: str
    user: str
    password: SecretReference | NewToken
    tls: Tls = "implicit"
    port: int | None = None
    ca_file: str | None = None
    prefix: str = ""


class NewAccount(Struct, frozen=True):
    """What `archiver init` knows about an account; `path` and the reference's `value` are written unchanged.
    `files` is where mail lies that is on no server; then nothing of a server counts."""

    host: str = "imap.example.org"
    user: str = "alice@example.org"
    password: SecretReference | NewToken = PLACEHOLDER
    path: str = "/srv/mail-archive/{account}"
    tls: Tls = "implicit"
    port: int | None = None
    ca_file: str | None = None
    destination: NewDestination | None = None
    protocol: Protocol = "imap"
    files: str | None = None


def template(options: NewAccount) -> str:
    """The text of a commented account file with every key; it loads without changes."""
    text = _template(options)
    if options.files is None:
        return text
    head, _, _ = text.partition("[source]\n")
    _, _, tail = text.partition("[archive]\n")
    return f"{head}{_FILES.substitute(files=quoted(options.files))}[archive]\n{tail}"


def _template(options: NewAccount) -> str:
    to = options.destination
    return TEMPLATE.substitute(
        host=quoted(options.host),
        user=quoted(options.user),
        password=_login(options.password),
        oauth2=table_of(options.password, "source") or _NO_TOKEN,
        ca_file=_ca_file(options.ca_file),
        destination=_NO_DESTINATION if to is None else _table(to),
        oauth2_there="" if to is None else table_of(to.password, "destination"),
        path=quoted(options.path),
        tls=quoted(options.tls),
        port=_port(options.port, options.tls, options.protocol),
        protocol=_PROTOCOL if options.protocol == "imap" else f"protocol = {quoted(options.protocol)}",
        connections=_CONNECTIONS if options.protocol == "imap" else _ONE_CONNECTION,
    )


def _table(to: NewDestination) -> str:
    return f"""\
[destination]
host = {quoted(to.host)}
tls = {quoted(to.tls)}
{_port(to.port, to.tls)}
{_ca_file(to.ca_file)}
user = {quoted(to.user)}
{_login(to.password)}
{f"prefix = {quoted(to.prefix)}" if to.prefix else '# prefix = ""'}
"""


def _port(port: int | None, tls: Tls, protocol: Protocol = "imap") -> str:
    return f"# port = {usual_port(protocol, tls)}" if port is None else f"port = {port}"


def _ca_file(path: str | None) -> str:
    return _CA_FILE if path is None else f"ca_file = {quoted(path)}"


def _reference(password: SecretReference) -> str:
    value = list(password.value) if password.kind == "command" else password.value
    return f"{{ {password.kind} = {quoted(value)} }}"


def _login(password: SecretReference | NewToken) -> str:
    return f"password = {_reference(password)}" if isinstance(password, SecretReference) else 'auth = "oauth2"'


def table_of(token: SecretReference | NewToken, side: str) -> str:
    """The table oauth2; "" for a password. Of the files that it names, `archiver login` writes the token's."""
    if isinstance(token, SecretReference):
        return ""
    lines = [f"\n[{side}.oauth2]", f"provider = {quoted(token.provider)}"]
    if token.client_id:
        lines.append(f"client_id = {quoted(token.client_id)}")
    if token.tenant is not None:
        lines.append(f"tenant = {quoted(token.tenant)}")
    lines.append(f"flow = {quoted(token.flow)}")
    if token.flow == "service_account":
        lines.append('service_account = { file = "service-account.json" }')
    elif token.flow == "client_credentials" or token.provider == "google":
        lines.append('client_secret = { file = "client-secret" }')
    if token.flow in OF_A_PERSON:
        end = ".new" if side == "destination" else ""
        lines.append(f'token = {{ file = "tokens/{{account}}{end}" }}')
    return "\n".join([*lines, ""])


def quoted(value: str | int | Sequence[str]) -> str:
    """A value as TOML has it.

    NOTE: such JSON is also TOML, except for DEL and for the surrogate pairs that ensure_ascii would write."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


_CA_FILE = """# ca_file = "ca.pem"                      # the authority to trust, if the system does not know it"""

_PROTOCOL = """# protocol = "imap"                       # or "pop3", which has INBOX alone"""
_CONNECTIONS = "# connections = 2                         # at the same time, 1 to 16"
_ONE_CONNECTION = "# connections = 1                         # a POP3 server opens a maildrop for one"

_NO_TOKEN = """
# A token instead of a password, which `archiver login` gets. docs/providers.md shows how, for Google and Microsoft.
# Remove the "#" from the lines that you need, and write auth = "oauth2" in place of "password".
#[source.oauth2]
#provider = "microsoft"                   # or "google"; for another one the addresses and scopes below
#client_id = "00000000-0000-..."          # of the app that you registered there
#client_secret = { file = "client-secret" }   # a reference, like a password's; public apps have none
#tenant = "contoso.example"               # microsoft
#flow = "device"                          # or "browser", or "refresh_token" (one that you have); for a whole
#                                         # tenant "client_credentials" (microsoft) or "service_account" (google)
#token = { file = "tokens/{account}" }    # where it is kept: a file of our own, or { keyring = "SERVICE" }
#service_account = { file = "service-account.json" }
#token_url = "https://login.example.org/token"
#device_url = "https://login.example.org/device"
#authorization_url = "https://login.example.org/authorize"
#scopes = ["mail", "offline_access"]
"""

_NO_DESTINATION = """\
# Remove the "#" from all of these lines.
#[destination]
#host = "imap.example.net"
#user = "alice@example.net"
#password = { env = "ALICE_NEW_PASSWORD" }
#prefix = ""
"""

_FILES = Template("""\
[source]
protocol = "files"
path = $files
# format = "auto"                         # or only "maildir", "mbox" or "eml"
# labels = "folders"                      # what Gmail's labels in a Takeout become: "folders" or "keywords"

""")

TEMPLATE = Template("""\
# One account. Its name is this file's name without ".toml"; {account} in any string stands for that name.
# Put what accounts have in common into defaults.toml in the same folder; this file overrides it.
# Relative paths are relative to this file. Keys after a "#" are optional.

[source]
# provider = "gmail"                      # whose server it is, if it is not recognised; then "host" may be left out
$protocol
host = $host
# "implicit" (TLS from the start), "starttls", or "off"
tls = $tls
$port
$ca_file
# fingerprint = "00:11:…"                 # instead of ca_file: the SHA-256 of the server's certificate
# client_cert = "client.pem"              # our own certificate; without "password" it is the login (EXTERNAL)
# client_key = "client.key"               # its key, if that is in another file
user = $user
# The password is never written here, only where to find it: { env = "NAME" }, { file = "PATH" } (first line),
# { command = ["pass", "show", "mail/alice"] } (first line of its output) or { keyring = "SERVICE" }.
$password
# auth = "password"                       # or "oauth2": a token instead, see the table below
# login = "auto"                          # the strongest way offered; or "scram", "plain", "login", "cram-md5"
# login_user = "migrator"                 # an admin, whose password this is; "user" still says whose mailbox
# login_separator = "*"                   # between "user" and "login_user", where the server needs both in one name
$connections
# connect_timeout = 30                    # seconds
# read_timeout = 120                      # seconds
# attempts = 5                            # how often a lost connection is retried
# Mail that lies in files: protocol = "files" and path = "/srv/old-mail", instead of all these keys.
$oauth2
# How much the account may do there: over all its connections, in either direction. docs/providers.md has examples.
#[source.limits]
#messages_per_second = 2
#octets_per_second = 500_000
#octets_per_day = 2_000_000_000           # UTC; then the account ends with exit code 75 and goes on the next day

[archive]
path = $path
# store = "maildir"                       # "maildir", or "s3" with the table [archive.s3]
# durability = "batch"                    # "batch" (one sync for many messages), "file", or "none"
# must_exist = false                      # true: no run begins one here, e.g. if the disk is not mounted

# The bucket of store = "s3"; "path" above then has only the catalog and the reports. boto3 finds the
# credentials in its usual places: the environment, ~/.aws, or the machine's role. Remove the "#" from the lines
# that you need.
#[archive.s3]
#bucket = "mail"
#prefix = "archive"                       # everything of the account is below prefix/account/
#layout = "objects"                       # one object per message, or "packs": small ones together, fewer requests
#endpoint_url = "https://s3.example.org"  # for a service other than Amazon's
#region = "eu-central-1"
#profile = "archive"                      # in ~/.aws
#addressing_style = "auto"                # "path" or "virtual" forces one
#ca_file = "ca.pem"
#checksums = "auto"                       # "when_supported" or "when_required" forces one
#storage_class = "STANDARD_IA"            # of messages; the result of this and the following keys is checked
#sse = "AES256"                           # or "aws:kms" with kms_key, or "customer" with customer_key
#kms_key = "arn:aws:kms:..."
#customer_key = { file = "sse-c.key" }    # 32 bytes in base64, by reference like a password
#tags = { team = "mail" }
#object_lock = { mode = "GOVERNANCE", days = 3650 }   # or "COMPLIANCE"; and legal_hold = true
#create_bucket = false
#single_writer = false                    # true: you ensure that only one machine works on it, without a lock
#client = "auto"                          # the faster client if it supports the settings; "boto3" forces that one
#connections = 16                         # objects transferred at the same time, 1 to 256
#connect_timeout = 10                     # seconds
#read_timeout = 60                        # seconds
#attempts = 8                             # per request

# Where mail is replayed to; without this table it is only archived. The keys are those of [source], and "prefix", a
# folder that everything goes below, and "shared"; so are the tables, such as [destination.limits].
$destination\
#shared = false                           # true: other accounts of ours may fill the same folders of this mailbox
$oauth2_there
[folders]
# include = ["*"]                         # folder names with "/" between levels; * stands for anything
# exclude = ["Junk", "Public/*"]
# whole = ["INBOX"]                       # folders that are complete although they show exactly 1,000, 2,000,
#                                         # 5,000 or 10,000 messages, where providers cut folders off
# rename = { "Sent Items" = "Sent" }      # names at the source = names at the destination

[messages]
# search = "SINCE 1-Jan-2020"             # IMAP SEARCH in ASCII, evaluated by the server; default: all
# older_than = "30d"                      # only what arrived before that; d, w, m, y: days, weeks, months, years
# newer_than = "2y"                       # only what arrived since then

[replay]
# vanished = "keep"                       # what happens to copies of messages gone from the source: "keep",
#                                         # "mark" (\\Deleted) or "expunge"
# repair = ["crlf", "last-line"]          # what may be altered in a copy that is refused unaltered: "crlf",
#                                         # "last-line", "nul", "long-lines"; the archive keeps the original bytes
# acls = false                            # true: access rights (ACL) are given as they are at the source
# acl_users = { "old" = "new" }           # names of others at the source = at the destination; "" leaves one out
# labels = "folders"                      # Gmail's folders are its labels: "folders" replays each of them, "labels"
#                                         # only All Mail, with its labels, onto Gmail; "all-mail" only All Mail

[search]
# index = "headers"                       # "text": `archiver search` also finds what messages say and attachments;
#                                         # after each run what is new is read for that (bodies.sqlite)
# documents = false                       # true: the text of attached PDF and office documents, too

[reports]
# keep = "90d"                            # reports of runs that ended well are removed when they are older, but the
#                                         # last one; those of runs that failed or were incomplete stay

[retention]
# vanished = "2y"                         # messages that have been gone from the source for longer are forgotten
#                                         # after a run, for good; by default they are kept for ever

# Who gets to know how a run ended; mostly in defaults.toml. `archiver check --notify` tries it.
#[notify]
#on = ["failure"]                         # and "change": complete after a failure, or the reverse; "digest": all
#webhook = "https://hooks.example.org/archiver"   # gets JSON
#webhook_secret = { file = "webhook-secret" }     # which signs it: X-Archiver-Signature
#command = ["/usr/local/bin/on-archiver"] # gets the JSON on its standard input
#ping = "https://hc-ping.com/0a1b2c3d"    # as for healthchecks.io: /start, success, /fail
#[notify.mail]
#host = "smtp.example.org"
#tls = "implicit"                         # or "starttls", "off"
#port = 465                               # 587 with "starttls", 25 with "off"
#user = "archiver@example.org"            # without user and password nobody logs in
#password = { file = "smtp-password" }
#from = "archiver@example.org"
#to = ["ops@example.org"]

# Numbers for Prometheus, for the textfile collector of its node_exporter.
#[metrics]
#textfile = "/var/lib/prometheus/node-exporter/archiver.prom"
""")
