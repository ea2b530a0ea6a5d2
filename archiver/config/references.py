"""References in an account file: to a secret, to a file, and to the place where a token is kept.

No text here shows a value, since that may be the secret itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

HOW_TO_REFER = (
    'write a reference to the password instead: { env = "NAME" }, { file = "PATH" }, '
    '{ command = ["PROGRAM", "ARGUMENT"] } or { keyring = "SERVICE" }'
)


class SecretReference(Struct, frozen=True):
    """Where a secret is stored, never the secret: `value` is an argv for "command", otherwise a name or a path."""

    kind: Literal["env", "file", "command", "keyring"]
    value: str | tuple[str, ...]


class Program(Struct, frozen=True):
    """A program and its arguments, run without a shell."""

    argv: tuple[str, ...]


class TokenPlace(Struct, frozen=True):
    """Where an OAuth2 token is kept: `value` is the path of a file, or a service in the keyring."""

    kind: Literal["file", "keyring"]
    value: str


class KeyFile(Struct, frozen=True):
    """The file with the key of a service account."""

    path: Path


def readers(folder: Path) -> Mapping[Any, Callable[[object], Any]]:
    """Readers for the types that TOML does not have; relative paths are relative to `folder`."""
    return {
        Path: lambda value: _path(value, folder),
        SecretReference: lambda value: _reference(value, folder),
        TokenPlace: lambda value: _token_place(value, folder),
        KeyFile: lambda value: _key_file(value, folder),
        Program: lambda value: _program(value, folder),
    }


def _path(value: object, folder: Path) -> Path:
    if not isinstance(value, str):
        raise ValueError("must be the path of a file or folder, in quotes")
    return _absolute(value, folder)


def _absolute(text: str, folder: Path) -> Path:
    if not text or "\0" in text:
        raise ValueError("must name a file or a folder")
    if re.search(r"\{\w*\}", text):
        raise ValueError("has an unknown placeholder; the only one is {account}")
    try:
        return folder / Path(text).expanduser()
    except RuntimeError:
        raise ValueError('begins with "~", but the home folder is unknown; write the full path') from None


def _reference(value: object, folder: Path) -> SecretReference:
    """NOTE: no message here may contain any part of `value`, since it may be the password itself."""
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(f"is not a reference; {HOW_TO_REFER}")
    match next(iter(value.items())):
        case "env", str(name):
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError("env must be the name of a variable (letters, digits, _), not the password")
            return SecretReference("env", name)
        case "file", str(text):
            return SecretReference("file", str(_absolute(text, folder)))
        case "command", [str(program), *arguments] if program and all(isinstance(a, str) for a in arguments):
            return SecretReference("command", _argv(program, arguments, folder))
        case "keyring", str(service) if service:
            return SecretReference("keyring", service)
        case _:
            raise ValueError(f"is not a reference; {HOW_TO_REFER}")


def _argv(program: str, arguments: list[Any], folder: Path) -> tuple[str, ...]:
    if any("\0" in word for word in (program, *arguments)):
        raise ValueError("command must not contain NUL")
    if "/" in program:
        program = str(_absolute(program, folder))
    return program, *arguments


def _program(value: object, folder: Path) -> Program:
    match value:
        case [str(program), *arguments] if program and all(isinstance(each, str) for each in arguments):
            return Program(_argv(program, arguments, folder))
    raise ValueError('must be a program and its arguments, as in ["/usr/local/bin/notify", "--mail"]')


def _token_place(value: object, folder: Path) -> TokenPlace:
    match value:
        case {"file": str(text), **others} if not others:
            return TokenPlace("file", str(_absolute(text, folder)))
        case {"keyring": str(service), **others} if service and not others:
            return TokenPlace("keyring", service)
    raise ValueError('must say where the token is kept: { file = "tokens/{account}" } or { keyring = "SERVICE" }')


def _key_file(value: object, folder: Path) -> KeyFile:
    match value:
        case {"file": str(text), **others} if not others:
            return KeyFile(_absolute(text, folder))
    raise ValueError('must name the key\'s file: { file = "service-account.json" }')
