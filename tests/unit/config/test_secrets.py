"""Every kind of reference gives exactly its secret, and no failure shows it."""

from __future__ import annotations

import logging
import os
import pickle
import sys
from pathlib import Path
from types import ModuleType

import pytest

from archiver.config import secrets as credentials
from archiver.config.secrets import Secret, resolve
from archiver.errors import ConfigError

ALICE = "alice@example.org"
ODD = ["unremarkable", "  blanks  ", "\ttab", "pässwörd ✓", "'\"\\$HOME`x`%s{}", "a=b#c;d", "\\n", "\U0001f511"]


def private(folder: Path, octets: bytes) -> str:
    file = folder / "secret"
    file.write_bytes(octets)
    file.chmod(0o600)
    return str(file)


def printing(octets: bytes, *, then: str = "") -> tuple[str, ...]:
    return (sys.executable, "-c", f"import os, sys; os.write(1, {octets!r}); {then}")


def failure(kind: str, value: str | tuple[str, ...]) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        resolve(kind, value, user=ALICE)
    assert raised.value.where == f"password of {ALICE}"
    assert "hunter2" not in f"{raised.value} {raised.value!r} {raised.value.__context__!r}"
    return raised.value


class TestASecret:
    def test_shows_itself_only_when_asked(self) -> None:
        secret = Secret("hunter2")
        assert (str(secret), repr(secret), f"{secret}", f"{[secret]}") == ("***", "***", "***", "[***]")
        assert secret.reveal() == "hunter2"

    def test_is_not_pickled(self) -> None:
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(Secret("hunter2"))


class TestAFileFromWindows:
    @pytest.mark.parametrize("end", [b"", b"\r\n", b"\n"])
    def test_its_byte_order_mark_is_no_part_of_the_password(self, tmp_path: Path, end: bytes) -> None:
        file = private(tmp_path, b"\xef\xbb\xbfhunter2" + end)
        assert resolve("file", file, user=ALICE).reveal() == "hunter2"

    def test_a_mark_alone_is_no_password(self, tmp_path: Path) -> None:
        file = private(tmp_path, b"\xef\xbb\xbf\r\n")
        assert (
            str(failure("file", file))
            == f"password of {ALICE}: {file} is empty; its first line must be the password"
        )

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
    def test_another_encoding_is_named(self, tmp_path: Path, encoding: str) -> None:
        file = private(tmp_path, "hunter2\r\n".encode(encoding))
        assert str(failure("file", file)) == f"password of {ALICE}: {file} is not UTF-8 text"


