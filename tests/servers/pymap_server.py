"""pymap in this process: a second, independent IMAP server without the modern extensions (no CONDSTORE, no
NAMESPACE, no LIST-STATUS), on its in-memory backend."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import threading
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from tests.servers.served import ServedFolder, dump
from tests.servers.wire import DATE, Append, Wire, append, quoted

USERS = {"alice": "secret", "bob": "secret", "carol": "secret"}


class PymapServer:
    """A server with `users` (name → password) and an empty INBOX each; a context manager. Plain text only."""

    def __init__(self, users: Mapping[str, str] = USERS) -> None:
        self.host, self.port = "127.0.0.1", 0
        self.users = dict(users)
        self._ready = threading.Event()
        self._failure: BaseException | None = None

    @staticmethod
    def missing() -> str | None:
        """Why pymap cannot run here, or None."""
        return None if importlib.util.find_spec("pymap") else "pymap: not installed (pip install '.[demo]')"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait(20)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def wire(self, user: str) -> Wire:
        """A logged-in raw connection."""
        return Wire(self.port).login(user, self.users[user])

    def create(self, user: str, *folders: str | bytes) -> None:
        """CREATE folders."""
        with self.wire(user) as wire:
            for folder in folders:
                wire.command(b"CREATE " + quoted(folder))
            wire.logout()

    def append(self, user: str, folder: str | bytes, octets: bytes, flags: Sequence[str] = (),
               internaldate: str = DATE) -> None:  # fmt: skip
        """APPEND one message, its octets as they are."""
        self.append_many(user, folder, [Append(octets, flags, internaldate)])

    def append_many(self, user: str, folder: str | bytes, messages: Iterable[Append]) -> None:
        """APPEND many."""
        with self.wire(user) as wire:
            append(wire, folder, messages)
            wire.logout()

    def dump(self, user: str) -> dict[bytes, ServedFolder]:
        """All that the server serves to the user."""
        with self.wire(user) as wire:
            return dump(wire)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as failure:
            self._failure = failure
            self._ready.set()

    async def _serve(self) -> None:
        from proxyprotocol.reader import ProxyProtocolReader
        from pymap.backend.dict import DictBackend, Identity
        from pymap.imap import IMAPServer
        from pymap.user import Passwords, UserMetadata
        from pysasl.hashing import BuiltinHash

        arguments = Namespace(
            host=[self.host], port="0", debug=False, cert=None, key=None, tls=False, passlib_cfg=None,
            proxy_protocol=None, inherited_sockets=None, demo_data=False, demo_user="", demo_password="",
            base_dir=None, concurrency=None, insecure_login=True,
        )  # fmt: skip
        quick = BuiltinHash(rounds=1)  # half a million rounds, the default, take a third of a second at each login
        backend, config = await DictBackend.init(
            arguments, secure_auth=False, invalid_user_sleep=0.0, reject_dnsbl=False, hash_context=quick
        )
        config.apply_context()
        passwords = Passwords(config)
        for user, password in self.users.items():
            metadata = UserMetadata(config, user, password=await passwords.hash_password(password))
            await Identity(user, backend.login, None, frozenset({"admin"})).set(metadata)
        async with contextlib.AsyncExitStack() as stack:
            await backend.start(stack)
            # NOTE: IMAPServer reads the proxy protocol's header first, so it cannot be called bare.
            callback = ProxyProtocolReader(config.proxy_protocol).get_callback(IMAPServer(backend.login, config))
            server = await asyncio.start_server(callback, self.host, 0)
            self.port = server.sockets[0].getsockname()[1]
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            self._ready.set()
            await self._stop.wait()
            server.close()
