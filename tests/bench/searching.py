"""Searches among many messages: how long each takes, what the index takes to be made, and how large it is."""

from __future__ import annotations

import io
import os
import statistics
import time
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct
from msgspec.structs import replace

from archiver.catalog.sqlite.catalog import SqlCatalog
from archiver.catalog.sqlite.place import SqlitePlace
from archiver.facts.query import Query
from archiver.mail.model import Headers, Placement
from archiver.upkeep.index_contents import index_contents
from tests.accounts import UNSTOPPED
from tests.bench.sayings import Sayings
from tests.bench.sheet import Sheet
from tests.bench.sitting import Sitting
from tests.contracts.catalog import FIRST, INBOX, apply, digest_of, stored
from tests.stored_messages import altered

_MESSAGES, _MANY, _QUICK = 100_000, 1_000_000, 300
_AT_ONCE, _LIMIT, _ROUNDS = 10_000, 101, 5

#: What is looked for, by what it shows.
_QUERIES = {
    "English words": ["the", "object", "invoice", "compulsory", "attribute"],
    "parts of English words": ["ttribut", "bjec", "ing", "th", "e", "zq", "therionated"],
    "German words and parts": ["Einstellungen", "stellung", "Datei", "einstellungschenken", "konnte nicht"],
    "Russian": ["установленное", "файл", "становл", "ъе", "ошибка"],
    "Japanese": ["ファイル", "設定", "字", "指定され", "ディレクトリを開け"],
    "Chinese": ["文件", "无法打开", "设", "误码", "薯"],
    "Korean, Greek, Arabic": ["파일", "없습니다", "을", "αρχείο", "αρχ", "ملف", "خطأ في"],
    "numbers, ids, addresses": ["INV-2024-004711", "004711", "4711", "example.org/t/a", "deadbeef", "ster@example"],
    "phrases": ["mailing list", "the object of", "thering and", "of the same", "class instance method", "is not a"],
    "nowhere": ["xylophonically", "no such sentence is in here", "ᚠᚢ", "~~~", "the the of of the"],
}  # fmt: skip
_OTHERS = {
    "a name's part": Query(attachment=".pdf"),
    "a name": Query(attachment="4711.pdf"),
    "any attachment": Query(attached=True),
    "a word and a sender": Query(body="the", sender="Marster"),
    "a word and half a sender": Query(body="object", sender="ar"),
    "a word and a name": Query(body="object", attachment="pdf"),
    "a word within two days": Query(body="object", since=1_000_000_000 + 86_400, before=1_000_000_000 + 3 * 86_400),
    "a rare word and a subject": Query(body="compulsory", subject="object"),
    "in headers: a word": Query(text="object"),
    "in headers: a sender": Query(sender="marster"),
    "in headers: two letters": Query(text="設定"),
}  # fmt: skip


class _Generated(Struct):
    """A store of sayings; `taken` are seconds of processor time for making them."""

    sayings: Sayings
    numbers: dict[str, int]
    taken: float = 0.0

    def open(self, placement: Placement) -> BinaryIO:
        began = time.process_time()
        file = io.BytesIO(self.sayings.message(self.numbers[placement.digest]))
        self.taken += time.process_time() - began
        return file


def measure(sitting: Sitting) -> Sheet:
    """All searches, some times each."""
    count = _QUICK if sitting.quick else _MANY if sitting.thorough else _MESSAGES
    sheet = Sheet(f"Searches among {count:,} messages", "archiver")
    directory = sitting.directory("searching", count)
    with closing(SqlitePlace(directory / "catalog.sqlite").open()) as catalog:
        store = _fill(catalog, count)
        _index(catalog, store, directory, sheet)
        sheet.note("\n| what | found | CPU ms | wall ms |\n|---|--:|--:|--:|")
        for name, texts in _QUERIES.items():
            for text in texts:
                _search(catalog, f"{name}: `{text}`", Query(body=text), sheet)
        for name, query in _OTHERS.items():
            _search(catalog, name, query, sheet)
    return sheet


def _fill(catalog: SqlCatalog, count: int) -> _Generated:
    sayings, numbers = Sayings(), {}
    apply(catalog, INBOX, FIRST)
    for start in range(1, count + 1, _AT_ONCE):
        facts = []
        for number in range(start, min(start + _AT_ONCE, count + 1)):
            digest = digest_of(str(number))
            numbers[str(digest)] = number
            headers = Headers(sayings.sender(number), "me@example.org", sayings.subject(number), None)
            # Not quite in the order in which they arrived.
            arrived = 1_000_000_000 + 60 * (number ^ 0x3FF)
            facts.append(altered(stored(number), headers=headers, digest=digest, arrived=arrived))
        apply(catalog, *facts)
    return _Generated(sayings, numbers)


def _index(catalog: SqlCatalog, store: _Generated, directory: Path, sheet: Sheet) -> None:
    count = len(store.numbers)
    for _ in catalog.index.cover():
        pass
    began = time.process_time()
    index_contents(catalog.index.contents, store, None, UNSTOPPED)  # type: ignore[arg-type]
    took = time.process_time() - began - store.taken
    texts, headers = ((directory / f"{name}.sqlite").stat().st_size / count / 1000 for name in ("bodies", "search"))
    sheet.note(
        f"{count / took:,.0f} messages a second and core are read into the index ({took:.0f} s of CPU); it takes "
        f"{texts:.2f} KB a message for texts, {headers:.2f} KB for headers"
    )


def _search(catalog: SqlCatalog, name: str, query: Query, sheet: Sheet) -> None:
    found, cpu, walls = 0, list[float](), list[float]()
    query = replace(query, limit=_LIMIT)
    for _ in range(_ROUNDS):
        began, wall = time.process_time(), time.perf_counter()
        found = len(catalog.index.find(query))
        cpu.append(time.process_time() - began)
        walls.append(time.perf_counter() - wall)
    print(f"  {name}: {found}, {1000 * statistics.median(cpu):.0f} ms, load {os.getloadavg()[0]:.1f}", flush=True)
    sheet.note(
        f"| {name} | {found} | {1000 * statistics.median(cpu):.0f} | {1000 * statistics.median(walls):.0f} |"
    )
