"""The TOML that an account's settings are made of: its own file, over the `defaults.toml` of its folder, over those
of the folders above.

An account's own folder may have no `defaults.toml`. Above it, the first folder without one ends the chain. What
counts depends on where the file lies alone, never on which folder a command was given: the archive of an account
must not move because somebody runs a part of a fleet.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from archiver.errors import ConfigError

DEFAULTS = "defaults.toml"
_TWICE = re.compile(r"Cannot declare (\(.*\)) twice \(at line (\d+),")
_NAME = re.compile(r"'([^']*)'")
Tree = dict[str, Any]

#: Keys that refer to something else. Their table is a single value: { file } replaces { env } as a whole.
REFERENCES = ("password", "customer_key", "client_secret", "token", "service_account", "webhook_secret")
#: Keys whose value is a path.
PATHS = ("path", "ca_file", "client_cert", "client_key", "textfile", "ledger")


class Layer(Struct, frozen=True):
    """A `defaults.toml` and what is in it."""

    file: Path
    tree: Tree


class Defaults(Struct, frozen=True):
    """What lies under the accounts of the folder `home`: the nearest file first, and all of them merged."""

    home: Path
    layers: tuple[Layer, ...] = ()
    tree: Tree = {}

    @property
    def top(self) -> Path:
        """The highest folder whose accounts have something in common with these."""
        return self.layers[-1].file.parent if self.layers else self.home

    def place_of(self, layer: Layer) -> str:
        """What to call one of the files in a message about an account."""
        return DEFAULTS if layer.file.parent == self.home else str(layer.file)


class KnownDefaults:
    """The defaults of folders, each read once: for a command that loads many accounts one after the other. Those
    `to_come` are files that are not written yet, and what will be in them."""

    def __init__(self, to_come: Mapping[Path, Tree] | None = None) -> None:
        self._known: dict[Path, Defaults | ConfigError] = {}
        self._to_come = to_come or {}

    def __call__(self, folder: Path) -> Defaults:
        if folder not in self._known:
            try:
                self._known[folder] = defaults_of(folder, self._to_come)
            except ConfigError as error:
                self._known[folder] = error
        found = self._known[folder]
        if isinstance(found, ConfigError):
            raise found
        return found


def defaults_of(folder: Path, to_come: Mapping[Path, Tree] | None = None) -> Defaults:
    """The defaults of the accounts in `folder`, with those `to_come`. Relative paths in a file are relative to it.

    Raises:
        ConfigError: one of the files cannot be read, or lies above the folder and is somebody else's.
    """
    here = home = folder.resolve()
    layers: list[Layer] = []
    while True:
        file = here / DEFAULTS
        tree = (to_come or {}).get(file)
        if tree is None and os.path.lexists(file):
            if here != home:
                _require_ours(file, home)
            tree = read_toml(file)
        if tree is not None:
            layers.append(Layer(file, tree if here == home else anchored(tree, here)))
        elif here != home:
            break
        if here == here.parent:
            break
        here = here.parent
    merged: Tree = {}
    for layer in reversed(layers):
        merged = merge(merged, layer.tree)
    return Defaults(home, tuple(layers), merged)


def read_toml(file: Path) -> Tree:
    """
    Raises:
        ConfigError: it is not there, or is not TOML.
    """
    hint = None
    try:
        return tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        problem = "no such file"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        hint = "give this user read access to it" if isinstance(error, PermissionError) else None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        if file.suffix != ".toml":
            problem = 'is no account file: an account file\'s name ends in ".toml"'
            hint = "name account files, or the folder for all that are in it"
        elif isinstance(error, UnicodeDecodeError):
            problem = f"is not UTF-8 (octet {error.start + 1}); save it as UTF-8"
        else:
            problem, hint = _not_toml(str(error))
    raise ConfigError(str(file), [problem], hint=hint)


def _not_toml(words: str) -> tuple[str, str | None]:
    """What is wrong, in an admin's words, and what to do; `words` are tomllib's."""
    if (twice := _TWICE.match(words)) is not None:
        table = ".".join(_NAME.findall(twice[1]))
        hint = f"put its keys below the first [{table}], which `archiver init` writes with most keys as comments"
        return f"[{table}] begins a second time at line {twice[2]}", hint
    return f"is not TOML: {words.replace('Cannot overwrite a value', 'a key is given a second time')}", None


def merge(under: Tree, over: Tree) -> Tree:
    """Both trees, table by table; where both have a value, that of `over` counts."""
    merged = under | over
    for key in under.keys() & over.keys():
        if isinstance(under[key], dict) and isinstance(over[key], dict) and key not in REFERENCES:
            merged[key] = merge(under[key], over[key])
    return merged


def named(value: Any, account: str) -> Any:
    """A copy of `value` with {account} replaced in all strings."""
    if isinstance(value, str):
        return value.replace("{account}", account)
    if isinstance(value, dict):
        return {key: named(item, account) for key, item in value.items()}
    if isinstance(value, list):
        return [named(item, account) for item in value]
    return value


def _require_ours(file: Path, home: Path) -> None:
    """A file above may name a program that prints a password. In a folder where everybody may write, such as /tmp,
    anybody could put one."""
    allowed = {0, os.geteuid()}
    try:
        owner = file.stat().st_uid
    except OSError:
        return  # reading it says what is wrong
    if home.exists():
        allowed.add(home.stat().st_uid)
    if owner not in allowed:
        problem = f"lies above {home} and belongs to another user (uid {owner}), so it is not used"
        raise ConfigError(str(file), [problem], hint="remove it, change its owner, or move the accounts elsewhere")


def anchored(tree: Mapping[str, Any], folder: Path) -> Tree:
    """The tree with relative paths made absolute, from `folder`: that of their file."""
    return {key: _anchored_value(key, value, folder) for key, value in tree.items()}


def _anchored_value(key: str, value: Any, folder: Path) -> Any:
    if key in PATHS and isinstance(value, str):
        return _from(folder, value)
    if isinstance(value, dict):
        if key not in REFERENCES:
            return anchored(value, folder)
        if isinstance(text := value.get("file"), str):
            return {**value, "file": _from(folder, text)}
        return {**value, "command": _program(folder, value["command"])} if "command" in value else value
    return _program(folder, value) if key == "command" else value


def _program(folder: Path, words: Any) -> Any:
    """A program and its arguments; one that is found by PATH stays so."""
    if isinstance(words, list) and words and isinstance(words[0], str) and "/" in words[0]:
        return [_from(folder, words[0]), *words[1:]]
    return words


def _from(folder: Path, text: str) -> str:
    """NOTE: a ledger may be an address in place of a path."""
    return text if not text or text.startswith("~") or "://" in text else str(folder / text)
