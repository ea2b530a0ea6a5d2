"""Loads account files: TOML in, frozen settings out, with all mistakes of a file reported at once.

Each mistake comes with the key and what to write instead. `archiver.config.shape` finds those of single tables;
what contradicts across tables, and what is missing or unknown, is put into words here. Secrets are never in a file,
only references to them, which `archiver.config.secrets` resolves when a connection needs them.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from archiver.config.layers import Defaults, Tree, defaults_of, merge, named, read_toml
from archiver.config.protocols import USUAL_PORTS, contradicts_pop3, port_warning, usual_port
from archiver.config.references import readers
from archiver.config.settings import TABLES, AccountFile, Settings
from archiver.config.shape import Keys, Mistake, read_table
from archiver.config.tables import oauth2
from archiver.config.tables.fleet import place_of
from archiver.config.tables.s3 import ObjectLock
from archiver.config.tables.server import FilesSettings, ServerSettings
from archiver.errors import ConfigError

#: What is planned but not built yet: refused explicitly, never silently ignored.
NOT_YET: tuple[Keys, ...] = (("archive", "catalog"),)
_SERVERS = ("source", "destination")
_TOP = [name for name in TABLES if "." not in name]
_NESTED = {"archive.s3.object_lock": ObjectLock.__struct_fields__}

EXAMPLES: dict[Keys, str] = {
    ("source", "host"): 'host = "imap.example.org"',
    ("source", "path"): 'path = "/srv/old-mail/{account}"',
    ("source", "user"): 'user = "alice@example.org"',
    ("source", "password"): 'password = { env = "ALICE_PASSWORD" }',
    ("destination", "host"): 'host = "imap.example.net"',
    ("destination", "user"): 'user = "alice@example.net"',
    ("destination", "password"): 'password = { env = "ALICE_NEW_PASSWORD" }',
    ("archive", "path"): 'path = "/srv/mail-archive/{account}"',
    ("archive", "s3", "bucket"): 'bucket = "mail"',
    ("notify", "mail", "host"): 'host = "smtp.example.org"',
    ("notify", "mail", "from"): 'from = "archiver@example.org"',
    ("notify", "mail", "to"): 'to = ["ops@example.org"]',
}


def load_account(path: Path, defaults: Callable[[Path], Defaults] = defaults_of) -> Settings:
    """Read an account file over the `defaults.toml` of its folder and of those above.

    Tables are merged key by key, and the account's value wins; a password reference is replaced as a whole.
    A symbolic link is a separate account with the link's name.

    Raises:
        ConfigError: with every mistake; its text never contains a part of a password.
    """
    file = path.absolute()
    return settings_of(file, read_toml(file), defaults(file.parent))


def settings_of(file: Path, over: Tree, defaults: Defaults) -> Settings:
    """The settings of an account whose file has, or will have, these tables.

    Raises:
        ConfigError: as `load_account`.
    """
    account = file.stem
    tree = named({"source": {}, "archive": {}} | merge(defaults.tree, over), account)
    found = list(_contradictions(tree))
    for shared in ("fleet", "servers"):
        if shared in over:
            found.append(((shared,), "is about all accounts of the fleet; write it into defaults.toml"))
    checked, mistakes = read_table(AccountFile, tree, readers(file.parent))
    found += [(each.keys, _wording(each, tree)) for each in mistakes]
    if checked is not None:
        found += _needs_two(checked)
    problems = [*_name_problems(file), *(_line(keys, text, over, defaults) for keys, text in found)]
    if checked is None or problems:
        raise ConfigError(str(file), problems)
    return Settings(
        account=account,
        file=file,
        source=checked.source,
        archive=checked.archive,
        folders=checked.folders,
        messages=checked.messages,
        destination=checked.destination,
        replay=checked.replay,
        search=checked.search,
        notify=checked.notify,
        reports=checked.reports,
        retention=checked.retention,
        metrics=checked.metrics,
        servers={host.lower(): each for host, each in checked.servers.items()},
        fleet=place_of(file, defaults, checked.fleet, _digest(tree)),
        warnings=tuple(_all_warnings(checked)),
    )


def _digest(tree: Tree) -> str:
    """What the tables of an account say, in short: another digest, something was changed."""
    return sha256(json.dumps(tree, sort_keys=True, default=str).encode()).hexdigest()


def written_destination(path: Path) -> Tree | None:
    """The [destination] table of an account file that may have mistakes, as written; None if there is none.

    Raises:
        ConfigError: the file or its defaults cannot be read at all.
    """
    tree = merge(defaults_of(path.absolute().parent).tree, read_toml(path))
    table = named(tree, path.stem).get("destination")
    return table if isinstance(table, dict) else None


def is_account_name(name: str) -> bool:
    """Whether an account can have this name, which becomes part of paths."""
    return re.fullmatch(r"[A-Za-z0-9_@+][A-Za-z0-9._@+-]*", name) is not None


def _name_problems(file: Path) -> Iterator[str]:
    if file.suffix != ".toml":
        yield 'an account file\'s name ends in ".toml"; rename it'
    if file.stem.lower() == "defaults":
        yield "has the defaults of its folder and is not an account; name an account file or the folder"
    elif not is_account_name(file.stem):
        yield "the file's name is the account's: use ASCII letters, digits and . _ - @ + only, not . or - first"


def _contradictions(tree: Tree) -> Iterator[tuple[Keys, str]]:
    if _is_files(tree.get("source")) and isinstance(rules := tree.get("messages"), dict) and "search" in rules:
        yield ("messages", "search"), "is evaluated by a server; with files as the source remove it"
    for table in _SERVERS:
        server = tree.get(table)
        if not isinstance(server, dict) or (table == "source" and _is_files(server)):
            continue
        if server.get("tls") == "off":
            for key in ("ca_file", "fingerprint", "client_cert", "client_key"):
                if key in server:
                    yield (table, key), 'contradicts tls = "off", which uses no certificates; remove one of them'
        if "client_key" in server and "client_cert" not in server:
            yield (table, "client_key"), "is the key of a client_cert, which is missing; write that too"
        if "password" not in server and "client_cert" in server and server.get("auth") != "oauth2":
            for key in ("login", "login_user"):
                if key in server:
                    yield (table, key), "goes with a password, which is missing; write that, or remove this key"
        if "ca_file" in server and "fingerprint" in server:
            yield (
                (table, "fingerprint"),
                "contradicts ca_file: a pinned certificate needs no authority; remove one",
            )
        for key, text in oauth2.contradictions(server):
            yield (table, *key.split(".")), text
    if _one_token_for_two(tree):
        problem = 'is where [source] keeps its token; give each its own, as in { file = "tokens/{account}.new" }'
        yield ("destination", "oauth2", "token"), problem
    if (vanished := _deletes_in_a_shared_mailbox(tree)) is not None:
        problem = (
            f'contradicts [replay] vanished = "{vanished}": a copy in a shared mailbox may be the only one of '
            'another account; write "keep", or give each account its own prefix in place of shared = true'
        )
        yield ("destination", "shared"), problem
    if _same_account(tree.get("source"), tree.get("destination")):
        problem = "is the source itself: an account is not replayed to itself; name another host or user"
        yield ("destination", "host"), problem
    yield from contradicts_pop3(tree)


def _needs_two(file: AccountFile) -> Iterator[tuple[Keys, str]]:
    """An account that moves mail within a host is logged in to both sides at the same time."""
    source, destination = file.source, file.destination
    if isinstance(source, FilesSettings) or destination is None or source.host.lower() != destination.host.lower():
        return
    for host, limits in file.servers.items():
        if host.lower() == source.host.lower() and limits.connections == 1:
            problem = "is too few: source and destination are both at this host, and need one each; write 2 or more"
            yield ("servers", host, "connections"), problem


def _is_files(source: object) -> bool:
    return isinstance(source, dict) and source.get("protocol") == "files"


def _one_token_for_two(tree: Tree) -> bool:
    """Whether both sides would keep the token of a person in one place."""
    tables = [table.get("oauth2") for name in _SERVERS if isinstance(table := tree.get(name), dict)]
    places = [
        table["token"]
        for table in tables
        if isinstance(table, dict)
        and isinstance(table.get("token"), dict)
        and table.get("flow", "device") in oauth2.OF_A_PERSON
    ]
    return len(places) == 2 and places[0] == places[1] and "file" in places[0]


def _deletes_in_a_shared_mailbox(tree: Tree) -> str | None:
    """The policy for vanished messages, if it would delete copies in a mailbox that other accounts of ours fill."""
    destination, replay = tree.get("destination"), tree.get("replay")
    if not isinstance(destination, dict) or not isinstance(replay, dict) or destination.get("shared") is not True:
        return None
    return next((policy for policy in ("mark", "expunge") if replay.get("vanished") == policy), None)


def _same_account(source: object, destination: object) -> bool:
    """Whether both tables name the same login at the same server. The usual ports of a host count as one server."""
    if not isinstance(source, dict) or not isinstance(destination, dict):
        return False
    one, other = (
        (
            str(table.get("host", "")).rstrip(".").lower(),
            str(table.get("user", "")),
            "usual" if (port := _port(table)) in USUAL_PORTS else port,
        )
        for table in (source, destination)
    )
    return one == other and one[0] != ""


def _port(table: Tree) -> object:
    return table.get("port", usual_port(table.get("protocol", "imap"), table.get("tls", "implicit")))


def _wording(mistake: Mistake, tree: Tree) -> str:
    """What to write instead."""
    keys = mistake.keys
    match mistake.kind:
        case "missing":
            return f"is missing; write {EXAMPLES.get(keys, 'it')}"
        case "unknown":
            return _unknown(keys, tree)
        case "choice" if keys == ("source", "protocol"):
            return mistake.text.replace(" or ", ", ") + ' or "files"'
        case _:
            return mistake.text


def _unknown(keys: Keys, tree: Tree) -> str:
    if keys in NOT_YET:
        return "is not supported in this version yet; remove it"
    *table, key = keys
    here = ".".join(map(str, table))
    if here == "source" and (problem := _of_another_source(str(key), _is_files(tree.get("source")))):
        return problem
    here = "servers.HOST" if table[:1] == ["servers"] and len(table) == 2 else here
    known = list(TABLES[here].__struct_encode_fields__) if here in TABLES else list(_NESTED.get(here, _TOP))
    elsewhere = next((name for name, model in TABLES.items() if key in model.__struct_encode_fields__), None)
    if elsewhere:
        return f"does not belong here; write it below [{elsewhere}]"
    close = difflib.get_close_matches(str(key), known, n=1)
    if close:
        return f'is not a key; did you mean "{close[0]}"?'
    return f"is not a key; there are {', '.join(known)}"


def _of_another_source(key: str, is_files: bool) -> str | None:
    """Why a key does not belong to this kind of source, if it belongs to the other one."""
    if is_files and key in ServerSettings.__struct_fields__:
        return 'is about a server, and protocol = "files" needs none; remove it'
    if not is_files and key in FilesSettings.__struct_fields__:
        return 'goes with protocol = "files" alone; write that, or remove it'
    return None


def _all_warnings(checked: AccountFile) -> Iterator[str]:
    if isinstance(checked.source, ServerSettings):
        yield from _warnings("source", checked.source)
    if checked.destination is not None:
        yield from _warnings("destination", checked.destination)
    if checked.search.documents:
        from archiver.mail.parts.pdf import can_read_pdf

        if not can_read_pdf():
            extra = "pip install 'mail-archiver[documents]'"
            yield f"search.documents: PDF is not read, because the extra for it is not installed: `{extra}`"
    mail = checked.notify.mail
    if mail is not None and mail.tls == "off" and not oauth2.is_loopback(mail.host):
        yield f'notify.mail.tls: "off" sends notices, and a password, to {mail.host} readable by anyone on the way'


def _warnings(table: str, server: ServerSettings) -> Iterator[str]:
    if server.tls == "off" and not oauth2.is_loopback(server.host):
        yield f'{table}.tls: "off" sends the password and all mail to {server.host} readable by anyone on the way'
    if (odd := port_warning(server.protocol, server.tls, server.port)) is not None:
        yield f"{table}.port: {odd}"


def _line(keys: Keys, text: str, over: Tree, defaults: Defaults) -> str:
    """One problem as text: the key, the file if it is not the account's own, and what to write instead."""
    return f"{_dotted(keys)}{_inherited(keys, over, defaults)}: {text}"


def _inherited(keys: Keys, over: Tree, defaults: Defaults) -> str:
    if _holds(over, keys):
        return ""
    for layer in defaults.layers:
        if _holds(layer.tree, keys):
            return f" (from {defaults.place_of(layer)})"
    return ""


def _holds(tree: Any, keys: Keys) -> bool:
    for key in keys:
        if isinstance(tree, dict) and key in tree:
            tree = tree[key]
        else:
            return isinstance(tree, list)
    return True


def _dotted(keys: Keys) -> str:
    dotted = ""
    for key in keys:
        if isinstance(key, int):
            dotted += f", item {key + 1}"
        else:
            bare = re.fullmatch(r"[A-Za-z0-9_-]+", key)
            dotted += ("." if dotted else "") + (key if bare else json.dumps(key))
    return dotted
