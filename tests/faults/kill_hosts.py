"""Two hosts share a fleet, and one of them is killed at random moments: `python -m tests.faults.kill_hosts`.

Each round has new accounts, a real Dovecot, a radosgw and a PostgreSQL, which logs every claim. It ends with an
assertion if an account was worked on by two at once, a message is missing or there twice, or an exit code is wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.faults.attempts import wait_for
from tests.faults.hosts import Fleet
from tests.pipelines.luigid import Central
from tests.servers import radosgw
from tests.servers.dovecot import Dovecot
from tests.servers.postgresql import Postgresql

_LOG = """
CREATE TABLE archiver.claimed (account text, before text, after text, was_valid boolean, at timestamptz);
CREATE FUNCTION archiver.log_claim() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.owner IS DISTINCT FROM OLD.owner THEN
    INSERT INTO archiver.claimed VALUES (NEW.account, OLD.owner, NEW.owner,
      OLD.claimed_until > extract(epoch FROM clock_timestamp()), clock_timestamp());
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER log_claim AFTER UPDATE ON archiver.account FOR EACH ROW EXECUTE FUNCTION archiver.log_claim();
GRANT ALL ON archiver.claimed TO archiver;
"""


def _round(fleet: Fleet, luigid: Central | None, moment: float, database: str) -> str:
    """Kill a host at a moment; returns what was seen."""
    fleet.host("first").run("worker", str(fleet.configs), "--once", "--only", fleet.names[0])  # makes the ledger
    fleet.postgresql.psql(_LOG, fleet.database)
    line = ["run", str(fleet.configs), "--workers", "2", "--json"]
    line += ["--scheduler-url", luigid.url] if luigid is not None else []
    one, other = (fleet.host(name).start(*line) for name in ("a", "b"))
    wait_for(lambda: len(fleet.claims()) == 4, "both hosts to work")
    time.sleep(moment)
    held = [name for name, owner in fleet.claims().items() if owner.startswith("a:")]
    one.kill()
    one.process.wait()
    killed = time.monotonic()
    if database == "restarted":
        fleet.postgresql.restart()
    if luigid is not None:
        luigid.kill()
        luigid.start()
    code = other.wait()
    assert code == 0, other.said
    assert [each["status"] for each in other.document["accounts"]] == ["complete"] * len(fleet.names)
    stolen = fleet.postgresql.psql(
        "SELECT * FROM archiver.claimed WHERE before IS NOT NULL AND after IS NOT NULL AND was_valid",
        fleet.database,
    )
    assert stolen == "", stolen
    fleet.assert_arrived()
    return f"killed after {moment:.2f} s with {held}; the other ended {time.monotonic() - killed:.1f} s later"


def main() -> None:
    """Kill hosts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--accounts", type=int, default=6)
    parser.add_argument("--messages", type=int, default=80)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    options = parser.parse_args()
    moments = random.Random(options.seed)
    print(f"seed {options.seed}")
    root = Path(tempfile.mkdtemp(prefix="hosts", dir="/dev/shm"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        dovecot, postgresql = stack.enter_context(Dovecot()), stack.enter_context(Postgresql())
        endpoint = stack.enter_context(radosgw.shared(root)).http
        os.environ |= endpoint.environment()
        luigid = Central(root)
        luigid.start()
        stack.callback(luigid.kill)
        for number in range(options.rounds):
            fleet = Fleet(root / str(number), dovecot, endpoint, postgresql, [options.messages] * options.accounts)
            shown, database = (luigid if number % 2 else None), ("restarted" if number % 3 == 2 else "")
            seen = _round(fleet, shown, moments.uniform(0, 6), database)
            print(f"{number}: {seen}{', with luigid' * bool(shown)}{', PostgreSQL ' * bool(database)}{database}",
                  flush=True)  # fmt: skip
            fleet.end()
            shutil.rmtree(fleet.root)


if __name__ == "__main__":
    main()
