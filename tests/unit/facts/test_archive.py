"""Facts survive the journal, whatever they say."""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from typing import Any, cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, fields

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
signed = st.integers(-(2**63), 2**63 - 1)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
headers = st.builds(Headers, texts, texts, texts, st.none() | texts)
pairs = st.lists(st.tuples(texts, texts), max_size=4).map(tuple)
BY_TYPE: dict[object, st.SearchStrategy[object]] = {
    "int": numbers,
    "int | None": st.none() | numbers,
    "str": texts,
    "Signed": signed,
    "Signed | None": st.none() | signed,
    "Digest": digests,
    "str | None": st.none() | texts,
    "Digest | None": st.none() | digests,
    "bool": st.booleans(),
    "bool | None": st.none() | st.booleans(),
    "bytes": st.binary(max_size=20),
    "Labels": st.frozensets(texts, max_size=4),
    "Labels | None": st.none() | st.frozensets(texts, max_size=4),
    "Flags": st.frozensets(texts, max_size=4),
    "frozenset[str]": st.frozensets(texts, max_size=4),
    "tuple[str, ...]": st.lists(texts, max_size=4).map(tuple),
    "tuple[int, ...]": st.lists(numbers, max_size=4).map(tuple),
    "Headers": headers,
    "Headers | None": st.none() | headers,
    "tuple[tuple[Digest, int, int], ...]": st.lists(st.tuples(digests, numbers, numbers), max_size=4).map(tuple),
    "tuple[tuple[int, int, int], ...]": st.lists(st.tuples(numbers, numbers, numbers), max_size=4).map(tuple),
    "tuple[tuple[int, int], ...]": st.lists(st.tuples(numbers, numbers), max_size=4).map(tuple),
    "tuple[ForgottenPlace, ...]": st.lists(
        st.tuples(numbers, numbers, digests, numbers, numbers, signed, numbers), max_size=4
    ).map(tuple),
    "tuple[ForgottenCopy, ...]": st.lists(st.tuples(numbers, numbers, texts, texts, numbers), max_size=4).map(
        tuple
    ),
    "tuple[Digest, ...]": st.lists(digests, max_size=4).map(tuple),
    "tuple[tuple[int, Digest, Digest], ...]": st.lists(st.tuples(numbers, digests, digests), max_size=4).map(tuple),
    "tuple[tuple[str, str], ...]": pairs,
    "tuple[tuple[str, str], ...] | None": st.none() | pairs,
}
KINDS = get_args(Fact)
ABAB = Digest("ab" * 32)


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
            record |= {name: its for name in ("thrid", "labels") if (its := getattr(value, name)) is not None}
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
        "annotations",
        "archive",
        "blot",
        "blotted",
        "compared",
        "copied",
        "copies_erased",
        "destination",
        "distinct",
        "epoch",
        "erased",
        "fence",
        "flags",
        "folder",
        "forgotten",
        "granted",
        "headers",
        "hold",
        "hold_ended",
        "intent",
        "labelled",
        "labels",
        "mapped",
        "marked",
        "numbered",
        "packed",
        "pass",
        "pruned",
        "pruning",
        "quarantined",
        "reached",
        "reflagged",
        "refused",
        "released",
        "removed",
        "renamed",
        "renaming",
        "restore",
        "restore_place",
        "rights",
        "settled",
        "state",
        "state_marked",
        "stored",
        "target",
        "target_state",
        "twin",
        "unpruned",
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
            HeadersFact(ABAB, Headers("Zoë <z@example.org>", "", "Hi", None)),
            (
                f'{{"fact":"headers","digest":"{ABAB}","headers":{{'
                r'"sender":"Zo\u00eb <z@example.org>","recipients":"","subject":"Hi","sent":null}}'
            ),
        ),
        (
            PackedFact(ABAB, 300, ((ABAB, 0, 100), (ABAB, 100, 150))),
            f'{{"fact":"packed","pack":"{ABAB}","size":300,"frames":[["{ABAB}",0,100],["{ABAB}",100,150]]}}',
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


AN_EXAMPLE: dict[object, object] = {
    "int": 7,
    "Signed": 7,
    "str": "INBOX",
    "Digest": ABAB,
    "bool": True,
    "bytes": "INBOX",
    "Flags": ["a", "b"],
    "Labels": ["a", "b"],
    "frozenset[str]": ["a", "b"],
    "tuple[str, ...]": ["a", "b"],
    "tuple[int, ...]": [7, 8],
    "Headers": {"sender": "a", "recipients": "b", "subject": "c", "sent": None},
    "tuple[tuple[Digest, int, int], ...]": [[ABAB, 7, 8], [ABAB, 8, 9]],
    "tuple[tuple[int, int, int], ...]": [[7, 8, 9], [8, 9, 10]],
    "tuple[tuple[int, int], ...]": [[7, 8], [8, 9]],
    "tuple[tuple[str, str], ...]": [["a", "b"], ["c", "d"]],
    "tuple[tuple[int, int, Digest, int, int, Signed, int], ...]": [[7, 8, ABAB, 9, 10, -11, 1]],
    "tuple[tuple[int, Digest, Digest], ...]": [[7, ABAB, ABAB]],
    "tuple[tuple[int, int, str, str, int], ...]": [[7, 8, "octets", ABAB, 9], [7, 9, "size", "", 9]],
    "tuple[Digest, ...]": [ABAB],
}
OTHERS: list[object] = [
    *(
        None,
        True,
        0,
        -1,
        2**63,
        10**400,
        1.0,
        math.nan,
        math.inf,
        "",
        "\0",
        "ab",
        "\ud800",
        "\u0100",
        "a b" * 21 + "c",
    ),
    *([], [None], [7], [-7], [2**63], [True], [1.5], [""], ["", 7], [[]], [[7]], [[7, 8, 9, 10]], [[ABAB, 7, -8]]),
    *([[7, 8], 7], [[7, 8], [8]], [[7, 8], "ab"], [[True, 8]], [["ab", 7, 8]], [{"7": 7, "8": 8}], {}, {"a": 7}),
    *({"sender": 7, "recipients": "", "subject": "", "sent": None}, json.loads("[" * 500 + "]" * 500)),
]


def is_of(of: str, value: object) -> bool:
    """Whether a value from JSON is of a type, written without looking at the codec."""
    number = type(value) is int and -(2**63) <= value < 2**63
    if of.endswith(" | None"):
        return value is None or is_of(of.removesuffix(" | None"), value)
    if of.startswith("tuple[tuple["):
        inner = of.removeprefix("tuple[tuple[").removesuffix("], ...]").split(", ")
        rows = value if isinstance(value, list) else [None]
        return all(isinstance(row, list) and len(row) == len(inner) and all(map(is_of, inner, row)) for row in rows)
    if of == "tuple[Digest, ...]":
        return isinstance(value, list) and all(is_of("Digest", each) for each in value)
    if of in ("Flags", "Labels", "frozenset[str]", "tuple[str, ...]", "tuple[int, ...]"):
        return isinstance(value, list) and all(is_of("int" if "int" in of else "str", each) for each in value)
    if of == "Headers":
        parts = {"sender": "str", "recipients": "str", "subject": "str", "sent": "str | None"}
        return (
            isinstance(value, dict)
            and parts.keys() == value.keys()
            and all(map(is_of, parts.values(), value.values()))
        )
    return {
        "int": number and value >= 0,  # type: ignore[operator]
        "Signed": number,
        "bool": isinstance(value, bool),
        "str": isinstance(value, str),
        "bytes": isinstance(value, str) and all(ord(each) < 256 for each in value),
        "Digest": isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None,
    }[of]


def types_of(cls: type[Any]) -> dict[str, str]:
    """The type of each key of a fact's line."""
    place, copy = "tuple[int, int, Digest, int, int, Signed, int]", "tuple[int, int, str, str, int]"
    types = {
        name: text.replace("ForgottenPlace", place).replace("ForgottenCopy", copy)
        for name, text in cls.__annotations__.items()
        if name != "kind"
    }
    if types.pop("message", None):
        types |= StoredMessage.__annotations__
    return types


@pytest.mark.parametrize("cls", KINDS, ids=lambda cls: cls.kind)
def test_each_field_takes_values_of_its_type_alone(cls: type[Any]) -> None:
    """What is read from an edited journal is of the types that the annotations say, or refused."""
    types = types_of(cls)
    right: dict[str, object] = {"fact": cls.kind}
    right |= {name: AN_EXAMPLE[of.removesuffix(" | None")] for name, of in types.items()}
    fact_from_json(json.dumps(right))
    taken = set()
    for name in types:
        for number, other in enumerate(OTHERS):
            with suppress(ValueError):
                fact_from_json(json.dumps(right | {name: other}))
                taken.add((name, number))
    meant = {
        (name, number) for name, of in types.items() for number, other in enumerate(OTHERS) if is_of(of, other)
    }
    if cls is FolderFact:
        meant = {each for each in meant if each[0] != "directory" or is_directory(cast(str, OTHERS[each[1]]))}
    assert taken == meant


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
        f'{{"fact":"headers","digest":"{ABAB}","headers":{{"sender":""}}}}',
        f'{{"fact":"headers","digest":"{ABAB}","headers":"Subject"}}',
        f'{{"fact":"packed","pack":"{ABAB}","size":1,"frames":[7]}}',
        fact_to_json(stored(1)) * 2,
        fact_to_json(stored(1)) + " ",
        fact_to_json(stored(1)).replace('"server_size":301,', ""),
        fact_to_json(stored(1)).replace('"matched":null', '"matched":null,"message":1'),
    ],
)
def test_anything_else_is_no_fact(line: str) -> None:
    with pytest.raises(ValueError, match=r"not a known fact|Expecting"):
        fact_from_json(line)
