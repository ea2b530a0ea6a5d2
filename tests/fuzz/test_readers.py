"""No octets make a reader fail: what each begins with, altered, and whatever else Hypothesis thinks of."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import pop3
from tests.fuzz.conversation import converse
from tests.fuzz.readers import READERS

_ALTERED = 150


@pytest.mark.parametrize("name", READERS)
def test_reads_what_it_begins_with(name: str) -> None:
    for octets in READERS[name].seeds:
        READERS[name].read(octets)


@pytest.mark.parametrize("octets", READERS["imap-conversation"].seeds)
def test_a_conversation_comes_to_its_end(octets: bytes) -> None:
    """Otherwise most of what reads it would never be reached."""
    sent = converse(octets)
    assert b"UID SEARCH" in sent
    assert b"BODY.PEEK[HEADER]" in sent
    assert b"BODY.PEEK[])" in sent
    assert sent.endswith(b" (UID)\r\n")  # whether what did not come is still there


@pytest.mark.parametrize("octets", READERS["pop3-conversation"].seeds)
def test_a_conversation_over_pop3_comes_to_its_end(octets: bytes) -> None:
    assert b"RETR 2\r\n" in pop3.converse(octets)


@pytest.mark.parametrize("name", READERS)
def test_reads_altered_octets(name: str) -> None:
    chance = random.Random(name)
    reader = READERS[name]
    for _ in range(_ALTERED):
        reader.read(_altered(chance.choice(reader.seeds), chance))


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_reads_any_octets(name: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(READERS[name].seeds))
    start, end = (data.draw(st.integers(0, len(seed))) for _ in range(2))
    READERS[name].read(seed[:start] + data.draw(st.binary(max_size=200)) + seed[end:])


def _altered(octets: bytes, chance: random.Random) -> bytes:
    """The octets with a few of them removed, doubled, moved or changed."""
    altered = bytearray(octets)
    for _ in range(chance.randint(1, 5)):
        start, size = chance.randint(0, len(altered)), chance.randint(1, 12)
        piece = altered[start : start + size]
        match chance.randint(0, 3):
            case 0:
                del altered[start : start + size]
            case 1:
                altered[start:start] = piece * chance.randint(1, 40)
            case 2:
                altered[start : start + size] = chance.randbytes(size)
            case _:
                del altered[start : start + size]
                at = chance.randint(0, len(altered))
                altered[at:at] = piece
    return bytes(altered)
