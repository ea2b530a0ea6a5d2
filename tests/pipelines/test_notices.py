"""Notices: who gets one, what is in it, and that nothing of it harms a run. A mail server and an HTTP server get
them as anybody's would."""

from __future__ import annotations

import hashlib
import hmac
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from archiver.config.references import Program
from archiver.config.tables.notify import MailSettings, MetricsSettings, NotifySettings
from pipelines.notify.apart import deliver_all
from pipelines.notify.channel import Channel, Undelivered
from pipelines.notify.mail import Mail
from pipelines.notify.notice import Notice
from pipelines.notify.occasion import News, news_of, next_outcome, told_to
from pipelines.notify.outcomes import Outcome
from pipelines.notify.program import OwnProgram
from pipelines.notify.results import Result, Watched
from pipelines.notify.webhook import Webhook
from tests.accounts import ARCHIVER, PROJECT, account_file
from tests.faults.unprivileged import run_lines
from tests.patience import PATIENCE
from tests.servers.certificates import Certificates
from tests.servers.receivers import PASSWORD, USER, MailReceiver, WebReceiver
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer, Session

Scripted = Callable[..., ScriptedServer]
SECRET = "the-shared-s3cret"


@pytest.fixture
def server(scripted: Scripted) -> ScriptedServer:
    folder = ScriptedFolder()
    folder.add(ScriptedMessage(b"Subject: hello\r\n\r\nhello\r\n"))
    return scripted({b"INBOX": folder})


@pytest.fixture
def web() -> Iterator[WebReceiver]:
    with WebReceiver() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch, certificates: Certificates) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.good.ca))
    monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)
    monkeypatch.setenv("HOOK_SECRET", SECRET)


class Fleet:
    """A folder of accounts; `write` makes or changes one, and `run` runs all of them."""

    def __init__(self, directory: Path, server: ScriptedServer) -> None:
        self.directory, self._server = directory, server

    def write(self, name: str, **keys: Any) -> Path:
        archive = str(self.directory / "archives" / name)
        return account_file(self.directory, self._server, "u1", name=name, archive__path=archive, **keys)

    def break_login(self, name: str) -> None:
        (self.directory / f"{name}.password").unlink()

    def notify(self, text: str) -> None:
        (self.directory / "defaults.toml").write_text(f"[notify]\n{text}\n")

    def run(self, *options: str) -> tuple[int, str]:
        ((code, said),) = run_lines(["run", self.directory, "--quiet", *options])
        return code, said


@pytest.fixture
def fleet(tmp_path: Path, server: ScriptedServer) -> Fleet:
    made = Fleet(tmp_path / "configs", server)
    for name in ("good", "bad"):
        made.write(name)
    made.break_login("bad")
    return made


def inline(table: dict[str, Any]) -> str:
    values = (
        f"{key} = {inline(value) if isinstance(value, dict) else json.dumps(value)}" for key, value in table.items()
    )
    return f"{{ {', '.join(values)} }}"


