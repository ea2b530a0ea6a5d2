"""The sample account of the demo: folders, messages and the changes made to them, as plain values.

It has the oddities of real accounts: nested and non-ASCII folder names, a dot inside a level, messages without
Message-ID, with raw 8-bit headers, with a bare CR, with a large attachment, and one message in two folders. The
octets are the same every time.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from msgspec import Struct

USER = "alice@example.org"
NEW_USER = "alice@example.net"
"""The same person at the destination."""

_EPOCH = datetime(2024, 1, 8, 7, 30, tzinfo=UTC)
_ATTACHMENT_OCTETS = 3_000_000
_MARK = "=_part"


class Mail(Struct, frozen=True):
    """A message as it is delivered to a server, or stored on one."""

    octets: bytes
    arrived: datetime
    flags: frozenset[str] = frozenset()

    @property
    def system_flags(self) -> frozenset[str]:
        """The flags that every server knows: all but the keywords."""
        return frozenset(flag for flag in self.flags if flag.startswith("\\"))


FOLDERS = (
    "INBOX",
    "Sent",
    "Drafts",
    "Trash",
    "Archive",
    "Archive/2023",
    "Archive/2024",
    "Lists/dovecot.users",
    "Projects/Ærø & Sønner/Invoices",
    "Личное",
    "日本語",
    "AT&T",
    'He said "hi"',
    "Empty one",
)
SUBSCRIBED = ("INBOX", "Sent", "Archive/2024", "日本語")


def sample_mail() -> dict[str, list[Mail]]:
    """The contents of each folder when the demo begins."""
    seen, draft = frozenset({"\\Seen"}), frozenset({"\\Draft", "\\Seen"})
    twice = _letter(40, "bob@example.net", "Minutes of the meeting", "Kept in two folders.")
    return {
        "INBOX": [
            _mail(1, _letter(1, "bob@example.net", "Lunch on Friday?", "Half past twelve?"), seen),
            _mail(2, _letter(2, "news@example.com", "What is new in May", "A lot."), frozenset({"\\Flagged"})),
            _mail(
                3, _letter(3, "bob@example.net", "Re: contract", "See below."), seen | {"\\Answered", "$Forwarded"}
            ),
            _mail(4, _without_message_id()),
            _mail(5, _eight_bit_header()),
            _mail(6, _bare_carriage_returns()),
            _mail(7, _with_attachment(), seen | {"$label1", "NonJunk"}),
            _mail(8, _never_closed_multipart()),
            _mail(9, _long_header_line()),
            _mail(40, twice, seen),
        ],
        "Sent": [_mail(n, _letter(n, USER, f"Offer {n}", "As discussed."), seen) for n in range(10, 14)],
        "Drafts": [_mail(14, _letter(14, USER, "Not finished", "Dear"), draft)],
        "Trash": [_mail(n, _letter(n, "shop@example.com", "Sale!", "Buy."), seen) for n in (15, 16)],
        "Archive/2023": [_mail(n, _letter(n, "bob@example.net", f"Report {n}", "Fine."), seen) for n in (17, 18)],
        "Archive/2024": [_mail(40, twice, seen)],
        "Lists/dovecot.users": [
            _mail(n, _letter(n, f"user{n}@example.com", "Re: maildir", "+1")) for n in range(20, 25)
        ],
        "Projects/Ærø & Sønner/Invoices": [
            _mail(
                25, _letter(25, "post@example.dk", "Faktura 1001", "Tak for handelen."), frozenset({"todo/today"})
            )
        ],
        "Личное": [_mail(26, _letter(26, "ivan@example.com", "=?utf-8?b?0J/RgNC40LLQtdGC?=", "Привет!"), seen)],
        "日本語": [_mail(27, _letter(27, "yuki@example.com", "=?utf-8?b?5LyR5pqH?=", "来週は休みです。"))],
        "AT&T": [_mail(28, _letter(28, "bill@example.com", "Your bill", "USD 0.00"), seen)],
        'He said "hi"': [_mail(29, _letter(29, "bob@example.net", "hi", "hi"), seen)],
    }


#: The folder that is new in the second run.
NEW_FOLDER = "Archive/2025"


def new_mail() -> Iterator[tuple[str, Mail]]:
    """(folder, message) for mail that arrives after the first run."""
    yield "INBOX", _mail(50, _letter(50, "bob@example.net", "Re: Lunch on Friday?", "I am there already."))
    yield "INBOX", _mail(51, _letter(51, "news@example.com", "What is new in June", "Even more."))
    yield "Sent", _mail(52, _letter(52, USER, "Re: Re: Lunch on Friday?", "On my way."), frozenset({"\\Seen"}))
    yield NEW_FOLDER, _mail(53, _letter(53, "bob@example.net", "First of the year", "Happy new year."))


RENAMED = ("Lists/dovecot.users", "Lists/Dovecot")


def _mail(day: int, octets: bytes, flags: frozenset[str] = frozenset()) -> Mail:
    return Mail(octets, _EPOCH + timedelta(days=day, minutes=7 * day), flags)


def _headers(number: int, sender: str, subject: str) -> list[str]:
    date = (_EPOCH + timedelta(days=number)).strftime("%a, %d %b %Y %H:%M:%S +0000")
    return [
        f"From: <{sender}>",
        f"To: <{USER}>",
        f"Subject: {subject}",
        f"Date: {date}",
        f"Message-ID: <{number}.demo@example.org>",
        "MIME-Version: 1.0",
    ]


def _letter(number: int, sender: str, subject: str, body: str) -> bytes:
    lines = [*_headers(number, sender, subject), "Content-Type: text/plain; charset=utf-8", "", body, ""]
    return "\r\n".join(lines).encode()


def _without_message_id() -> bytes:
    return b"From: scanner@example.org\r\nSubject: Scan\r\n\r\nNeither Message-ID nor Date.\r\n"


def _eight_bit_header() -> bytes:
    return "From: Zoë <zoe@example.com>\r\nSubject: Grüße, nicht kodiert\r\n\r\nLatin-1.\r\n".encode("latin-1")


def _bare_carriage_returns() -> bytes:
    return b"From: fax@example.org\r\nSubject: Old gateway\r\n\r\nA bare CR\rand a bare LF\nin one body.\r\n"


def _never_closed_multipart() -> bytes:
    head = [*_headers(8, "spam@example.com", "Broken"), f'Content-Type: multipart/mixed; boundary="{_MARK}"', ""]
    return "\r\n".join([*head, f"--{_MARK}", "", "The boundary is never closed.", ""]).encode()


def _long_header_line() -> bytes:
    return b"References: " + b" ".join(b"<%d@example.com>" % n for n in range(1200)) + b"\r\n\r\nA long thread.\r\n"


def _with_attachment() -> bytes:
    head = [
        *_headers(7, "bob@example.net", "Holiday pictures"),
        f'Content-Type: multipart/mixed; boundary="{_MARK}"',
        "",
        f"--{_MARK}",
        "Content-Type: text/plain",
        "",
        "Here they are.",
        f"--{_MARK}",
        'Content-Type: application/zip; name="pictures.zip"',
        "Content-Transfer-Encoding: base64",
        "",
        "",
    ]
    pictures = base64.encodebytes(random.Random(7).randbytes(_ATTACHMENT_OCTETS * 3 // 4)).replace(b"\n", b"\r\n")
    return "\r\n".join(head).encode() + pictures + f"--{_MARK}--\r\n".encode()
