"""What an option or an argument takes, for a shell that completes it."""

from __future__ import annotations

from typing import Literal, get_args

import click
from msgspec import Struct

from archiver.config.tables.oauth2 import Flow, Provider
from archiver.config.tables.server import Tls

#: accounts   account files, and folders of them
#: names      the names of the accounts that the line names so far, for a GLOB
#: files      any file; what is not there yet is typed
#: folders    directories
#: words      one of `words`, and nothing else
#: text       nothing that a shell could know
Kind = Literal["accounts", "names", "files", "folders", "words", "text"]


class Value(Struct, frozen=True):
    """What is completed. `words` are offered besides what the kind says."""

    kind: Kind
    words: tuple[str, ...] = ()


_KINDS: dict[str, Kind] = {
    "CONFIG": "accounts",
    "CONFIG...": "accounts",
    "FILE": "files",
    "PATH": "files",
    "CSV": "files",
    "DIR": "folders",
}

# By the last part of an option's name: these are checked where the account file is, with all its other mistakes.
_WORDS: dict[str, tuple[str, ...]] = {
    "tls": get_args(Tls),
    "protocol": ("imap", "pop3"),
    "oauth2": get_args(Provider),
    "flow": get_args(Flow),
    "encoding": ("utf-8", "latin-1", "windows-1252", "utf-16"),
}


def value_of(command: click.Command, parameter: click.Parameter) -> Value:
    """What a parameter of a verb takes."""
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return Value("text")
    if isinstance(parameter.type, click.Choice):
        return Value("words", tuple(map(str, parameter.type.choices)))
    if {"--only", "--except"} & {*parameter.opts}:
        return Value("names")
    if command.name == "restore" and "--to" in parameter.opts:
        return Value("accounts", ("source", "destination"))
    if words := _WORDS.get(str(parameter.name).removeprefix("to_")):
        return Value("words", words)
    return Value(_KINDS.get(parameter.metavar or "", "text"))