class TestEnv:
    @pytest.mark.parametrize("password", [*ODD, "two\nlines\n"])
    def test_gives_the_value_exactly(self, monkeypatch: pytest.MonkeyPatch, password: str) -> None:
        monkeypatch.setenv("ALICE_PASSWORD", password)
        assert resolve("env", "ALICE_PASSWORD", user=ALICE).reveal() == password

    def test_not_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("ALICE_PASSWORD", raising=False)
        assert str(failure("env", "ALICE_PASSWORD")) == (
            "password of alice@example.org: the environment variable ALICE_PASSWORD is not set; "
            "export it before the run"
        )

    def test_empty(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ALICE_PASSWORD", "")
        assert failure("env", "ALICE_PASSWORD").problems == ("the environment variable ALICE_PASSWORD is empty",)


class TestFile:
    @pytest.mark.parametrize("password", ODD)
    @pytest.mark.parametrize("end", ["", "\n", "\r\n", "\nuser: alice\n"])
    def test_gives_the_first_line_without_its_end(self, tmp_path: Path, password: str, end: str) -> None:
        file = private(tmp_path, (password + end).encode())
        assert resolve("file", file, user=ALICE).reveal() == password

    def test_not_there(self, tmp_path: Path) -> None:
        problem = f"{tmp_path}/none cannot be read: No such file or directory"
        assert failure("file", f"{tmp_path}/none").problems == (problem,)

    def test_a_pipe_into_which_nobody_writes_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe", 0o600)
        assert "is empty" in str(failure("file", str(tmp_path / "pipe")))

    def test_a_pipe_into_which_somebody_writes_is_read(self, tmp_path: Path) -> None:
        reading, writing = os.pipe()
        os.write(writing, b"hunter2\n")
        try:
            assert resolve("file", f"/dev/fd/{reading}", user=ALICE).reveal() == "hunter2"
        finally:
            os.close(reading)
            os.close(writing)

    def test_empty_in_its_first_line(self, tmp_path: Path) -> None:
        assert failure("file", private(tmp_path, b"\nhunter2")).problems == (f"{tmp_path}/secret is empty",)

    @pytest.mark.parametrize("octets", [b"hunter2\xff", b"hunter2\0"], ids=["8-bit", "nul"])
    def test_no_text(self, tmp_path: Path, octets: bytes) -> None:
        problem = f"{tmp_path}/secret is not UTF-8 text"
        assert failure("file", private(tmp_path, octets)).problems == (problem,)

    @pytest.mark.parametrize(
        ("mode", "deeds"),
        [(0o600, []), (0o400, []), (0o640, ["read"]), (0o604, ["read"]), (0o620, ["change"]), (0o666, ["change"])],
    )
    def test_what_others_can_do_to_it_is_warned_of(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, deeds: list[str]
    ) -> None:
        file = private(tmp_path, b"hunter2")
        Path(file).chmod(mode)
        with caplog.at_level(logging.WARNING):
            assert resolve("file", file, user=ALICE).reveal() == "hunter2"
        assert [message.partition("other users can ")[2].split()[0] for message in caplog.messages] == deeds
        assert "hunter2" not in caplog.text


class TestCommand:
    @pytest.mark.parametrize("password", ODD)
    def test_gives_the_first_line_of_its_output(self, password: str) -> None:
        command = printing(password.encode() + b"\nuser: alice\n")
        assert resolve("command", command, user=ALICE).reveal() == password

    def test_is_no_shell(self) -> None:
        assert resolve("command", ("echo", "$HOME; echo x"), user=ALICE).reveal() == "$HOME; echo x"

    def test_has_no_input(self) -> None:
        command = (sys.executable, "-c", "import sys; print(repr(sys.stdin.read()))")
        assert resolve("command", command, user=ALICE).reveal() == "''"

    def test_that_fails_is_named_with_its_status_and_nothing_else(self, capfd: pytest.CaptureFixture[str]) -> None:
        command = printing(b"hunter2\n", then="os.write(2, b'hunter2'); sys.exit(3)")
        assert str(failure("command", command)) == (
            f"password of {ALICE}: {sys.executable} ended with status 3; run it by hand as the same user to see why"
        )
        assert capfd.readouterr() == ("", "")

    def test_that_is_killed(self) -> None:
        command = printing(b"hunter2", then="os.kill(os.getpid(), 9)")
        assert failure("command", command).problems == (f"{sys.executable} was killed by signal 9",)

    def test_that_hangs_is_ended(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(credentials, "COMMAND_TIMEOUT_SECONDS", 1)
        command = printing(b"hunter2\n", then="import time; time.sleep(60)")
        assert failure("command", command).problems == (f"{sys.executable} did not end within 1 seconds",)

    def test_that_is_not_there(self) -> None:
        assert failure("command", ("/none/such", "hunter2")).problems == (
            "/none/such cannot be run: No such file or directory",
        )

    def test_that_prints_nothing(self) -> None:
        assert failure("command", ("true",)).problems == ("what true prints is empty",)


class TestKeyring:
    """The library asks a desktop's service, so a stand-in for the library's two names answers here."""

    @pytest.fixture
    def entries(self, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], str]:
        entries: dict[tuple[str, str], str] = {}
        errors = ModuleType("keyring.errors")
        vars(errors)["KeyringError"] = type("KeyringError", (Exception,), {})

        def get_password(service: str, user: str) -> str | None:
            if service == "locked":
                raise errors.KeyringError("hunter2")
            return entries.get((service, user))

        keyring = ModuleType("keyring")
        vars(keyring)["get_password"] = get_password
        monkeypatch.setitem(sys.modules, "keyring", keyring)
        monkeypatch.setitem(sys.modules, "keyring.errors", errors)
        return entries

    @pytest.mark.parametrize("password", [*ODD, "two\nlines\n"])
    def test_gives_the_password_of_the_user(self, entries: dict[tuple[str, str], str], password: str) -> None:
        entries["mail", ALICE] = password
        assert resolve("keyring", "mail", user=ALICE).reveal() == password

    @pytest.mark.usefixtures("entries")
    def test_without_an_entry(self) -> None:
        assert str(failure("keyring", "mail")) == (
            f'password of {ALICE}: the keyring has nothing under "mail" for this user; '
            f"`keyring set mail {ALICE}` stores it"
        )

    @pytest.mark.usefixtures("entries")
    def test_that_cannot_be_asked(self) -> None:
        with pytest.raises(ConfigError) as raised:
            resolve("keyring", "locked", user=ALICE)
        assert raised.value.problems == ('the keyring could not be asked for "locked": KeyringError',)
        assert raised.value.__context__ is None

    def test_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "keyring", None)
        assert failure("keyring", "mail").hint == "pip install 'mail-archiver[keyring]'"


def test_an_unknown_kind() -> None:
    assert failure("vault", "x").problems == ('"vault" is not a kind of reference',)
