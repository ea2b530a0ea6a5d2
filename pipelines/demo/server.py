"""An IMAP server in a thread of this process: pymap with its in-memory backend, only for the demo.

It listens on a free port of the loopback interface, has one account, and loses everything when it ends. Several can
run at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import secrets
import threading
from argparse import Namespace
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from pipelines.demo.mail import Mail

HOST = "127.0.0.1"
_START_SECONDS = 20
_T = TypeVar("_T")


def is_installed() -> bool:
    """Whether pymap is installed; the extra `demo` includes it."""
    return importlib.util.find_spec("pymap") is not None


class SampleServer:
    """One account, `user` with a random `password`; any other thread may change it. A context manager."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.password = secrets.token_urlsafe(12)
        self.port = 0
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="demo server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_START_SECONDS):
            raise TimeoutError("the embedded IMAP server did not start")
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_START_SECONDS)

    def create(self, folder: str, *, subscribed: bool = False) -> None:
        """Create a folder; INBOX already exists."""

        async def create(folders: Any) -> None:
            if folder != "INBOX":
                await folders.add_mailbox(folder)
            await folders.set_subscribed(folder, subscribed)

        self._do(create)

    def deliver(self, folder: str, mail: Mail) -> None:
        """Store a message in a folder, with its octets unchanged."""
        from pymap.parsing.message import AppendMessage
        from pymap.parsing.specials.flag import Flag

        message = AppendMessage(mail.octets, mail.arrived, frozenset(map(Flag, mail.flags)))

        async def deliver(folders: Any) -> None:
            await (await folders.get_mailbox(folder)).append(message)

        self._do(deliver)

    def add_flags(self, folder: str, position: int, *flags: str) -> None:
        """Set flags on the folder's message at `position`, from 0."""
        from pymap.flags import FlagOp
        from pymap.parsing.specials.flag import Flag

        async def add(folders: Any) -> None:
            mailbox = await folders.get_mailbox(folder)
            message = [each async for each in mailbox.messages()][position]
            await mailbox.update(message.uid, message, frozenset(map(Flag, flags)), FlagOp.ADD)

        self._do(add)

    def expunge(self, folder: str, position: int) -> None:
        """Remove the folder's message at `position`, from 0."""

        async def expunge(folders: Any) -> None:
            mailbox = await folders.get_mailbox(folder)
            await mailbox.delete([[each.uid async for each in mailbox.messages()][position]])

        self._do(expunge)

    def rename(self, before: str, after: str) -> None:
        """RENAME."""

        async def rename(folders: Any) -> None:
            await folders.rename_mailbox(before, after)

        self._do(rename)

    def contents(self) -> dict[str, list[Mail]]:
        """Every folder with its messages, read from the server's memory and not over IMAP: octets, INTERNALDATE and
        flags as stored. A name that only has children is not a folder."""
        from pymap.parsing.specials import FetchRequirement

        async def mail(message: Any) -> Mail:
            octets = bytes(await message.load_content(FetchRequirement.CONTENT))
            return Mail(octets, message.internal_date, frozenset(map(str, message.permanent_flags)))

        async def read(folders: Any) -> dict[str, list[Mail]]:
            names = [each.name for each in (await folders.list_mailboxes()).list() if each.exists]
            boxes = {name: await folders.get_mailbox(name) for name in names}
            return {name: [await mail(each) async for each in box.messages()] for name, box in boxes.items()}

        return self._do(read)

    def _do(self, work: Callable[[Any], Coroutine[Any, Any, _T]]) -> _T:
        """Run `work` with the account's folders, in the server's thread."""

        async def done() -> _T:
            async with self._identity.new_session() as session:
                return await work(session.mailbox_set)

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(_START_SECONDS)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as failure:  # NOTE: raised again in the thread that starts the server
            self._failure = failure
            self._ready.set()

    async def _serve(self) -> None:
        from proxyprotocol.reader import ProxyProtocolReader
        from pymap.backend.dict import DictBackend, Identity
        from pymap.imap import IMAPServer
        from pymap.user import Passwords, UserMetadata
        from pysasl.hashing import BuiltinHash

        logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns about every client that hangs up
        # The password is random and never leaves this process, so one round of hashing is enough; the default takes
        # a third of a second for each login.
        quick = BuiltinHash(rounds=1)
        backend, config = await DictBackend.init(
            _arguments(), secure_auth=False, invalid_user_sleep=0.0, reject_dnsbl=False, hash_context=quick
        )
        config.apply_context()
        self._identity = Identity(self.user, backend.login, None, frozenset({"admin"}))
        password = await Passwords(config).hash_password(self.password)
        await self._identity.set(UserMetadata(config, self.user, password=password))
        async with contextlib.AsyncExitStack() as stack:
            await backend.start(stack)
            # NOTE: IMAPServer first reads the header of the proxy protocol, so it cannot be called directly.
            proxied = ProxyProtocolReader(config.proxy_protocol)
            server = await asyncio.start_server(proxied.get_callback(IMAPServer(backend.login, config)), HOST, 0)
            self.port = server.sockets[0].getsockname()[1]
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            self._ready.set()
            await self._stop.wait()
            server.close()


def _arguments() -> Namespace:
    """The arguments that pymap's own command line would pass."""
    return Namespace(
        host=[HOST],
        port="0",
        debug=False,
        cert=None,
        key=None,
        tls=False,
        passlib_cfg=None,
        proxy_protocol=None,
        inherited_sockets=None,
        demo_data=False,
        demo_user="",
        demo_password="",
        base_dir=None,
        concurrency=None,
        insecure_login=True,
    )
