"""What happens to an account between two nights: 1 % new, 1 % other flags, 0.5 % expunged."""

from __future__ import annotations

import random
from collections import defaultdict

from tests.servers.dovecot import Dovecot
from tests.servers.mailbox_generator import GeneratedAccount
from tests.servers.wire import Append

_DATE = "17-Nov-2025 10:00:00 +0000"


def change(server: Dovecot, user: str, account: GeneratedAccount, seed: int = 7) -> tuple[int, int, int]:
    """Change the account, the same way every time; how many are new, changed and expunged."""
    chance = random.Random(seed)
    count = len(account.messages)
    picked = chance.sample(account.messages, count * 15 // 1000)
    changed, expunged = picked[: count // 100], picked[count // 100 :]
    flags: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for number, message in enumerate(changed):
        flag = ("\\Flagged", "\\Answered", "project-x")[number % 3]
        flags[message.folder, "-" if flag in message.flags else "+", flag].append(message.uid)
    for (folder, mode, flag), uids in flags.items():
        server.store_flags(user, folder, uids, [flag], mode)
    gone: dict[str, list[int]] = defaultdict(list)
    for message in expunged:
        gone[message.folder].append(message.uid)
    for folder, uids in gone.items():
        server.expunge(user, folder, uids)
    new: dict[str, list[Append]] = defaultdict(list)
    for number in range(count // 100):
        new[chance.choice(account.folders)].append(_message(chance, number))
    for folder, messages in new.items():
        server.append_many(user, folder, messages)
    return count // 100, len(changed), len(expunged)


def _message(chance: random.Random, number: int) -> Append:
    size = int(min(200_000, chance.lognormvariate(9, 1.5)))
    lines = "".join("".join(chance.choices("abcdefghij klmnop", k=70)) + "\r\n" for _ in range(size // 72))
    head = f"From: a@b.example\r\nMessage-ID: <new-{number}@bench.example>\r\nSubject: new {number}\r\n\r\n"
    return Append((head + lines).encode(), ["\\Seen"] if number % 2 else [], _DATE)