class TestMail:
    @pytest.mark.parametrize("tls", ["implicit", "starttls", "off"])
    def test_names_what_failed_once(self, fleet: Fleet, certificates: Certificates, tls: str) -> None:
        with MailReceiver(certificates.good, tls) as mail:
            fleet.notify(f"mail = {inline(mail.keys())}")

            code, said = fleet.run()

        assert (code, "notice not" in said) == (2, False), said
        (one,) = mail.arrived
        assert (one.tls, one.user) == ((False, None) if tls == "off" else (True, USER))
        assert (one.sender, one.to) == ("archiver@example.org", ["ops@example.org", "root@example.org"])
        assert one.message["Subject"].startswith("archiver: 1 of 2 accounts is not complete: bad (")
        assert one.message["Auto-Submitted"] == "auto-generated"
        text = one.message.get_content().replace("\r\n", "\n")
        assert "bad: failed, exit code 2\n  password of u1:" in text
        assert "good" not in text

    @pytest.mark.parametrize(
        ("certificate", "change", "why"),
        [
            ("untrusted", {}, "the certificate is not trusted: unable to get local issuer certificate"),
            ("expired", {}, "the certificate is not trusted: certificate has expired"),
            ("good", {"user": "somebody"}, "the login was refused: 535"),
            ("good", {"tls": "off", "user": None, "password": None}, "the server says: 530"),
        ],
    )
    def test_a_server_that_is_not_the_right_one_gets_nothing(
        self, fleet: Fleet, certificates: Certificates, certificate: str, change: dict[str, Any], why: str
    ) -> None:
        with MailReceiver(getattr(certificates, certificate), "starttls") as mail:
            keys = {key: value for key, value in mail.keys(**change).items() if value is not None}
            fleet.notify(f"mail = {inline(keys)}")

            code, said = fleet.run()

        (line,) = [line for line in said.splitlines() if "notice not" in line]
        assert (code, mail.arrived) == (2, [])
        assert line.startswith("archiver: notice not delivered: mail to ops@example.org, root@example.org by")
        assert why in line
        assert PASSWORD not in said

    def test_a_server_that_offers_no_starttls_gets_nothing(self, fleet: Fleet, certificates: Certificates) -> None:
        with MailReceiver(certificates.good, "off") as mail:
            login = {"user": USER, "password": {"env": "SMTP_PASSWORD"}}
            fleet.notify(f"mail = {inline(mail.keys(tls='starttls', **login))}")

            code, said = fleet.run()

        assert (code, mail.arrived) == (2, [])
        assert "STARTTLS extension not supported by server; check [notify.mail] tls" in said

    def test_recipients_that_are_refused_are_named(self, fleet: Fleet, certificates: Certificates) -> None:
        with MailReceiver(certificates.good, "off") as mail:
            mail.answer = "550 no such user \x1b[2J"
            fleet.notify(f"mail = {inline(mail.keys())}")

            code, said = fleet.run()

        assert code == 2
        assert "not accepted for ops@example.org: 550 no such user \\x1b[2J" in said

    def test_a_name_of_an_account_cannot_add_a_header(
        self, fleet: Fleet, certificates: Certificates, tmp_path: Path
    ) -> None:
        (fleet.directory / "x\r\nBcc: eve@example.org\r\n\r\nhello.toml").write_text("[source]\n")
        fleet.break_login("good")
        with MailReceiver(certificates.good, "off") as mail:
            fleet.notify(f"mail = {inline(mail.keys())}")

            fleet.run()

        (one,) = mail.arrived
        assert one.to == ["ops@example.org", "root@example.org"]
        assert one.message["Bcc"] is None
        assert "Bcc: eve@example.org" in one.message["Subject"]
        assert "\n" not in one.message["Subject"]


