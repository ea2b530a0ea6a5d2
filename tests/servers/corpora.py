"""Real messages from public test corpora, where a copy of them lies at hand; they are not part of the project.

`MAIL_CORPORA` names the directory, else `../shared/corpora` next to the project is used. A `MANIFEST.jsonl`
in it has a line for every message: file, number within the file, and what is odd about it.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "corpora"
_MBOX_SEPARATOR = re.compile(rb"(?:\A|(?<=\n))From [^\n]*\n")


@dataclass(frozen=True)
class CorpusMessage:
    """A message as its corpus holds it, line ends untouched; `name` says where it is from."""

    name: str
    octets: bytes
    features: frozenset[str]


def corpora_directory() -> Path | None:
    """Where the corpora are, or None."""
    named = os.environ.get("MAIL_CORPORA")
    directory = Path(named) if named else _BESIDE
    return directory if (directory / "MANIFEST.jsonl").is_file() else None


def corpus_messages() -> list[CorpusMessage]:
    """All messages the manifest names, in its order; none where there are no corpora."""
    directory = corpora_directory()
    if directory is None:
        return []
    messages, boxes = [], {}
    for line in (directory / "MANIFEST.jsonl").read_text().splitlines():
        entry = json.loads(line)
        file, number, features = entry["file"], entry["n"], frozenset(entry["features"])
        if entry["kind"] == "eml":
            messages.append(CorpusMessage(file, (directory / file).read_bytes(), features))
            continue
        if file not in boxes:
            boxes[file] = _MBOX_SEPARATOR.split((directory / file).read_bytes())[1:]
        if number < len(boxes[file]):
            messages.append(CorpusMessage(f"{file}#{number}", boxes[file][number], features))
    return messages
