"""Where a token is kept between runs, and how processes take turns.

A process that renews a token holds its lock, reads what is kept, asks the endpoint, and keeps the answer before it
uses it. Before the endpoint is asked, the space for its answer is there: a refresh token that the endpoint replaced
and the disk did not take would lock the account out.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from archiver.config.references import TokenPlace
from archiver.config.secrecy import keep_secret
from archiver.control.waiting import token_requests
from archiver.errors import ArchiveNotWritable, ConfigError, ServerUnavailable
from archiver.login.oauth import tokens
from archiver.login.oauth.tokens import Token

_ROOM = 64 * 1024  # octets for a token
_LOOK_SECONDS = 0.05
_LOCKED_SECONDS = 150.0  # another process asks an endpoint for a minute at most
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)

Keep = Callable[[Token], None]
Pause = Callable[[float], None]


class Keeper(Protocol):
    """The place of one token. Several threads and processes may use it at once."""

    @property
    def name(self) -> str:
        """The place, for messages."""

    def read(self) -> Token | None:
        """The token that is kept; None if there is none.

        Raises:
            ConfigError: it cannot be read, others can read it, or it is no token.
        """

    def changing(self, pause: Pause = time.sleep) -> AbstractContextManager[Keep]:
        """A block in which nobody else changes the token; yields what keeps a new one, durably. `pause` waits for
        some seconds.

        Raises:
            ArchiveNotWritable: a token could not be kept here.
            ServerUnavailable: another process does not end its change.
        """


class TokenFile:
    """A file that only its owner can read (0600). It is replaced as a whole."""

    def __init__(self, path: Path, user: str) -> None:
        self._path = path.resolve()  # a link stays one
        self._user = user

    @property
    def name(self) -> str:
        return str(self._path)

    def read(self) -> Token | None:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            problem = f"{self.name} cannot be read: {error.strerror}"
            raise self._wrong(problem, "give this user read access to it") from None
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise self._wrong(f"{self.name} is not a regular file", "name a file for the token")
            if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                hint = (
                    f"`chmod 600 {self.name}`; log in again if somebody may have read it: `archiver login --again`"
                )
                raise self._wrong(f"other users can read or change {self.name}", hint)
            octets = file.read(_ROOM + 1)
        return _token_of(octets, self.name, self._user)

    @contextmanager
    def changing(self, pause: Pause = time.sleep) -> Iterator[Keep]:
        temporary, lock = (self._path.with_name(f".{self._path.name}.{end}") for end in ("new", "lock"))
        try:
            _make_private(self._path.parent)
            with _locked(lock, self.name, pause):
                self._adopt(temporary)
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
                try:
                    os.fchmod(descriptor, 0o600)
                    _make_room(descriptor)
                    yield lambda token: self._replace(descriptor, temporary, tokens.kept(token))
                finally:
                    os.close(descriptor)
                    temporary.unlink(missing_ok=True)
        except OSError as error:
            raise ArchiveNotWritable(
                f"{self.name}: the token cannot be kept here: {error.strerror}",
                hint="give this user write access to the file and its folder, and some space",
            ) from None

    def _adopt(self, temporary: Path) -> None:
        """Keep a token that a killed process had written, but not named yet: it is newer than what is kept."""
        try:
            status, octets = temporary.lstat(), temporary.read_bytes().rstrip(b"\0")
            tokens.read(octets)
        except (OSError, ValueError):
            return  # it had not come that far
        if stat.S_ISREG(status.st_mode) and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            os.truncate(temporary, len(octets))
            os.replace(temporary, self._path)
            _sync_folder(self._path.parent)

    def _replace(self, descriptor: int, temporary: Path, octets: bytes) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        left = memoryview(octets)
        while left:
            left = left[os.write(descriptor, left) :]
        os.ftruncate(descriptor, len(octets))
        os.fsync(descriptor)
        os.replace(temporary, self._path)
        _sync_folder(self._path.parent)

    def _wrong(self, problem: str, hint: str) -> ConfigError:
        return ConfigError(f"token of {self._user}", [problem], hint=hint)


class TokenKeyring:
    """The desktop's keyring, under a service and the user's name. The lock is a file in the user's cache."""

    def __init__(self, service: str, user: str) -> None:
        self._service = service
        self._user = user

    @property
    def name(self) -> str:
        return f'the keyring entry "{self._service}"'

    def read(self) -> Token | None:
        found = self._asked(lambda ring: ring.get_password(self._service, self._user))
        return None if not isinstance(found, str) else _token_of(found.encode(), self.name, self._user)

    @contextmanager
    def changing(self, pause: Pause = time.sleep) -> Iterator[Keep]:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mail-archiver"
        digest = hashlib.sha256(f"{self._service}\0{self._user}".encode()).hexdigest()
        try:
            _make_private(cache)
            with _locked(cache / f"{digest}.lock", self.name, pause):
                yield self._keep
        except OSError as error:
            raise ArchiveNotWritable(
                f"{cache}: the lock of {self.name} cannot be kept here: {error.strerror}",
                hint="give this user write access there, or set XDG_CACHE_HOME",
            ) from None

    def _keep(self, token: Token) -> None:
        text = tokens.kept(token).decode()
        self._asked(lambda ring: ring.set_password(self._service, self._user, text))

    def _asked(self, ask: Callable[..., object]) -> object:
        where = f"token of {self._user}"
        try:
            import keyring
            from keyring.errors import KeyringError
        except ImportError:
            problem = "the keyring library is not installed"
            raise ConfigError(where, [problem], hint="pip install 'mail-archiver[keyring]'") from None
        try:
            return ask(keyring)
        except KeyringError as error:
            problem = f"{self.name} cannot be used: {type(error).__name__}"
        raise ConfigError(where, [problem], hint="unlock the keyring, or keep the token in a file")


