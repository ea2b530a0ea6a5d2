"""Thousands of quiet accounts of one fleet at a server that only says so: what an account costs, however many there
are, and how much memory they take."""

from __future__ import annotations

import json
import os
from pathlib import Path

from archiver.account.account import Account
from archiver.config.layers import KnownDefaults
from archiver.config.load import load_account
from archiver.control.run import utc_now
from archiver.fleet.fingerprint import Fingerprint
from archiver.fleet.model import RunBegun, RunEnded
from archiver.fleet.open import open_ledger
from archiver.source.numbering import UnrecordedNumbers
from pipelines.fleet.fingerprints import shown_by_source, state_here
from pipelines.fleet.ledgers import enrolled
from tests import reports
from tests.bench.contenders import ARCHIVER, ENVIRONMENT, Contender
from tests.bench.crowd import crowd
from tests.bench.sheet import Sheet
from tests.bench.sitting import Sitting

_ACCOUNTS, _QUICK = (100, 1000, 10_000), (10, 20)
_DEFAULTS = """\
[source]
host = "127.0.0.1"
port = {port}
tls = "off"
user = "{{account}}"
password = {{ env = "BENCH_PASSWORD" }}

[archive]
path = "{path}/{{account}}"
"""


def measure(sitting: Sitting) -> Sheet:
    """All rounds."""
    sheet = Sheet("Thousands of quiet accounts", "archiver")
    with crowd() as port:
        for count in _QUICK if sitting.quick else _ACCOUNTS:
            directory = sitting.directory("simulated", count)
            configs = _fleet(directory, port, count)
            command = (*ARCHIVER, str(configs), "--json", "--quiet")
            log, work = directory / "archiver.json", f"{count:,} simulated accounts"
            for _ in range(sitting.runs):
                sitting.settle()
                sheet.run(work, Contender("archiver", command, log))
                _require_looks_alone(log, count)
            cpu = sheet.cpu(work, "archiver")
            sheet.note(f"{work}: {1000 * (cpu or 0) / count:.1f} ms of CPU an account")
    return sheet


def _fleet(directory: Path, port: int, count: int) -> Path:
    """A fleet whose ledger says that nothing is new; of its archives there is what a look needs."""
    configs, archives = directory / "configs", directory / "archives"
    configs.mkdir()
    (configs / "defaults.toml").write_text(_DEFAULTS.format(port=port, path=archives))
    report = directory / "report.json"
    report.write_text(json.dumps(reports.one_folder()))
    defaults = KnownDefaults()
    os.environ |= ENVIRONMENT
    accounts = []
    for number in range(count):
        file = configs / f"user-{number:05}.toml"
        file.touch()
        account = Account(load_account(file, defaults))
        archive = account.settings.archive.path
        (archive / "journal").mkdir(parents=True)
        (archive / "catalog.sqlite").touch()
        (archive / "runs" / "first").mkdir(parents=True)
        os.link(report, archive / "runs" / "first" / "report.json")
        accounts.append(account)
    source = accounts[0].source.connect_once(UnrecordedNumbers())
    listed = source.list_folders()
    source.close()
    begun, ended, known = [], [], []
    for account in accounts:
        settings, now = account.settings, utc_now()
        assert settings.fleet is not None
        here = state_here(settings, account.medium, None)
        assert here is not None
        shown = Fingerprint.of("first", now, here, shown_by_source(settings, listed), None).text()
        name = settings.fleet.account
        known.append(enrolled(name, settings))
        begun.append(RunBegun(name, "first", "run", now, "bench"))
        ended.append(RunEnded(name, "first", "complete", 0, now, 1.0, fingerprint=shown))
    assert accounts[0].settings.fleet is not None
    ledger = open_ledger(accounts[0].settings.fleet)
    ledger.accounts.enrol(known)
    ledger.accounts.begun(begun)
    ledger.accounts.ended(ended)
    ledger.close()
    return configs


def _require_looks_alone(log: Path, count: int) -> None:
    """
    Raises:
        RuntimeError: an account was opened, so something else was measured.
    """
    text = log.read_text()
    document = json.loads(text[text.index("{\n") :] if not text.startswith("{") else text)
    looked_at = sum(each["nothing_new_since"] == "first" for each in document["accounts"])
    if looked_at != count:
        raise RuntimeError(f"{count - looked_at} of {count} accounts were opened")
