"""The numbers for Prometheus: what they say after a run, also if others write them, and that Prometheus takes them;
with the alert rules and the dashboard that are shipped for them."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archiver.config.tables.notify import MetricsSettings, NotifySettings
from pipelines.notify.metrics import write_metrics
from pipelines.notify.results import Result, Watched
from pipelines.notify.samples import FAMILIES, Counts, Samples, exposition, samples_in
from tests.accounts import PROJECT, account_file
from tests.faults.unprivileged import run_lines
from tests.patience import PATIENCE
from tests.servers.scripted import DESTINATION, ScriptedFolder, ScriptedMessage, ScriptedServer, Session

Scripted = Callable[..., ScriptedServer]
UNPACKED = Path("/var/lib/mail-archiver-tests/prometheus/usr/bin/promtool")
EXAMPLES = PROJECT / "configs" / "examples" / "monitoring"


@pytest.fixture(scope="module")
def promtool() -> str:
    found = str(UNPACKED) if UNPACKED.exists() else shutil.which("promtool")
    if found is None:
        message = "promtool: not installed (.ci/install-servers unpacks it)"
        if os.environ.get("CI"):
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return found


def checked(promtool: str, *arguments: str | Path, given: str | None = None) -> None:
    done = subprocess.run(
        [promtool, *map(str, arguments)], input=given, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


def mail(count: int, **oddity: Any) -> dict[bytes, ScriptedFolder]:
    folder = ScriptedFolder()
    for number in range(count):
        octets = b"Message-ID: <%d@x>\r\n\r\n%d\r\n" % (number, number)
        folder.add(ScriptedMessage(octets, **(oddity if number == 0 else {})))
    return {b"INBOX": folder}


def value(samples: Samples, name: str, account: str) -> float | None:
    found = [each for (its, labels), each in samples.items() if its == name and dict(labels)["account"] == account]
    return found[0] if found else None


def result(directory: Path, name: str, exit_code: int = 0, textfile: Path | None = None, **report: Any) -> Result:
    file = directory / f"{name}.toml"
    file.touch()
    metrics = MetricsSettings(textfile=textfile or directory / "archiver.prom")
    return Result(Watched(name, file, NotifySettings(), metrics), exit_code, run="r", document=report)


def written(directory: Path, *results: Result) -> Samples:
    said: list[str] = []
    write_metrics(results, Counts(), said.append)
    assert said == []
    return samples_in((directory / "archiver.prom").read_text())


class TestAfterARun:
    def test_they_say_what_the_report_says(self, scripted: Scripted, tmp_path: Path, promtool: str) -> None:
        there = scripted(writable=True, capabilities=DESTINATION)
        target = {"host": there.host, "port": there.port, "tls": "off", "user": "u1", "attempts": 1}
        target |= {"password": {"file": str(tmp_path / "good.password")}}
        keys = {f"destination__{name}": each for name, each in target.items()}
        for name, count, more in (("good", 3, keys), ("odd", 2, {})):
            server = scripted(mail(count, **({"fetch": "nil"} if name == "odd" else {})))
            account_file(tmp_path, server, "u1", name=name, archive__path=str(tmp_path / "a" / name), **more)
        (tmp_path / "defaults.toml").write_text('[metrics]\ntextfile = "archiver.prom"\n')
        began = time.time()

        (code, _), _ = run_lines(["run", tmp_path], ["run", tmp_path])

        text = (tmp_path / "archiver.prom").read_text()
        found = samples_in(text)
        checked(promtool, "check", "metrics", given=text)
        assert code == 3
        assert [
            value(found, f"archiver_{name}", "good") for name in ("messages", "failures", "last_run_exit_code")
        ] == [
            3,
            0,
            0,
        ]
        assert [value(found, f"archiver_{name}", "odd") for name in ("quarantined_messages", "failures")] == [1, 1]
        assert value(found, "archiver_sent_messages_total", "good") == 3
        assert value(found, "archiver_fetched_messages_total", "good") == 3  # the second run fetched nothing
        assert value(found, "archiver_pending_messages", "good") == 0
        assert value(found, "archiver_pending_messages", "odd") is None
        assert value(found, "archiver_last_success_timestamp_seconds", "good") == pytest.approx(began, abs=60)
        assert value(found, "archiver_last_success_timestamp_seconds", "odd") == 0
        assert value(found, "archiver_last_success_age_seconds", "odd") is None
        assert re.search(r'^archiver_last_success_timestamp_seconds\{account="good"\} \d+$', text, re.MULTILINE)
        assert stat.S_IMODE((tmp_path / "archiver.prom").stat().st_mode) == 0o644

    def test_throttles_are_counted_over_all_runs(self, scripted: Scripted, tmp_path: Path) -> None:
        server = scripted(mail(1))
        slowed = [0]

        def answer(line: bytes, tag: bytes, session: Session) -> bytes | None:
            if b"BODY" not in line or slowed[0] == 2:
                return None
            slowed[0] += 1
            return tag + b" BAD Request is throttled. Suggested Backoff Time: 10 milliseconds\r\n"

        server.on(b"UID FETCH", answer)
        config = account_file(
            tmp_path, server, "u1", metrics__textfile="archiver.prom", source__connections=1, source__attempts=4
        )

        (code, _), _ = run_lines(["run", config], ["run", config])

        found = samples_in((tmp_path / "archiver.prom").read_text())
        assert code == 0
        assert value(found, "archiver_throttles_total", "u1") == 2

    def test_a_success_before_there_were_numbers_is_known(self, scripted: Scripted, tmp_path: Path) -> None:
        server = scripted(mail(1))
        config = account_file(tmp_path, server, "u1")
        run_lines(["run", config])
        account_file(tmp_path, server, "u1", metrics__textfile=str(tmp_path / "archiver.prom"))
        (tmp_path / "u1.password").unlink()

        ((code, _),) = run_lines(["run", config])

        found = samples_in((tmp_path / "archiver.prom").read_text())
        assert code == 2
        assert value(found, "archiver_last_success_timestamp_seconds", "u1") == pytest.approx(time.time(), abs=60)
        assert value(found, "archiver_last_run_exit_code", "u1") == 2


class TestSeveralCommands:
    def test_leave_each_other_their_accounts(self, tmp_path: Path) -> None:
        threads = [
            threading.Thread(target=written, args=(tmp_path, result(tmp_path, f"account{number}")))
            for number in range(24)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        found = samples_in((tmp_path / "archiver.prom").read_text())

        assert [value(found, "archiver_account_info", f"account{number}") for number in range(24)] == [1] * 24

    def test_what_a_run_does_not_know_stays(self, tmp_path: Path) -> None:
        totals = {"stored": 7, "stored_bytes": 700, "quarantined": 0, "destination": None}
        ended = {"started": "2026-11-28T01:00:00Z", "finished": "2026-11-28T01:01:00Z"}
        written(tmp_path, result(tmp_path, "alice", totals=totals, folders=[{}], failures=[], **ended))

        found = written(tmp_path, result(tmp_path, "alice", exit_code=2))

        assert (value(found, "archiver_messages", "alice"), value(found, "archiver_failures", "alice")) == (7, 1)
        assert value(found, "archiver_last_run_duration_seconds", "alice") == 60
        assert value(found, "archiver_last_success_timestamp_seconds", "alice") == 1795827600 + 60

    def test_an_account_that_is_gone_goes(self, tmp_path: Path) -> None:
        written(tmp_path, result(tmp_path, "alice"), result(tmp_path, "bob"))
        (tmp_path / "alice.toml").unlink()

        found = written(tmp_path, result(tmp_path, "carol"))

        assert [value(found, "archiver_account_info", name) for name in ("alice", "bob", "carol")] == [None, 1, 1]

    def test_another_account_of_that_name_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        written(tmp_path, result(tmp_path, "alice"))
        said: list[str] = []

        other = result(tmp_path / "other", "alice", exit_code=5, textfile=tmp_path / "archiver.prom")
        write_metrics([other], Counts(), said.append)

        found = samples_in((tmp_path / "archiver.prom").read_text())
        assert len(said) == 1
        assert "give one of them a textfile of its own" in said[0]
        assert value(found, "archiver_last_run_exit_code", "alice") == 0

    def test_a_link_in_place_of_the_file_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").write_text("as it was")
        (tmp_path / "archiver.prom").symlink_to(tmp_path / "elsewhere")
        said: list[str] = []

        write_metrics([result(tmp_path, "alice")], Counts(), said.append)

        assert (tmp_path / "elsewhere").read_text() == "as it was"
        assert len(said) == 1
        assert said[0].endswith("; the metrics were not written")

    def test_a_file_that_cannot_be_written_is_one_line(self, tmp_path: Path) -> None:
        said: list[str] = []
        write_metrics(
            [result(tmp_path, "alice", textfile=tmp_path / "no" / "archiver.prom")], Counts(), said.append
        )
        assert said == [f"{tmp_path}/no/archiver.prom: the metrics cannot be written: No such file or directory"]


class TestTheFormat:
    def test_takes_any_name(self, tmp_path: Path, promtool: str) -> None:
        odd = 'a"b\\c\nd,e}'
        found = written(tmp_path, result(tmp_path, odd), result(tmp_path, "bob"))

        text = (tmp_path / "archiver.prom").read_text()

        checked(promtool, "check", "metrics", given=text)
        assert samples_in(exposition(found)) == found
        assert value(found, "archiver_account_info", odd) == 1

    def test_a_file_of_somebody_else_harms_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "archiver.prom").write_bytes(
            b'up 1\narchiver_account_info{account="y"} 1\narchiver_messages{account="x"} nan_\n\xff\n'
            b"archiver_bytes{a 1\n"
        )

        found = written(tmp_path, result(tmp_path, "alice"))

        assert {dict(labels)["account"] for _, labels in found} == {"alice"}
        assert all(math.isfinite(each) for each in found.values())


class TestTheExamples:
    def test_the_rules_are_rules(self, promtool: str) -> None:
        done = subprocess.run(
            [promtool, "check", "rules", EXAMPLES / "archiver-alerts.yml"],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "8 rules found" in done.stdout

    def test_the_rules_find_what_they_are_for(self, promtool: str, tmp_path: Path) -> None:
        (tmp_path / "test.yml").write_text(
            f"rule_files: [{EXAMPLES / 'archiver-alerts.yml'}]\n" + RULES_TEST, encoding="utf-8"
        )
        done = subprocess.run(
            [promtool, "test", "rules", tmp_path / "test.yml"],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    @pytest.mark.parametrize("name", ["archiver-alerts.yml", "archiver-dashboard.json"])
    def test_name_metrics_that_are_there(self, name: str) -> None:
        text = (EXAMPLES / name).read_text(encoding="utf-8")
        named = set(re.findall(r"\barchiver_[a-z_]+", text))
        assert named
        assert named <= FAMILIES.keys()

    def test_the_dashboards_expressions_are_understood(self, promtool: str, tmp_path: Path) -> None:
        document = json.loads((EXAMPLES / "archiver-dashboard.json").read_text(encoding="utf-8"))
        expressions = [target["expr"] for panel in document["panels"] for target in panel["targets"]]
        rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(expressions)]
        (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
        done = subprocess.run(
            [promtool, "check", "rules", tmp_path / "panels.yml"],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(expressions) > 10
        assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])


RULES_TEST = """
evaluation_interval: 15m
tests:
  - interval: 15m
    input_series:
      - series: 'archiver_last_success_timestamp_seconds{account="good", instance="h"}'
        values: '3600+900x200'
      - series: 'archiver_last_success_timestamp_seconds{account="old", instance="h"}'
        values: '3600x200'
      - series: 'archiver_last_run_exit_code{account="a", instance="h"}'
        values: '5x200'
      - series: 'archiver_last_run_exit_code{account="b", instance="h"}'
        values: '5x200'
      - series: 'archiver_last_run_exit_code{account="c", instance="h"}'
        values: '5x200'
      - series: 'archiver_last_run_exit_code{account="stopped", instance="h"}'
        values: '143x200'
      - series: 'archiver_account_info{account="a", server="s", config="", destination="", instance="h"}'
        values: '1x200'
      - series: 'archiver_account_info{account="b", server="s", config="", destination="", instance="h"}'
        values: '1x200'
      - series: 'archiver_account_info{account="c", server="s", config="", destination="", instance="h"}'
        values: '1x200'
    alert_rule_test:
      - eval_time: 24h
        alertname: ArchiverNightMissed
        exp_alerts: []
      - eval_time: 30h
        alertname: ArchiverNightMissed
        exp_alerts:
          - exp_labels: {severity: critical, account: old, instance: h}
            exp_annotations:
              summary: "old has had no complete run for more than 26 hours"
              description: "`archiver status` on h says why."
      - eval_time: 1h
        alertname: ArchiverServerUnreachable
        exp_alerts:
          - exp_labels: {severity: warning, server: s, instance: h}
            exp_annotations:
              summary: "3 accounts cannot reach s, or are refused there"
              description: "One cause is likely: the server, the network, or an admin's password."
      - eval_time: 2h
        alertname: ArchiverNoNumbers
        exp_alerts:
          - exp_labels: {severity: critical}
            exp_annotations:
              summary: "no archiver writes numbers"
              description: "No run has ended, or [metrics] textfile is not where node_exporter reads."
"""