class TestOccasions:
    def test_a_failure_is_told_once_for_each_run(self, fleet: Fleet, web: WebReceiver) -> None:
        fleet.notify(f'webhook = "{web.url}/hook"')

        codes = [fleet.run("--run", run)[0] for run in ("night-1", "night-1", "night-2")]

        assert codes == [2, 2, 2]
        assert [json.loads(each.body)["accounts"][0]["run"] for each in web.asked] == ["night-1", "night-2"]

    def test_a_change_is_told_once(self, fleet: Fleet, web: WebReceiver) -> None:
        fleet.notify(f'on = ["change"]\nwebhook = "{web.url}/hook"')

        fleet.run()
        fleet.run()
        fleet.write("bad")
        fleet.run()
        fleet.run()

        told = [json.loads(each.body) for each in web.asked]
        assert [[(each["account"], each["change"], each["was"]) for each in one["accounts"]] for one in told] == [
            [("bad", "failed", None)],
            [("bad", "recovered", "failed")],
        ]
        assert told[1]["subject"].startswith("archiver: 1 of 2 accounts is complete again: bad (")

    def test_a_digest_is_one_for_the_whole_command(self, fleet: Fleet, web: WebReceiver) -> None:
        fleet.notify(f'on = ["failure", "digest"]\nwebhook = "{web.url}/hook"')
        fleet.run()

        (one,) = [json.loads(each.body) for each in web.asked]
        assert one["occasions"] == ["failure", "digest"]
        assert one["counts"] == {"accounts": 2, "complete": 1, "failed": 1}
        assert [(each["account"], each["exit_code"]) for each in one["accounts"]] == [("bad", 2), ("good", 0)]
        assert one["text"].endswith("\n\ngood: complete, 1 message held, 25 B; 1 fetched\n")

    def test_what_could_not_be_told_is_told_by_the_next_run(self, fleet: Fleet, web: WebReceiver) -> None:
        fleet.notify(f'on = ["change"]\nwebhook = "{web.url}/hook"')
        web.status = 500

        _, said = fleet.run()
        web.status = 200
        fleet.run()

        assert "it answers HTTP status 500" in said
        assert [json.loads(each.body)["accounts"][0]["change"] for each in web.asked] == ["failed", "failed"]

    def test_an_account_file_with_a_mistake_is_told_too(self, fleet: Fleet, web: WebReceiver) -> None:
        fleet.notify(f'webhook = "{web.url}/hook"')
        (fleet.directory / "bad.toml").write_text("[source]\nhost =\n")

        fleet.run()
        ((code, _),) = run_lines(["archive", fleet.directory / "bad.toml"])

        assert code == 2
        assert [json.loads(each.body)["verb"] for each in web.asked] == ["run", "archive"]
        assert all("is not TOML" in json.loads(each.body)["accounts"][0]["cause"] for each in web.asked)

    def test_an_account_may_have_somebody_of_its_own(self, fleet: Fleet, web: WebReceiver) -> None:
        fleet.notify(f'webhook = "{web.url}/all"')
        fleet.write("bad", notify__webhook=f"{web.url}/bad")
        fleet.break_login("bad")
        fleet.write("worse")
        fleet.break_login("worse")

        fleet.run()

        told = {each.path: [one["account"] for one in json.loads(each.body)["accounts"]] for each in web.asked}
        assert told == {"/all": ["worse"], "/bad": ["bad"]}


def of(exit_code: int, before: Outcome, run: str | None = "new") -> News:
    watched = Watched("alice", Path("/configs/alice.toml"), NotifySettings(), MetricsSettings())
    return news_of(Result(watched, exit_code, run=run), before)


NOTHING, GOOD, BAD = Outcome(), Outcome(True, "then", "old", 0), Outcome(False, "then", "old", 5)


@pytest.mark.parametrize(
    ("exit_code", "before", "occasions"),
    [
        (0, NOTHING, []),
        (5, NOTHING, ["failure", "change"]),
        (0, GOOD, []),
        (3, GOOD, ["failure", "change"]),
        (75, GOOD, ["failure", "change"]),
        (5, BAD, ["failure"]),
        (0, BAD, ["change"]),
        (7, GOOD, ["failure"]),  # another run is at work, which says nothing about the account
        (143, GOOD, []),
        (143, BAD, []),
    ],
)
def test_what_is_an_occasion(exit_code: int, before: Outcome, occasions: list[str]) -> None:
    news = of(exit_code, before)
    after = next_outcome(news, "now")

    assert told_to(("failure", "change"), [news])[0] == occasions
    assert told_to(("digest",), [news]) == (["digest"], [news])
    assert told_to(("failure", "change", "digest"), [of(exit_code, after)]) == ([], [])  # the same run once more
    assert (after.since == "now") == ("change" in occasions or before is NOTHING)


