"""Folder names: every name decodes, and every name gets a safe directory of its own."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.mail.folder_names import (
    DIRECTORY_OCTETS,
    canonical_raw,
    decode_name,
    directory_of,
    encode_name,
    folder_path,
    matches,
    name_of_utf8,
    other_spelling,
    printable,
    utf8_name,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
LEVELS = [b"INBOX", b"inbox", b"", b"..", b"AT&T", b"AT&-T", b"~", b"\\-"]
RAW_NAMES = st.one_of(
    st.binary(min_size=1, max_size=300),
    st.text(min_size=1, max_size=120).map(encode_name),
    st.text("aA./\\~&-[]é日\x00\n", min_size=1, max_size=8).map(encode_name),
    st.lists(st.sampled_from(LEVELS), min_size=1).map(b".".join),
).filter(bool)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"INBOX", "INBOX"),
        (b"Entw&APw-rfe", "Entwürfe"),
        (b"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),
        (b"R&-D", "R&D"),
        (b"&2D3eAA-", "😀"),
        (b"&BBAEMQQyACYEMwQ0BDU-", "Абв&где"),
        (b"&AAk-", "\t"),
    ],
)
def test_modified_utf7_decodes(raw: bytes, text: str) -> None:
    assert decode_name(raw) == text


@pytest.mark.parametrize(
    "raw", [b"AT&T", b"R&D", b"Foo & Bar", b"&", b"a&ZeVn", b"&Zg-", b"&2D0-", b"&A-", b"&AAA", b"&AP w-"]
)
def test_what_is_no_modified_utf7_is_shown_as_it_is(raw: bytes) -> None:
    assert decode_name(raw) == raw.decode("ascii")


def test_raw_8_bit_names_are_utf8_or_latin1() -> None:
    assert decode_name("Entwürfe & mehr".encode()) == "Entwürfe & mehr"
    assert decode_name(b"Entw\xfcrfe") == "Entwürfe"


@given(TEXTS)
def test_a_name_in_utf8_and_back(text: str) -> None:
    octets = text.encode()
    assert utf8_name(name_of_utf8(octets)) == octets
    assert name_of_utf8(octets).isascii()


@given(st.binary(max_size=20))
def test_octets_that_are_no_utf8_stay(octets: bytes) -> None:
    assert utf8_name(name_of_utf8(octets)) == octets


@pytest.mark.parametrize(
    ("raw", "other"),
    [
        (b"&AOQ-", "ä".encode()),
        ("ä".encode(), b"&AOQ-"),
        (b"R&-D", None),  # nothing tells which of two names `R&D` is
        (b"plain", None),
        (b"\xe4", None),
        (b"&broken", None),
    ],
)
def test_the_other_spelling(raw: bytes, other: bytes | None) -> None:
    assert other_spelling(raw) == other


@given(TEXTS)
def test_encoding_and_decoding_round_trip(text: str) -> None:
    assert decode_name(encode_name(text)) == text
    assert re.fullmatch(rb"[\x20-\x7e]*", encode_name(text))


@given(st.binary())
def test_any_octets_decode(raw: bytes) -> None:
    decode_name(raw).encode("utf-8")


@pytest.mark.parametrize("raw", [b"INBOX", b"Inbox", b"inbox"])
def test_inbox_in_any_case_is_one_folder(raw: bytes) -> None:
    assert canonical_raw(raw) == b"INBOX"
    assert folder_path(raw, "/") == ("INBOX",)
    assert folder_path(raw + b"/x", "/") == ("INBOX", "x")


def test_inbox_is_inbox_only_as_a_whole_first_level() -> None:
    assert canonical_raw(b"Inbox2") == b"Inbox2"
    assert folder_path(b"InboxSub", "/") == ("InboxSub",)
    assert folder_path(b"a/inbox", "/") == ("a", "inbox")


@pytest.mark.parametrize(
    ("raw", "delimiter", "path"),
    [
        (b"a/b", "/", ("a", "b")),
        (b"a/b", ".", ("a/b",)),
        (b"a.b", None, ("a.b",)),
        (b"a.b", "", ("a.b",)),
        (b"a\\b", "\\", ("a", "b")),
        (b"&U,BTFw-/x", "/", ("台北", "x")),
        (b"a//b/", "/", ("a", "", "b", "")),
    ],
)
def test_names_are_split_on_their_octets(raw: bytes, delimiter: str | None, path: tuple[str, ...]) -> None:
    assert folder_path(raw, delimiter) == path


@pytest.mark.parametrize(
    ("raw", "directory"),
    [
        (b"INBOX", ""),
        (b"Inbox", ""),
        (b"Sent", ".Sent"),
        (b"sent", ".sent"),
        (b"Parent/Child", ".Parent.Child"),
        (b"Inbox/x", ".INBOX.x"),
        (b"Entw&APw-rfe", ".Entw&APw-rfe"),
        (b"Dr. Who", ".Dr\\2e Who"),
        (b"a\\b", ".a\\5cb"),
        (b"~root/~x~", ".\\7eroot.\\7ex~"),
        (b"..", ".\\2e\\2e"),
        (b"/", ".\\-.\\-"),
        (b"a//b", ".a.\\-.b"),
        (b"\\-", ".\\5c-"),
        (b"AT&T", ".AT&-T"),
        (b"x\x00\n", ".x&AAAACg-"),
    ],
)
def test_directories(raw: bytes, directory: str) -> None:
    assert directory_of(folder_path(raw, "/"), raw, ()) == directory


def test_a_delimiter_inside_a_level_is_escaped() -> None:
    assert directory_of(folder_path(b"a/b", "."), b"a/b", ()) == ".a\\2fb"


def test_names_that_decode_alike_get_directories_of_their_own() -> None:
    first = directory_of(("AT&T",), b"AT&T", ())
    second = directory_of(("AT&T",), b"AT&-T", {first})
    assert (first, second) == (".AT&-T", f".AT&-T-{hashlib.sha256(b'AT&-T').hexdigest()[:12]}")


def test_a_name_that_only_decodes_to_inbox_is_not_inbox() -> None:
    assert directory_of(("INBOX",), b"&AEkATgBCAE8AWA-", ()).startswith(".INBOX-")


def test_a_directory_named_after_our_own_digest_is_evaded() -> None:
    ours = directory_of(("AT&T",), b"AT&-T", {".AT&-T"})
    assert directory_of(("AT&T",), b"AT&-T", {".AT&-T", ours}) == f"{ours}-2"


def test_long_names_are_cut_between_characters() -> None:
    raw = encode_name("日" * 300)
    directory = directory_of(folder_path(raw, "/"), raw, ())
    shown, digest = directory[1:].rsplit("-", 1)
    assert len(directory) <= DIRECTORY_OCTETS
    assert set(decode_name(shown.encode())) == {"日"}
    assert re.fullmatch("[0-9a-f]{12}", digest)


def test_long_names_are_not_cut_within_an_escape() -> None:
    directory = directory_of(("." * 100,), b"." * 100, ())
    assert re.fullmatch(r"\.(\\2e)+-[0-9a-f]{12}", directory)
    assert DIRECTORY_OCTETS - 3 < len(directory) <= DIRECTORY_OCTETS


@given(st.lists(RAW_NAMES, unique_by=canonical_raw), st.sampled_from([None, "/", ".", "\\"]))
def test_every_name_gets_a_safe_directory_of_its_own(names: list[bytes], delimiter: str | None) -> None:
    taken: set[str] = set()
    for raw in names:
        directory = directory_of(folder_path(raw, delimiter), raw, taken)
        assert directory not in taken
        assert len(directory) <= DIRECTORY_OCTETS
        if directory:
            assert re.fullmatch(r"(\.[\x20-\x2d\x30-\x7e]+)+", directory)  # no "/", no "..", no control character
        else:
            assert canonical_raw(raw) == b"INBOX"
        taken.add(directory)


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
    [
        ("*", ("a", "b"), True),
        ("Public/*", ("Public", "a", "b"), True),
        ("Public/*", ("Public",), False),
        ("junk", ("Junk",), False),
        ("inbox", ("INBOX",), True),
        ("Inbox/*", ("INBOX", "x"), True),
        ("[Gmail]/*", ("[Gmail]", "All Mail"), True),
        ("[Gmail]/*", ("G", "All Mail"), False),
        ("Sent?", ("Sent1",), True),
        ("Entwu\u0308rfe", ("Entwürfe",), True),
        ("a.b", ("axb",), False),
        ("*\n", ("x\n",), True),
    ],
)
def test_globs(glob: str, path: tuple[str, ...], expected: bool) -> None:
    assert matches(path, [glob]) is expected
    assert matches(path, []) is False


@given(st.text("ab?", max_size=6), st.text("ab*?", max_size=6))
def test_a_star_stands_for_any_characters(text: str, glob: str) -> None:
    every_way = re.escape(glob).replace(r"\*", ".*").replace(r"\?", ".")
    assert matches((text,), [glob]) is bool(re.fullmatch(every_way, text))


def test_a_name_of_any_length_is_quickly_distinguished_from_a_glob() -> None:
    assert not matches(("a" * 50_000,), ["*a*a*a*a*b"])


def test_printable_escapes_what_deceives_a_terminal() -> None:
    assert printable("a\x1b[31m\r\n\u202eb\udc80 é日") == "a\\x1b[31m\\r\\n\\u202eb\\udc80 é日"
