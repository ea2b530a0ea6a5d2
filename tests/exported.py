"""What an export holds, read with nothing of the archiver's: each form as the documents describe it."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from archiver.mail.dates import internaldate_seconds

Held = tuple[str, frozenset[str], int]
"""A message: digest, flags, and when it arrived, in seconds since 1970."""

_FORMATS = Path(__file__).parents[1] / "docs" / "formats.md"
_LETTERS = {"D": "\\Draft", "F": "\\Flagged", "R": "\\Answered", "S": "\\Seen", "T": "\\Deleted"}


def read_mbox(mbox: Path) -> list[tuple[Mapping[str, Any], bytes]]:
    """The messages of an mbox with the lines of its index, by the program in docs/formats.md."""
    program = next(
        block
        for block in re.findall(r"```python\n(.*?)```", _FORMATS.read_text(encoding="utf-8"), re.DOTALL)
        if "index.jsonl" in block
    )
    names: dict[str, Any] = {"__name__": "read_mbox"}
    exec(program, names)
    return list(names["messages"](mbox))


def held(export: Path) -> dict[bytes, Counter[Held]]:
    """The messages of each folder, by its name on the wire."""
    summary = json.loads((export / "export.json").read_text())
    reader = {"maildir": _maildir, "mbox": _mboxes, "eml": _files}[summary["to"]]
    found = {name.encode("latin-1"): Counter(messages) for name, messages in reader(export)}
    assert sum(each.total() for each in found.values()) == summary["totals"]["messages"]
    return found


def _mboxes(export: Path) -> Iterator[tuple[str, list[Held]]]:
    for index in sorted(export.rglob("*.mbox.index.jsonl")):
        messages = read_mbox(index.with_name(index.name.removesuffix(".index.jsonl")))
        yield _name(index), [_indexed(line, octets) for line, octets in messages]


def _files(export: Path) -> Iterator[tuple[str, list[Held]]]:
    for index in sorted(export.rglob("index.jsonl")):
        lines = [json.loads(line) for line in index.read_text(encoding="ascii").splitlines()[1:]]
        files = {line["file"]: line for line in lines}
        assert {path.name for path in index.parent.iterdir() if path.is_file()} == {*files, "index.jsonl"}
        for name, line in files.items():
            assert int((index.parent / name).stat().st_mtime) == internaldate_seconds(line["internaldate"])
        yield _name(index), [_indexed(line, (index.parent / name).read_bytes()) for name, line in files.items()]


def _name(index: Path) -> str:
    with index.open(encoding="ascii") as lines:
        return str(json.loads(next(lines))["name"])


def _indexed(line: Mapping[str, Any], octets: bytes) -> Held:
    digest = hashlib.sha256(octets).hexdigest()
    assert (digest, len(octets)) == (line["digest"], line["size"])
    return digest, frozenset(line["flags"]), internaldate_seconds(line["internaldate"]) or 0


def _maildir(export: Path) -> Iterator[tuple[str, list[Held]]]:
    for name in sorted(export.rglob("archiver-folder.json")):
        keywords = {}
        if (file := name.with_name("dovecot-keywords")).exists():
            keywords = {chr(97 + int(row.split()[0])): row.split()[1] for row in file.read_text().splitlines()}
        messages = []
        for path in (name.parent / "cur").iterdir():
            flags = frozenset((_LETTERS | keywords)[letter] for letter in path.name.partition(":2,")[2])
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            messages.append((digest, flags, int(path.stat().st_mtime)))
        yield json.loads(name.read_text())["name"], messages
