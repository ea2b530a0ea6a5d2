"""The account file that `archiver init` writes: commented, with every key in it, and valid as it stands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from string import Template

from archiver.config.settings import PORTS, SecretReference, Tls

PLACEHOLDER = SecretReference("env", "ALICE_PASSWORD")


@dataclass(frozen=True, slots=True)
class NewAccount:
    """What `archiver init` knows of an account; `path` and the reference's `value` are written as they are."""

    host: str = "imap.example.org"
    user: str = "alice@example.org"
    password: SecretReference = PLACEHOLDER
    path: str = "/srv/mail-archive/{account}"
    tls: Tls = "implicit"
    port: int | None = None


def template(options: NewAccount) -> str:
    """The text of a commented account file that loads as it stands; every key is in it."""
    password = options.password
    value = list(password.value) if password.kind == "command" else password.value
    return TEMPLATE.substitute(
        host=_quoted(options.host),
        user=_quoted(options.user),
        password=f"{{ {password.kind} = {_quoted(value)} }}",
        path=_quoted(options.path),
        tls=_quoted(options.tls),
        port=f"# port = {PORTS[options.tls]}" if options.port is None else f"port = {options.port}",
    )


def _quoted(value: str | Sequence[str]) -> str:
    """NOTE: JSON is TOML here but for DEL, and but for the surrogate pairs that ensure_ascii would write."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


TEMPLATE = Template("""\
# One account. Its name is this file's name without ".toml"; {account} in any string stands for that name.
# What accounts have in common goes into defaults.toml in the same folder; this file wins over it.
# Relative paths are relative to this file. Keys behind a "#" are optional.

[source]
# protocol = "imap"
host = $host
# "implicit" (TLS from the start), "starttls", or "off"
tls = $tls
$port
# ca_file = "ca.pem"                      # the authority to trust, if the system does not know it
# fingerprint = "00:11:…"                 # in place of ca_file: the SHA-256 of the very certificate
# client_cert = "client.pem"              # our own certificate with its key
user = $user
# The password is never written here, only where to find it: { env = "NAME" }, { file = "PATH" } (first line),
# { command = ["pass", "show", "mail/alice"] } (first line of its output) or { keyring = "SERVICE" }.
password = $password
# login = "auto"                          # "auto" (PLAIN where offered, else LOGIN), "login", "plain"
# connections = 2                         # side by side, 1 to 16
# connect_timeout = 30                    # seconds
# read_timeout = 120                      # seconds
# attempts = 5                            # how often a lost connection is tried again

[archive]
path = $path
# store = "maildir"                       # "maildir", or "s3" with the table [archive.s3]
# durability = "batch"                    # "batch" (one sync for many messages), "file", or "none"
# must_exist = false                      # true: no run begins an archive here, as when the disk is not mounted

# The bucket of store = "s3"; "path" above then holds the catalog and the reports alone. Credentials come by boto3's
# own chain: the environment, ~/.aws, or the machine's role. Take the "#" away from the lines that are needed.
#[archive.s3]
#bucket = "mail"
#prefix = "archive"                       # everything of the account lies below prefix/account/
#layout = "objects"                       # one object a message, or "packs": small ones together, fewer requests
#endpoint_url = "https://s3.example.org"  # for another service than Amazon's
#region = "eu-central-1"
#profile = "archive"                      # in ~/.aws
#addressing_style = "auto"                # "path" or "virtual" forces one
#ca_file = "ca.pem"
#checksums = "auto"                       # "when_supported" or "when_required" forces one
#storage_class = "STANDARD_IA"            # of messages; what is asked for here and below is read back
#sse = "AES256"                           # or "aws:kms" with kms_key, or "customer" with customer_key
#kms_key = "arn:aws:kms:..."
#customer_key = { file = "sse-c.key" }    # 32 bytes in base64, by reference like a password
#tags = { team = "mail" }
#object_lock = { mode = "GOVERNANCE", days = 3650 }   # or "COMPLIANCE"; and legal_hold = true
#create_bucket = false
#single_writer = false                    # your word that one machine alone works on it, where no lock can hold
#client = "auto"                          # the faster client where it can do what is asked; "boto3" forces that one
#connections = 16                         # objects in transfer together, 1 to 256
#connect_timeout = 10                     # seconds
#read_timeout = 60                        # seconds
#attempts = 8                             # of one request

# Where mail is replayed to; without this table it is only archived. Take the "#" away from all of these lines. The
# keys are those of [source], "prefix", a folder that everything goes below, and "shared".
#[destination]
#host = "imap.example.net"
#user = "alice@example.net"
#password = { env = "ALICE_NEW_PASSWORD" }
#prefix = ""
#shared = false                           # true: other accounts of ours may fill the same folders of this mailbox

[folders]
# include = ["*"]                         # folder names with "/" between levels; * stands for anything
# exclude = ["Junk", "Public/*"]
# whole = ["INBOX"]                       # folders that show all they have although these are exactly 1,000,
#                                         # 2,000, 5,000 or 10,000 messages: there providers cut what they show
# rename = { "Sent Items" = "Sent" }      # names at the source = names at the destination

[messages]
# search = "SINCE 1-Jan-2020"             # IMAP SEARCH in ASCII, evaluated by the server; default: all

[replay]
# vanished = "keep"                       # what becomes of copies when the source lost the message: "keep",
#                                         # "mark" (\\Deleted) or "expunge"
# repair = ["crlf"]                       # what may be altered in a copy that is refused as it is: "crlf", "nul",
#                                         # "long-lines"; the archive keeps the true bytes
""")