class TestWebhook:
    def test_is_signed(self, fleet: Fleet, certificates: Certificates) -> None:
        with WebReceiver(certificates.good) as web:
            fleet.notify(f'webhook = "{web.url}/hooks/archiver"\nwebhook_secret = {{ env = "HOOK_SECRET" }}')

            code, said = fleet.run()

        (one,) = web.asked
        expected = hmac.new(SECRET.encode(), one.body, hashlib.sha256).hexdigest()
        assert (code, "notice not" in said) == (2, False)
        assert one.headers["X-Archiver-Signature"] == f"sha256={expected}"
        assert one.headers["Content-Type"] == "application/json"
        assert json.loads(one.body)["format"] == "archiver-notice/1"
        assert json.loads(one.body)["subject"].startswith("archiver: ")

    def test_to_somebody_else_sends_nothing(self, fleet: Fleet, certificates: Certificates) -> None:
        with WebReceiver(certificates.untrusted) as web:
            fleet.notify(f'webhook = "{web.url}/a-path-that-is-secret"')

            code, said = fleet.run()

        assert (code, web.asked) == (2, [])
        assert "the certificate is not trusted" in said
        assert "a-path-that-is-secret" not in said

    def test_an_answer_that_repeats_our_secrets_shows_none(self, fleet: Fleet, web: WebReceiver) -> None:
        fleet.notify(f'webhook = "{web.url}/a-path-that-is-secret"\nwebhook_secret = {{ env = "HOOK_SECRET" }}')
        web.status, web.words = 403, b"no /a-path-that-is-secret\r\n and no " + SECRET.encode() + b"\x1b[31m"

        _, said = fleet.run()

        assert "it answers HTTP status 403: no *** and no ***\\x1b[31m" in said


class TestCommand:
    def test_gets_the_notice_without_a_shell(self, fleet: Fleet, tmp_path: Path) -> None:
        program = tmp_path / "notify me"
        program.write_text(f'#!/bin/sh\ncat >"{tmp_path}/got"\nprintf "%s\\n" "$@" >"{tmp_path}/arguments"\n')
        program.chmod(0o700)
        fleet.notify(f"command = {json.dumps([str(program), '$(id)', 'a b'])}")

        code, said = fleet.run()

        assert (code, "notice not" in said) == (2, False)
        assert (tmp_path / "arguments").read_text() == "$(id)\na b\n"
        assert json.loads((tmp_path / "got").read_text())["accounts"][0]["account"] == "bad"

    def test_that_fails_is_one_line(self, fleet: Fleet) -> None:
        fleet.notify('command = ["sh", "-c", "echo it hurts >&2; exit 3"]')

        code, said = fleet.run()

        assert code == 2
        assert "notice not delivered: command sh: ended with status 3: it hurts; run it by hand" in said


class TestPing:
    def test_comes_at_the_start_and_at_the_end(self, fleet: Fleet, web: WebReceiver) -> None:
        fleet.notify(f'on = []\nping = "{web.url}/0a1b/{{account}}?x=1"')

        fleet.run()

        asked = [each.path for each in web.asked]
        assert sorted(asked[:2]) == ["/0a1b/bad/start?x=1", "/0a1b/good/start?x=1"]
        assert sorted(asked[2:]) == ["/0a1b/bad/fail?x=1", "/0a1b/good?x=1"]
        assert b"password of u1" in next(each.body for each in web.asked if each.path == "/0a1b/bad/fail?x=1")


class TestARunThatIsStopped:
    def test_pings_that_it_did_not_end_well_and_is_no_failure(
        self, scripted: Scripted, web: WebReceiver, tmp_path: Path
    ) -> None:
        folder = ScriptedFolder()
        folder.add(*(ScriptedMessage(b"Subject: %d\r\n\r\nhello\r\n" % number) for number in range(3)))
        server = scripted({b"INBOX": folder})
        reached, over = threading.Event(), threading.Event()

        def stall(line: bytes, tag: bytes, session: Session) -> bytes | None:
            if b"BODY" not in line:
                return None
            reached.set()
            over.wait(PATIENCE)
            return None

        server.on(b"UID FETCH", stall)
        server.on(b"FETCH", stall)
        (tmp_path / "defaults.toml").write_text(f'[notify]\nping = "{web.url}/p"\nwebhook = "{web.url}/hook"\n')
        config = account_file(tmp_path, server, "u1")
        with subprocess.Popen(
            [sys.executable, *ARCHIVER, "run", config], cwd=PROJECT, stderr=subprocess.PIPE
        ) as process:
            assert reached.wait(PATIENCE)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=PATIENCE)
        over.set()

        assert (process.returncode, [each.path for each in web.asked]) == (143, ["/p/start", "/p/fail"]), said