class TokenMemory:
    """A token of an app, which needs no person to get another one: kept as long as this process. All accounts of
    one app share it."""

    name = "memory"

    def __init__(self, key: Hashable) -> None:
        self._key = key

    def read(self) -> Token | None:
        return _remembered.get(self._key)

    @contextmanager
    def changing(self, pause: Pause = time.sleep) -> Iterator[Keep]:
        with _remembering.setdefault(self._key, threading.Lock()):
            yield lambda token: _remembered.__setitem__(self._key, token)


_remembered: dict[Hashable, Token] = {}
_remembering: dict[Hashable, threading.Lock] = {}
os.register_at_fork(after_in_child=_remembering.clear)  # a thread that is not there may have held one


def keeper_of(place: TokenPlace | None, user: str, app: Hashable) -> Keeper:
    """Where the token of this user is kept; `app` names the tokens that are all the same without a place."""
    match place:
        case TokenPlace("file", path):
            return TokenFile(Path(path), user)
        case TokenPlace("keyring", service):
            return TokenKeyring(service, user)
        case _:
            return TokenMemory(app)


def register(token: Token) -> None:
    """From now on no text of this process shows the token. It is long, so it is recognised without the user."""
    keep_secret(token.access)
    keep_secret(token.refresh or "")


def _token_of(octets: bytes, name: str, user: str) -> Token:
    try:
        token = tokens.read(octets)
    except ValueError as error:
        problem = f"{name} {error}"
    else:
        register(token)
        return token
    raise ConfigError(f"token of {user}", [problem], hint="remove it, then log in: `archiver login`")


def _make_private(folder: Path) -> None:
    for each in (*reversed(folder.parents), folder):
        try:
            each.mkdir(mode=0o700)
        except OSError:
            if not each.is_dir():
                raise


@contextmanager
def _locked(file: Path, name: str, pause: Pause) -> Iterator[None]:
    """NOTE: a lock of the open file, not of the process: the threads of a process exclude each other, too. And it
    is tried again and again, since a signal does not end the wait for it."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + _LOCKED_SECONDS
    try:
        while not _try_lock(descriptor):
            if time.monotonic() > end or token_requests.were_shut_down:
                raise ServerUnavailable(f"{name}: another process is renewing this token and does not end")
            pause(_LOOK_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _make_room(descriptor: int) -> None:
    try:
        os.posix_fallocate(descriptor, 0, _ROOM)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)
