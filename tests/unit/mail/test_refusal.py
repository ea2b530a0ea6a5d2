"""What servers answer to an APPEND they refuse, in their own words, and what is odd about a message."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.mail.refusal import Features, Refusal, advice, classify, describe, features_of, suspect

OCTETS = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b" b", b"A: b", b":", b"\x00", b"\xff" * 40])).map(
    b"".join
)


@pytest.mark.parametrize(
    ("reply", "refusal"),
    [
        # by their codes
        ("NO [OVERQUOTA] Quota exceeded (mailbox for user is full)", "over-quota"),
        ("NO [OVERQUOTA] Not enough disk quota", "over-quota"),
        ("NO [OVERQUOTA] Organization disk quota exceeded.", "over-quota"),
        ("BAD [TOOBIG] Message too large. https://support.google.com/mail/answer/6584#limit", "too-big"),
        ("NO [TOOBIG] Message size exceeding limit", "too-big"),
        ("no [toobig]", "too-big"),
        ("[TOOBIG] Message size exceeds fixed limit", "too-big"),
        ("NO [TRYCREATE] Must create mailbox before append", "folder"),
        ("NO [TRYCREATE] Mailbox doesn't exist: Virus quota flags bandwidth", "folder"),
        ("NO [TRYCREATE] APPEND error finding folder", "folder"),
        ("NO [NONEXISTENT] Unknown Mailbox: Sent (Failure)", "folder"),
        ("NO [NOPERM] You do not have the required permissions to append messages to this mailbox.", "folder"),
        ("NO [UNAVAILABLE] APPEND Server error - Please try again later", "throttled"),
        ("NO [INUSE] Mailbox in use", "throttled"),
        ("* BYE [UNAVAILABLE] shutting down", "throttled"),
        # by their words, in spite of their codes
        ("NO [OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)", "throttled"),
        ("NO [ALERT] You exceeded your mail quota.", "over-quota"),
        ("NO [LIMIT] Mail size is larger than the maximum size allowed by server configuration", "too-big"),
        ("NO [LIMIT] Too many user flags in mailbox", "flags"),
        ("NO [LIMIT] Too many identical emails", "unknown"),
        ("NO [LIMIT] Too many requests", "throttled"),
        ("NO [LIMIT] APPEND Rate limit hit.", "throttled"),
        ("BAD [PARSE] Literal exceeds the maximum request size of 52428800 bytes.", "too-big"),
        ("NO [CANNOT] Invalid mailbox name", "folder"),
        # a size
        ("NO Maximum size of appendable message has been exceeded", "too-big"),
        ("BAD maximum message size exceeded", "too-big"),
        ("NO Message size exceeds fixed maximum message size. Size: 30000 KB, Max size: 20480 KB", "too-big"),
        ("NO message exceeds maximum import size of 30MB: message size exceeds limits.", "too-big"),
        ("BAD literal size too large", "too-big"),
        ("* BAD command line limit exceeded", "too-big"),
        ("NO This message is too big and can not be appended.", "too-big"),
        # room
        ("NO APPEND The 1500 MB storage limit has been exceeded.", "over-quota"),
        ("NO Mailbox is full / Blocks limit exceeded / Inode limit exceeded", "over-quota"),
        ("NO Over quota", "over-quota"),
        ("NO Your quota has been exceeded.", "over-quota"),
        ("NO mail system storage has been exceeded", "over-quota"),
        ("NO Too many messages in the mailbox", "over-quota"),
        # the octets
        ("NO Message contains NUL characters", "nul"),
        ("* BYE Invalid character in literal.", "nul"),
        ("NO Message contains bare newlines", "bare-lf"),
        ("NO Message contains invalid header", "invalid-header"),
        ("NO Message contains non-ASCII characters in headers", "invalid-header"),
        ("NO Message has no header/body separator", "invalid-header"),
        ("BAD Invalid Arguments: Unable to parse message", "invalid-header"),
        ("BAD invalid rfc5322 message: `Sender` should not be present if equal to `From`", "invalid-header"),
        ("NO header key contains invalid characters", "invalid-header"),
        ("NO failed to parse message: textproto: length limit exceeded: line", "long-line"),
        ("NO failed to parse message: failed to create new parser: bufio: buffer full", "long-line"),
        ("NO Message line is too long", "long-line"),
        ("NO Zero-length message literal", "empty"),
        ("NO Append aborted.", "empty"),
        ("NO APPEND cancelled.", "empty"),
        ("NO Can't save a zero byte message.", "empty"),
        ("BAD Empty message not permitted.", "empty"),
        ("NO Message refused because it contains a virus", "virus"),
        # what goes with them
        ("NO APPEND Invalid flag list", "flags"),
        ("BAD Invalid system flag \\FORWARDED", "flags"),
        ("BAD Invalid Arguments: Unable to parse flag \\NotJunk", "flags"),
        ("BAD Error in IMAP command APPEND: 8bit data in atom", "flags"),
        ("BAD Parse Error (took 0 ms)", "flags"),
        ("BAD Invalid date-time in Append command", "date"),
        ("BAD Invalid internal date.", "date"),
        ("NO Bad date in append", "date"),
        # where it goes
        ("NO Mailbox does not exist", "folder"),
        ("NO Current box is selected READ-ONLY.", "folder"),
        ("BAD ACL: Insert permission denied (Required for APPEND command).", "folder"),
        ("NO Permission denied", "folder"),
        # not now
        ("NO Request is throttled. Suggested Backoff Time: 299961 milliseconds", "throttled"),
        ("NO Server Unavailable. 15", "throttled"),
        ("NO Temporary unavailable", "throttled"),
        ("NO Server(s) unavailable to complete operation", "throttled"),
        # nothing that helps
        ("BAD Command Argument Error. 11", "unknown"),
        ("BAD Command Argument Error. 12", "unknown"),
        ("BAD Command Error. 10", "unknown"),
        ("NO Error in IMAP command received by server.", "unknown"),
        ("BAD [CLIENTBUG] Additional arguments found after last expected argument", "unknown"),
        ("NO [SERVERBUG] Internal error occurred. Refer to server log for more information.", "unknown"),
        ("NO Unexpected exception (took 3548 ms)", "unknown"),
        ("NO APPEND failed", "unknown"),
        ("NO", "unknown"),
        ("", "unknown"),
    ],
)
def test_replies(reply: str, refusal: Refusal) -> None:
    assert classify(reply) == refusal
    assert classify(reply.upper().encode() + b"\r\n") == refusal


@given(st.binary())
def test_no_reply_raises(reply: bytes) -> None:
    assert classify(reply) in get_args(Refusal)


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"", Features(0, False, False, 0, False)),
        (b"A: b\r\n\r\nbody\r\n", Features(14, False, False, 4, True)),
        (b"A: b", Features(4, False, False, 4, True, False)),
        (b"A: b\r\n c d\r\n\te\r\n\r\nno colon", Features(26, False, False, 8, True, False)),
        (b"A: b\n\nbody", Features(10, False, True, 4, True, False)),
        (b"A: b\r\n\r\na\rb\0\r\n", Features(14, True, False, 4, True)),
        (b"A: b\r\n\r\nbody\r", Features(13, False, False, 4, True, False)),
        (b"A: b\r\nno colon\r\n\r\nbody", Features(22, False, False, 8, False, False)),
        (b": b\r\n\r\nbody", Features(11, False, False, 4, False, False)),
        (b"\r\nbody: b\r\n", Features(11, False, False, 7, False)),
        (b"just text\r\nmore\r\n", Features(17, False, False, 9, False)),
    ],
)
def test_features(octets: bytes, expected: Features) -> None:
    assert features_of([octets]) == expected
    assert features_of(octets[i : i + 1] for i in range(len(octets))) == expected
    assert expected.empty == (octets == b"")


@given(st.lists(OCTETS))
def test_features_do_not_depend_on_chunks(chunks: list[bytes]) -> None:
    octets = b"".join(chunks)
    features = features_of(chunks)
    assert features == features_of([octets])
    assert features.size == len(octets)
    assert features.has_nul == (b"\0" in octets)
    assert features.has_bare_lf == bool(re.search(rb"(?<!\r)\n", octets))
    assert features.longest_line == max(map(len, re.split(rb"\r?\n|\r\Z", octets)))


def test_a_header_line_of_any_length_is_looked_into() -> None:
    field = b"A: " + b"x" * 100_000
    assert features_of([field[:1000], field[1000:], b"\r\nB: c"]).header_ok
    assert not features_of([field, b"\r\nB", b"x" * 5000 + b": c"]).header_ok


@pytest.mark.parametrize(
    ("octets", "refusal"),
    [
        (b"", "empty"),
        (b"A: b\r\n\r\n\0", "nul"),
        (b"A: b\n\n" + b"x" * 10_000, "long-line"),
        (b"A: b\r\n\r\n" + b"x" * 999, "long-line"),
        (b"A: b\r\n\r\n" + b"x\r\n" * 10_000_000, "too-big"),
        (b"A: b\n\n" + b"x" * 999, "bare-lf"),
        (b"body\r\n" + b"x" * 999, "invalid-header"),
        (b"A: b\r\n\r\nbody\r\n", "unknown"),
    ],
)
def test_suspicions(octets: bytes, refusal: Refusal) -> None:
    assert suspect(features_of([octets])) == refusal


@pytest.mark.parametrize("refusal", get_args(Refusal))
def test_each_refusal_is_explained_in_one_line_with_something_to_do(refusal: Refusal) -> None:
    for text in (describe(refusal), describe(refusal, limit=10), advice(refusal)):
        assert text
        assert "\n" not in text
        assert not text.endswith(".")


def test_a_limit_is_reported() -> None:
    assert describe("too-big", limit=35651584) == "the destination does not accept messages over 35,651,584 bytes"
