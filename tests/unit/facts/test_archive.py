"""Facts survive the journal, whatever they say."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.facts.archive import (
    Fact,
    FlagsFact,
    FolderFact,
    HeadersFact,
    PackedFact,
    StoredFact,
    VanishedFact,
)
from archiver.facts.codec import fact_from_json, fact_to_json
from archiver.mail.folder_names import is_directory
from archiver.mail.model import Digest, Headers, StoredMessage
from tests.contracts.catalog import stored

# Undecodable octets are kept as lone surrogates (PEP 383).
undecodable = st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"])
texts = st.text(st.characters(exclude_categories=["Cs"]) | undecodable, max_size=20)
numbers = st.integers(0, 2**63 - 1)
headers = st.builds(Headers, texts, texts, texts, st.none() | texts)
BY_TYPE: dict[object, st.SearchStrategy[object]] = {
    "int": numbers,
    "int | None": st.none() | numbers,
    "str": texts,
    "Digest": texts,
    "str | None": st.none() | texts,
    "Digest | None": st.none() | texts,
    "bool": st.booleans(),
    "bool | None": st.none() | st.booleans(),
    "bytes": st.binary(max_size=20),
    "Flags": st.frozensets(texts, max_size=4),
    "frozenset[str]": st.frozensets(texts, max_size=4),
    "tuple[str, ...]": st.lists(texts, max_size=4).map(tuple),
    "tuple[int, ...]": st.lists(numbers, max_size=4).map(tuple),
    "Headers": headers,
    "Headers | None": st.none() | headers,
    "tuple[tuple[Digest, int, int], ...]": st.lists(st.tuples(texts, numbers, numbers), max_size=4).map(tuple),
    "tuple[tuple[int, int, int], ...]": st.lists(st.tuples(numbers, numbers, numbers), max_size=4).map(tuple),
    "tuple[tuple[int, int], ...]": st.lists(st.tuples(numbers, numbers), max_size=4).map(tuple),
}
KINDS = get_args(Fact)


def values_of(cls: type[Any]) -> st.SearchStrategy[Any]:
    annotated = {name: text for name, text in cls.__annotations__.items() if name != "kind"}
    values = {name: BY_TYPE[text] for name, text in annotated.items()}
    if cls is FolderFact:
        values["directory"] = texts.filter(is_directory)
    return st.builds(cls, **values)


BY_TYPE["StoredMessage"] = values_of(StoredMessage)


def line_by_names(fact: Fact) -> str:
    """The line as versions up to 0.3.0 made it, which knew types by the names of fields."""
    record: dict[str, Any] = {"fact": fact.kind}
    for each in fields(fact):
        value = getattr(fact, each.name)
        if each.name == "message":
            record |= {name: getattr(value, name) for name in _OF_MESSAGE}
        else:
            record[each.name] = asdict(value) if isinstance(value, Headers) else value
    for name, value in record.items():
        if isinstance(value, bytes):
            record[name] = value.decode("latin-1")
        elif isinstance(value, frozenset):
            record[name] = sorted(value)
    return json.dumps(record, ensure_ascii=True, separators=(",", ":"))


_OF_MESSAGE = (
    "uid", "digest", "size", "crlf_size", "server_size", "internaldate", "arrived", "flags", "message_id",
    "header_digest", "emailid",
)  # fmt: skip


@given(fact=st.one_of(*map(values_of, KINDS)))
def test_a_fact_is_the_same_after_its_line(fact: Fact) -> None:
    line = fact_to_json(fact)

    assert line == line_by_names(fact)
    assert fact_from_json(line) == fact
    assert line.isascii()
    assert line.splitlines() == [line]


@given(fact=st.one_of(*map(values_of, KINDS)))
def test_the_same_fact_is_the_same_line(fact: Fact) -> None:
    assert fact_to_json(fact_from_json(fact_to_json(fact))) == fact_to_json(fact)


def test_every_kind_of_fact_has_its_own_name() -> None:
    assert sorted(kind.kind for kind in KINDS) == [
        "accepted",
        "archive",
        "copied",
        "destination",
        "distinct",
        "epoch",
        "fence",
        "flags",
        "folder",
        "headers",
        "intent",
        "mapped",
        "marked",
        "packed",
        "pass",
        "quarantined",
        "reached",
        "reflagged",
        "refused",
        "released",
        "removed",
        "renamed",
        "renaming",
        "settled",
        "state",
        "stored",
        "target",
        "target_state",
        "twin",
        "unsent",
        "vanished",
    ]


def test_the_types_come_back_too() -> None:
    folder = FolderFact(1, b"&\xff", ("a", "b"), "/", "a.b", frozenset({"\\noselect"}), False, True, "now")

    again = fact_from_json(fact_to_json(folder))

    assert isinstance(again, FolderFact)
    assert {name: type(getattr(again, name)) for name in ("raw", "path", "attributes")} == {
        "raw": bytes,
        "path": tuple,
        "attributes": frozenset,
    }


@pytest.mark.parametrize(
    ("fact", "line"),
    [
        (
            FlagsFact(3, 17, frozenset({"b", "a", "\\Seen"}), "2026-11-23T07:00:00Z"),
            r'{"fact":"flags","epoch":3,"uid":17,"flags":["\\Seen","a","b"],"at":"2026-11-23T07:00:00Z"}',
        ),
        (
            VanishedFact(3, (17, 18), "2026-11-23T07:00:00Z"),
            '{"fact":"vanished","epoch":3,"uids":[17,18],"at":"2026-11-23T07:00:00Z"}',
        ),
        (
            FolderFact(1, b"\xe9", ("é",), None, "e", frozenset(), True, True, "2026-11-23T07:00:00Z"),
            (
                r'{"fact":"folder","number":1,"raw":"\u00e9","path":["\u00e9"],"delimiter":null,"directory":"e",'
                r'"attributes":[],"subscribed":true,"listed":true,"at":"2026-11-23T07:00:00Z"}'
            ),
        ),
        (
            HeadersFact(Digest("ab"), Headers("Zoë <z@example.org>", "", "Hi", None)),
            (
                r'{"fact":"headers","digest":"ab","headers":{"sender":"Zo\u00eb <z@example.org>","recipients":"",'
                r'"subject":"Hi","sent":null}}'
            ),
        ),
        (
            PackedFact(Digest("ab"), 300, ((Digest("01"), 0, 100), (Digest("02"), 100, 150))),
            '{"fact":"packed","pack":"ab","size":300,"frames":[["01",0,100],["02",100,150]]}',
        ),
    ],
)
def test_the_line_is_the_specified_one(fact: Fact, line: str) -> None:
    assert fact_to_json(fact) == line


def test_a_stored_message_of_an_older_journal_has_no_headers() -> None:
    line = fact_to_json(stored(1))
    older = line.replace(',"headers":null', "")
    assert older != line

    fact = fact_from_json(older)

    assert isinstance(fact, StoredFact)
    assert fact == stored(1)
    assert fact.headers is None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        "{}",
        '{"fact":"unheard of"}',
        '{"fact":["flags"]}',
        "[" * 200_000,
        '{"fact":"flags","epoch":1}',
        '{"fact":"flags","epoch":1,"uid":1,"flags":7,"at":""}',
        '{"fact":"flags","epoch":1,"uid":1,"flags":[],"at":"","more":1}',
        '{"fact":"folder","raw":"\\u0100"}',
        '{"fact":"headers","digest":"ab","headers":{"sender":""}}',
        '{"fact":"headers","digest":"ab","headers":"Subject"}',
        '{"fact":"packed","pack":"ab","size":1,"frames":[7]}',
        fact_to_json(stored(1)).replace('"server_size":301,', ""),
        fact_to_json(stored(1)).replace('"matched":null', '"matched":null,"message":1'),
    ],
)
def test_anything_else_is_no_fact(line: str) -> None:
    with pytest.raises(ValueError, match=r"not a known fact|Expecting"):
        fact_from_json(line)