class TestWhatGoesWrongHere:
    def test_harms_no_run(self, fleet: Fleet, web: WebReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
        fleet.write("bad")
        fleet.notify(f'on = ["digest"]\nwebhook = "{web.url}/hook"')
        (fleet.directory / "outcomes.json").write_bytes(b"\xff no JSON")
        assert fleet.run()[0] == 0
        (fleet.directory / "outcomes.json").unlink()
        (fleet.directory / "outcomes.json").mkdir()

        code, said = fleet.run()

        assert (code, len(web.asked)) == (0, 2)
        assert f"{fleet.directory}: what was told cannot be noted here (Is a directory)" in said


class TestNobodyIsKeptWaiting:
    @pytest.mark.parametrize("how", ["silent", "trickle", "no greeting", "program"])
    def test_by_somebody_who_never_answers(self, web: WebReceiver, tmp_path: Path, how: str) -> None:
        program = f"echo $$ >{tmp_path}/pid; trap : TERM; sleep 600 & wait; sleep 600"
        web.status = how if how == "trickle" else "silent"
        receivers: dict[str, Channel] = {
            "no greeting": Mail(
                MailSettings(host="localhost", port=web.port, tls="off", sender="a@x.example", to=("b@x.example",))
            ),
            "program": OwnProgram(Program(("sh", "-c", program))),
        }
        late = receivers.get(how, Webhook(f"{web.url}/hook", None))
        notice = Notice("subject", "text\n", {"format": "archiver-notice/1"}, failed=True)
        began = time.monotonic()

        answer, good = deliver_all([(late, notice), (OwnProgram(Program(("true",))), notice)], seconds=1.5)

        assert time.monotonic() - began < 10
        assert good == "ended well"
        assert isinstance(answer, Undelivered)
        assert str(answer) == "not delivered within 1.5 seconds"
        if how == "program":
            assert is_dead(int((tmp_path / "pid").read_text()))


def is_dead(process: int) -> bool:
    """Whether it has ended, also if nobody has heard of it yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


class TestCheck:
    def test_says_where_notices_would_go_and_sends_none(self, fleet: Fleet, web: WebReceiver) -> None:
        fleet.write("bad")
        fleet.notify(f'on = ["failure", "change"]\nwebhook = "{web.url}/a-path-that-is-secret"\ncommand = ["true"]')

        ((code, said), (_, as_json)) = run_lines(["check", fleet.directory], ["check", fleet.directory, "--json"])

        assert (code, web.asked) == (0, [])
        assert f"notices: webhook at {web.url}, not signed, on failure and change (2 accounts)" in said
        assert "notices: command true, on failure and change (2 accounts)" in said
        document, _ = json.JSONDecoder().raw_decode(as_json)
        assert [each["accounts"] for each in document["notify"]] == [["bad", "good"]] * 2

    def test_sends_a_test_if_asked_to(self, fleet: Fleet, web: WebReceiver, certificates: Certificates) -> None:
        fleet.write("bad")
        with MailReceiver(certificates.good, "implicit") as mail:
            fleet.notify(
                f"mail = {inline(mail.keys())}\n"
                f'webhook = "{web.url}/hook"\nping = "{web.url}/ping"\ncommand = ["false"]'
            )

            ((code, said),) = run_lines(["check", "--notify", fleet.directory])

        assert code == 5
        assert f"by localhost:{mail.port} (TLS), on failure (2 accounts): accepted" in said
        assert f"webhook at {web.url}, not signed, on failure (2 accounts): HTTP status 200" in said
        assert "archiver: command false: ended with status 1; run it by hand" in said
        assert mail.arrived[0].message["Subject"].startswith("archiver: a test notice (")
        assert sorted(each.path for each in web.asked) == ["/hook", "/ping/log"]
