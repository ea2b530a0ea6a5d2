"""Resolves references to secrets, as late as possible and only here.

A secret is read when a connection needs it and lives in a `Secret`, which shows itself as ***. From then on
`secrecy` removes it from whatever a server or a library says. Messages name
the reference (a variable, a file, a program, a service) and the user, and never what was found there; they are
raised outside of `except`, so that no error underneath, which may hold the octets, hangs on as their context.
"""

from __future__ import annotations

import codecs
import logging
import os
import stat
import subprocess
from typing import NoReturn

from archiver.config.secrecy import keep_secret
from archiver.errors import ConfigError

log = logging.getLogger(__name__)

COMMAND_TIMEOUT_SECONDS = 60

_DEEDS = ((stat.S_IWGRP | stat.S_IWOTH, "change"), (stat.S_IRGRP | stat.S_IROTH, "read"))


class Secret:
    """A password or token; only `reveal` returns it. It cannot be pickled, so that no task can contain it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself, only to be sent to the server."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


def resolve(kind: str, value: str | tuple[str, ...], *, user: str, what: str = "password") -> Secret:
    """The secret of `user` that a reference points to, unchanged: blanks, quotes and backslashes are kept.
    `what` is its name for people.

    kind "env": the whole value of the variable. "file" and "command" (an argv, run without a shell and
    without input for at most 60 seconds): the first line without its line end. "keyring": the password of
    `user` under that service. Each call looks it up again, so that a changed password is found.

    Raises:
        ConfigError: there is no secret, it is empty or not UTF-8 text, or the program failed.
    """
    where = f"{what} of {user}"
    match kind, value:
        case "env", str(name):
            octets = _from_env(name, where)
            source = f"the environment variable {name}"
        case "file", str(path):
            octets = _from_file(path, where)
            source = path
        case "command", (program, *_):
            octets = _from_command(tuple(value), where)
            source = f"what {program} prints"
        case "keyring", str(service):
            octets = _from_keyring(service, user, where)
            source = f'the keyring entry "{service}"'
        case _:
            raise ConfigError(where, [f'"{kind}" is not a kind of reference'])
    text = _text(octets, source, where)
    keep_secret(text, user)
    return Secret(text)


def _text(octets: bytes, source: str, where: str) -> str:
    if not octets:
        raise ConfigError(where, [f"{source} is empty"], hint="its first line must be the password")
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ConfigError(where, [f"{source} is not UTF-8 text"])
    return text


def _from_env(name: str, where: str) -> bytes:
    octets = os.environb.get(os.fsencode(name))
    if octets is None:
        raise ConfigError(where, [f"the environment variable {name} is not set"], hint="export it before the run")
    return octets


def _without_waiting(path: str, flags: int) -> int:
    """Opens a file.

    NOTE: opening a pipe would wait for somebody to write into it, and keep the archive locked. Like this it is
    empty then. What somebody writes into it, as in `<(command)`, is read.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor


def _from_file(path: str, where: str) -> bytes:
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            octets = file.readline()
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror}"
    else:
        warn_of_others(path, status, where)
        return _first_line(octets.removeprefix(codecs.BOM_UTF8))  # editors on Windows add it
    raise ConfigError(where, [problem], hint="name an existing file that this user can read")


def warn_of_others(path: str, status: os.stat_result, where: str) -> None:
    """Warn if a file with a secret is not private. `where` says what it is, for people."""
    for bits, deed in _DEEDS if stat.S_ISREG(status.st_mode) else ():
        if status.st_mode & bits:
            log.warning("%s: other users can %s %s; `chmod 600` keeps it private", where, deed, path)
            break


def _from_command(command: tuple[str, ...], where: str) -> bytes:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        problem = f"did not end within {COMMAND_TIMEOUT_SECONDS} seconds"
    except OSError as error:
        problem = f"cannot be run: {error.strerror}"
    else:
        if done.returncode == 0:
            return _first_line(done.stdout)
        problem = f"ended with status {done.returncode}"
        if done.returncode < 0:
            problem = f"was killed by signal {-done.returncode}"
    raise ConfigError(where, [f"{command[0]} {problem}"], hint="run it by hand as the same user to see why")


def _from_keyring(service: str, user: str, where: str) -> bytes:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        problem = "the keyring library is not installed"
        raise ConfigError(where, [problem], hint="pip install 'mail-archiver[keyring]'") from None
    try:
        found: str | None = keyring.get_password(service, user)
    except KeyringError as error:
        problem = f'the keyring could not be asked for "{service}": {type(error).__name__}'
    else:
        if found is not None:
            return found.encode("utf-8", "surrogatepass")
        problem = f'the keyring has nothing under "{service}" for this user'
    raise ConfigError(where, [problem], hint=f"`keyring set {service} {user}` stores it")


def _first_line(octets: bytes) -> bytes:
    return octets.partition(b"\n")[0].removesuffix(b"\r")
