"""What Dovecot's rawlog says of a user's sessions: the commands, and how many round trips they took."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

Recording = list[tuple[float, str, bytes]]
"""The lines of one session in the order of their time: when, "in" or "out", the octets."""

_STAMP = re.compile(rb"(\d{9,}\.\d{6}) ")


def read(directory: Path) -> list[Recording]:
    """The recorded sessions, in the order in which they began."""
    sessions = []
    for path in sorted(directory.glob("*.in")):
        rows = []
        for way in ("in", "out"):
            for line in path.with_suffix(f".{way}").read_bytes().split(b"\n"):
                if stamp := _STAMP.match(line):
                    rows.append((float(stamp[1]), way, line[stamp.end() :] + b"\n"))
        sessions.append(sorted(rows, key=lambda row: row[:2]))
    return sorted(sessions, key=lambda rows: rows[0][0] if rows else 0)


def commands(sessions: list[Recording]) -> list[bytes]:
    """The commands without tags and literals, session after session."""
    found: list[bytes] = []
    for session in sessions:
        literal, continued = 0, False
        for line in (line for _, way, line in session if way == "in"):
            if literal >= len(line):
                literal -= len(line)
                continue
            rest = line[literal:]
            if continued:
                found[-1] += b" " + rest.strip()
            else:
                found.append(rest.strip().split(b" ", 1)[-1])
            announced = re.search(rb"\{(\d+)\+?\}\r\n\Z", rest)
            literal, continued = int(announced[1]) if announced else 0, announced is not None
    return found


def flights(sessions: list[Recording]) -> int:
    """How often the server heard more after it had spoken."""
    ways = [["out", *(way for _, way, _ in session)] for session in sessions]
    return sum(pair == ("out", "in") for session in ways for pair in itertools.pairwise(session))
