"""A server that repeats our login in whatever it says: no password in what is shown and in no file, only `***`."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.accounts import account_file, run
from tests.servers.scripted import DESTINATION, FULL, ScriptedFolder, ScriptedMessage, ScriptedServer, Session

PASSWORD = 'hunter2 "x\\y of alice'
FORMS = (
    "hunter2",
    "y of alice",
    base64.b64encode(f"\0u1\0{PASSWORD}".encode()).decode().rstrip("="),
    base64.b64encode(PASSWORD.encode()).decode().rstrip("="),
)

Scripted = Callable[..., ScriptedServer]


def said_at_login(session: Session) -> bytes:
    return next(line for line in session.commands if line.split()[0].upper() in (b"LOGIN", b"AUTHENTICATE"))


def tagged(_: bytes, tag: bytes, session: Session) -> bytes:
    return tag + b" NO what is " + said_at_login(session) + b"\r\n"


def alert(_: bytes, tag: bytes, session: Session) -> bytes:
    said = said_at_login(session)
    return b"* NO [ALERT] what is " + said + b"\r\n" + tag + b" BAD [CLIENTBUG] what is " + said[:30] + b"\r\n"


def bye(_: bytes, __: bytes, session: Session) -> bytes:
    return b"* BYE what is " + said_at_login(session) + b"\r\n"


def alone(_: bytes, __: bytes, session: Session) -> bytes:
    return said_at_login(session) + b"\r\n"


def in_base64(_: bytes, tag: bytes, session: Session) -> bytes:
    return tag + b" NO what is " + base64.b64encode(said_at_login(session)) + b"\r\n"


def reported(directory: Path, output: str) -> list[str]:
    """Where the password is: what was shown, and every file but the one that holds it."""
    texts = {"what was shown": output.encode()}
    for path in directory.rglob("*"):
        if path.is_file() and path.suffix not in (".password", ".toml"):
            octets = path.read_bytes()
            texts[path.name] = gzip.decompress(octets) if path.suffix == ".gz" else octets
    return [f"{name}: {form}" for name, text in texts.items() for form in FORMS if form.encode() in text]


def mail() -> dict[bytes, ScriptedFolder]:
    folder = ScriptedFolder()
    for number in range(3):
        folder.add(ScriptedMessage(b"Subject: %d\r\n\r\n%d\r\n" % (number, number)))
    return {b"INBOX": folder, b"Other": ScriptedFolder(2)}


LOGIN, PLAIN = (), ("AUTH=PLAIN",)


@pytest.mark.parametrize(
    ("again", "login"), [(tagged, PLAIN), (alert, LOGIN), (bye, LOGIN), (alone, PLAIN), (in_base64, LOGIN)]
)
def test_at_a_source(
    scripted: Scripted, tmp_path: Path, again: Callable[[bytes, bytes, Session], bytes], login: tuple[str, ...]
) -> None:
    output = ""
    for command in (b"LIST", b"EXAMINE", b"UID FETCH", b"UID SEARCH"):
        server = scripted(mail(), capabilities=(*FULL, *login), users={"u1": PASSWORD})
        server.on(command, again)
        place = tmp_path / command.decode().lower().replace(" ", "-")
        config = account_file(place, server, "u1", source__attempts=1)
        (place / "u1.password").write_text(PASSWORD + "\n")

        ended = run(config, expect=None)

        output += ended.output
        assert reported(place, ended.output + str(ended.report)) == [], command
    assert "***" in output


@pytest.mark.parametrize(("again", "login"), [(tagged, LOGIN), (alert, PLAIN)])
def test_at_a_destination(
    scripted: Scripted, tmp_path: Path, again: Callable[[bytes, bytes, Session], bytes], login: tuple[str, ...]
) -> None:
    output = ""
    source = scripted(mail(), users={"u1": PASSWORD})
    for command in (b"CREATE", b"APPEND", b"UID FETCH"):
        server = scripted(writable=True, capabilities=(*DESTINATION, *login), users={"u1": PASSWORD})
        server.on(command, again)
        place = tmp_path / command.decode().lower().replace(" ", "-")
        keys = {name: getattr(server, name) for name in ("host", "port")} | {"tls": "off", "user": "u1"}
        keys |= {"password": {"file": str(place / "u1.password")}, "attempts": 1}
        config = account_file(place, source, "u1", **{f"destination__{name}": keys[name] for name in keys})
        (place / "u1.password").write_text(PASSWORD + "\n")

        ended = run(config, expect=None)

        output += ended.output + str(ended.report)
        assert reported(place, ended.output + str(ended.report)) == [], command
    assert "***" in output
