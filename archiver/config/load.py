"""Loads account files: TOML in, frozen settings out, with all mistakes of a file reported at once.

Each mistake comes with the key and what to write instead. `archiver.config.shape` finds those of single tables;
what contradicts across tables, and what is missing or unknown, is put into words here. Secrets are never in a file,
only references to them, which `archiver.config.secrets` resolves when a connection needs them.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from archiver.config import oauth2
from archiver.config.protocols import USUAL_PORTS, contradicts_pop3, port_warning, usual_port
from archiver.config.references import SecretReference, readers
from archiver.config.s3 import ObjectLock
from archiver.config.settings import (
    TABLES,
    AccountFile,
    ArchiveSettings,
    DestinationSettings,
    FilesSettings,
    FolderRules,
    MessageRules,
    ReplayRules,
    ServerSettings,
    Settings,
)
from archiver.config.shape import Keys, Mistake, read_table
from archiver.errors import ConfigError

__all__ = [
    "ArchiveSettings",
    "DestinationSettings",
    "FolderRules",
    "MessageRules",
    "ReplayRules",
    "SecretReference",
    "ServerSettings",
    "Settings",
    "account_files",
    "fleet_conflicts",
    "load_account",
    "written_destination",
]

DEFAULTS = "defaults.toml"
Tree = dict[str, Any]

#: What is planned but not built yet: refused explicitly, never silently ignored.
NOT_YET: tuple[Keys, ...] = (("archive", "catalog"),)
_SERVERS = ("source", "destination")
_TOP = [name for name in TABLES if "." not in name]
_NESTED = {"archive.s3.object_lock": ObjectLock.__struct_fields__}
_REFERENCES = ("password", "customer_key", "client_secret", "token", "service_account")

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
}


def load_account(path: Path) -> Settings:
    """Read an account file over the `defaults.toml` of its folder.

    Tables are merged key by key, and the account's value wins; a password reference is replaced as a whole.
    A symbolic link is a separate account with the link's name.

    Raises:
        ConfigError: with every mistake; its text never contains a part of a password.
    """
    file = path.absolute()
    account = file.stem
    over, under = _read_both(file)
    tree = _named({"source": {}, "archive": {}} | _merge(under, over), account)
    found = list(_contradictions(tree))
    checked, mistakes = read_table(AccountFile, tree, readers(file.parent))
    found += [(each.keys, _wording(each, tree)) for each in mistakes]
    problems = [*_name_problems(file), *(_line(keys, text, under, over) for keys, text in found)]
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
        warnings=tuple(_all_warnings(checked)),
    )


def written_destination(path: Path) -> Tree | None:
    """The [destination] table of an account file that may have mistakes, as written; None if there is none.

    Raises:
        ConfigError: the file or its defaults cannot be read at all.
    """
    over, under = _read_both(path)
    table = _named(_merge(under, over), path.stem).get("destination")
    return table if isinstance(table, dict) else None


def account_files(paths: Sequence[Path]) -> list[Path]:
    """The account files that `paths` name, each once: a file stands for itself, a folder for its *.toml files,
    sorted.

    Raises:
        ConfigError: a path does not exist, or a folder has no account file.
    """
    files: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            found = _accounts_in(path)
        elif path.exists() or path.is_symlink():
            found = [path]
        else:
            raise ConfigError(str(path), ["no such file or folder"])
        files.update((file.parent.resolve() / file.name, None) for file in found)
    return list(files)


def fleet_conflicts(settings: Sequence[Settings]) -> Mapping[Path, ConfigError]:
    """Accounts that run together need different names and different archives. Returns the problems by account file.
    Archive paths are compared with links resolved."""
    names: defaultdict[str, list[Path]] = defaultdict(list)
    archives: defaultdict[str, list[Path]] = defaultdict(list)
    for one in settings:
        names[one.account].append(one.file)
        archives[os.path.realpath(one.archive.path)].append(one.file)
    problems: defaultdict[Path, list[str]] = defaultdict(list)
    for name, files in names.items():
        for file, others in _each_with_the_others(files):
            problems[file].append(f'has the account name "{name}", as {others} has; rename all but one')
    for path, files in archives.items():
        for file, others in _each_with_the_others(files):
            problem = f"archive.path: {path} is that of {others}, too; give each its own, with {{account}} in it"
            problems[file].append(problem)
    return {file: ConfigError(str(file), found) for file, found in problems.items()}


def _each_with_the_others(files: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    if len(files) > 1:
        for file in files:
            yield file, " and ".join(str(other) for other in files if other != file)


def _accounts_in(folder: Path) -> list[Path]:
    try:
        found = sorted(
            path
            for path in folder.iterdir()
            if path.suffix == ".toml"
            and path.name != DEFAULTS
            and not path.name.startswith(".")  # files that editors leave behind
            and not path.is_dir()
        )
    except OSError as error:
        raise ConfigError(str(folder), [f"cannot be listed: {error.strerror}"]) from None
    if not found:
        hint = f"`archiver init {folder / 'NAME.toml'}` writes one"
        raise ConfigError(str(folder), ["no account files (*.toml) in this folder"], hint=hint)
    return found


def _read(file: Path, *, optional: bool = False) -> Tree:
    hint = None
    try:
        return tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        if optional and not file.is_symlink():
            return {}
        problem = "no such file"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        hint = "give this user read access to it" if isinstance(error, PermissionError) else None
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 (octet {error.start + 1}); save it as UTF-8"
    except tomllib.TOMLDecodeError as error:
        problem = f"is not TOML: {error}"
    raise ConfigError(str(file), [problem], hint=hint)


def _read_both(file: Path) -> tuple[Tree, Tree]:
    """An account file, and the defaults of its folder."""
    return _read(file), _read(file.with_name(DEFAULTS), optional=True)


def _merge(under: Tree, over: Tree) -> Tree:
    merged = under | over
    for key in under.keys() & over.keys():
        # A reference is a single value: { file } in the account replaces { env } in the defaults.
        if isinstance(under[key], dict) and isinstance(over[key], dict) and key not in _REFERENCES:
            merged[key] = _merge(under[key], over[key])
    return merged


def _named(value: Any, account: str) -> Any:
    """`value` with {account} replaced in all strings."""
    if isinstance(value, str):
        return value.replace("{account}", account)
    if isinstance(value, dict):
        return {key: _named(item, account) for key, item in value.items()}
    if isinstance(value, list):
        return [_named(item, account) for item in value]
    return value


def _name_problems(file: Path) -> Iterator[str]:
    if file.suffix != ".toml":
        yield 'an account file\'s name ends in ".toml"; rename it'
    if file.stem.lower() == "defaults":
        yield "has the defaults of its folder and is not an account; name an account file or the folder"
    elif not re.fullmatch(r"[A-Za-z0-9_@+][A-Za-z0-9._@+-]*", file.stem):
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
    known = list(TABLES[here].__struct_fields__) if here in TABLES else list(_NESTED.get(here, _TOP))
    elsewhere = next((name for name, model in TABLES.items() if key in model.__struct_fields__), None)
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


def _warnings(table: str, server: ServerSettings) -> Iterator[str]:
    if server.tls == "off" and not oauth2.is_loopback(server.host):
        yield f'{table}.tls: "off" sends the password and all mail to {server.host} readable by anyone on the way'
    if (odd := port_warning(server.protocol, server.tls, server.port)) is not None:
        yield f"{table}.port: {odd}"


def _line(keys: Keys, text: str, under: Tree, over: Tree) -> str:
    """One problem as text: the key, the file if it is not the account's own, and what to write instead."""
    inherited = _holds(under, keys) and not _holds(over, keys)
    return f"{_dotted(keys)}{f' (from {DEFAULTS})' if inherited else ''}: {text}"


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
