"""kill -9 while files are read, which change in between: in the end each message is in the archive, once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.accounts import archive_of, assert_whole, mail, run
from tests.faults.attempts import SMALL_BATCHES, Attempt
from tests.mail_files import MBOXES, maildir
from tests.servers.test_files import digests, files_account, held

KILLS = 6


@pytest.mark.lasts(15)
@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    box = maildir(tmp_path / "mail" / "box", [mail(n, body="x" * chance.randrange(4000)) for n in range(300)])
    spool = tmp_path / "mail" / "spool"
    spool.write_bytes(MBOXES["mboxrd"]([mail(n) for n in range(1000, 1300)]))
    config = files_account(tmp_path, tmp_path / "mail", archive__durability="batch")
    kills = new = 0
    for _ in range(3 * KILLS):
        attempt = Attempt(config, program=SMALL_BATCHES)
        if chance.random() < 0.9:
            attempt.begun()
        if attempt.ends_within(chance.uniform(0, 1.5)):
            attempt.end()
        else:
            attempt.kill(group=chance.random() < 0.5)
            kills += 1
        for path in chance.sample(sorted((box / "cur").iterdir()), 20):
            path.rename(path.with_name(f"1{chance.randrange(10**9):09}.again:2,{chance.choice(['', 'S', 'FS'])}"))
        for _ in range(5):
            new += 1
            (box / "new" / f"1{chance.randrange(10**9):09}.{new}").write_bytes(mail(5000 + new))
        with spool.open("ab") as end:
            end.write(MBOXES["mboxrd"]([mail(9000 + new)]))
        if kills == KILLS:
            break
    assert run(config).balanced
    state = assert_whole(archive_of(config))
    assert all(message.present for message in state.messages.values())
    assert held(config, b"box") == digests([path.read_bytes() for path in box.rglob("*") if path.is_file()])
    assert sum(held(config, b"spool").values()) == spool.read_bytes().count(b"\nMessage-ID: ")
    assert run(config).total("fetched", "vanished", "flags_changed") == (0, 0, 0)
