"""What reads what others wrote: each takes any octets, and raises nothing.

Our own errors are answers; they are caught here. What has an inverse is held to it, and what reads in pieces to
what it says of the whole. Time and memory are limited by the fuzzer.
"""

from __future__ import annotations

import io
import os
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from archiver.config.moment import moment_of
from archiver.errors import ArchiverError, Where
from archiver.facts.segment import FORMAT, parsed
from archiver.imap import fetch_row, limits, replies, tokens
from archiver.imap.extensions import metadata, rights
from archiver.mail import content, dates, flags, folder_names, headers, refusal, rewrite
from archiver.mail.fingerprint import fingerprint_of
from archiver.mail.model import Digest
from archiver.mail.parts.contents import contents_of
from archiver.mail.parts.mime import structure_of
from archiver.mail.uidset import format_uid_set, parse_uid_set
from archiver.source.files import maildir as files_maildir
from archiver.source.files.mbox import NotAnMbox, messages_of
from archiver.source.pop3.session import Undotted
from archiver.storage.bucket import pack_format
from archiver.storage.maildir import format as maildir
from tests.fuzz import conversation, pop3

_OVERRIDES = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


@dataclass(frozen=True)
class Reader:
    """One reader, and what a fuzzer begins with."""

    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


def pieces_of(octets: bytes) -> Iterator[bytes]:
    """The octets in pieces of very different sizes."""
    start, size = 0, 1
    while start < len(octets):
        yield octets[start : start + size]
        start, size = start + size, 1 + (size * 7 + octets[start]) % 97


def deceives(text: str) -> bool:
    """Whether a terminal or a log would do something else than show this text."""
    return any(
        unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(each) in _OVERRIDES
        for each in text
    )


def imap_response(octets: bytes) -> None:
    """One response, with what is behind each line end as its literals."""
    text, *literals = octets.replace(b"\0", b"\x80").split(b"\r\n")
    for number in range(len(literals)):
        text = text.replace(b"{%d}" % number, b"\0%d\0" % number)
    response = tokens.Response(text, tuple(literals))
    for parse in (
        tokens.parse_list, tokens.parse_status, tokens.parse_namespace, tokens.parse_search, tokens.parse_vanished,
    ):  # fmt: skip
        parse(response)
    tokens.parse_appenduid(text)
    reply = replies.Reply(b"OK", text, [response])
    for look in (rights.rights_of, rights.mine_of, metadata.annotations_of):
        look(reply)
    if fetch_row.is_fetch(text):
        fetch_row.parse_fetch(response)
    with_body = tokens.Response(text + tokens.BODY_MARK + b")", tuple(literals), content.body_of(b"x"))
    fetch_row.parse_fetch(with_body)
    fetch_row.leading_flag_rows(octets)
    fetch_row.leading_attribute_rows(octets)


def imap_reply(octets: bytes) -> None:
    """The words of a NO, a BAD or a BYE."""
    assert isinstance(replies.error_of(octets, Where("server", "folder")), ArchiverError)
    replies.error_of(octets, Where("server"), writing=True, name=octets[:10])
    replies.response_code(octets)
    assert not deceives(replies.printable(octets))
    limits.wait_for(octets)
    limits.limits_reading(octets)
    refusal.classify(octets)


def uid_set(octets: bytes) -> None:
    """A set of UIDs; what is read can be written and read again."""
    try:
        uids = parse_uid_set(octets)
    except ValueError:
        return
    again = parse_uid_set(",".join(format_uid_set(uids)).encode()) if uids else uids
    assert again == uids


def folder_name(octets: bytes) -> None:
    """A folder's name on the wire, for people and as a directory."""
    text = folder_names.decode_name(octets)
    assert folder_names.decode_name(folder_names.encode_name(text)) == text
    assert not deceives(folder_names.printable(text))
    for delimiter in ("/", ".", None):
        path = folder_names.folder_path(octets, delimiter)
        directory = folder_names.directory_of(path, octets, set())
        assert directory == "" or (folder_names.is_directory(directory) and "/" not in directory), directory
        assert len(directory.encode("utf-8", "surrogateescape")) <= 255
    folder_names.matches(folder_names.folder_path(octets, "/"), ["*", "INBOX*", text])


def date(octets: bytes) -> None:
    """A date of a header, of a server, and of a command."""
    text = octets.decode("utf-8", "backslashreplace")
    dates.date_seconds(text)
    seconds = dates.internaldate_seconds(text)
    sent = dates.internaldate_to_send(text, 0)
    assert seconds is None or dates.internaldate_seconds(sent) is not None
    with suppress(ArchiverError, ValueError):
        moment_of(text, "--since")


def header(octets: bytes) -> None:
    """A header block: what is searched and shown of it."""
    block = content.header_block(octets)
    assert octets.startswith(block)
    assert content.read_header(io.BytesIO(octets)) == block
    its = headers.headers_of(block)
    assert not deceives(its.sender + its.recipients + its.subject), its
    for _, value in headers.fields_of(block):
        headers.folded(value)
    content.message_id(block)
    content.header_digest(block)
    content.arrived_of(None, block)
    content.is_placeholder(block)
    for name in ("Subject", "Received", "X-Absent"):
        content.header_value(block, name)


def message(octets: bytes) -> None:
    """A message: its parts, its digest, what is odd about it, and what a repair makes of it."""
    structure_of(io.BytesIO(octets))
    contents_of(io.BytesIO(octets))
    builder = content.BodyBuilder()
    for piece in pieces_of(octets):
        builder.feed(piece)
    assert builder.body(octets) == content.body_of(octets)
    assert fingerprint_of(pieces_of(octets)) == fingerprint_of([octets])
    assert refusal.features_of(pieces_of(octets)) == refusal.features_of([octets])
    for kinds in (("nul",), ("crlf",), ("long-lines",), rewrite.REPAIRS):
        whole = b"".join(rewrite.repair([octets], kinds))
        assert b"".join(rewrite.repair(pieces_of(octets), kinds)) == whole
        assert b"".join(rewrite.repair([whole], kinds)) == whole
    if refusal.features_of([octets]).has_bare_lf is False:
        assert b"".join(rewrite.repair([octets], ["crlf"])) == octets


def mbox(octets: bytes) -> None:
    """An mbox, as it is, and behind a line that begins one. Messages lie in it, one after the other."""
    for whole in (octets, b"From a@b.example Mon Jan  1 00:00:00 2024\n" + octets):
        fd = os.memfd_create("mbox")
        try:
            os.write(fd, whole)
            at = 0
            for each in messages_of(fd, "here", end=len(whole), modified=0):
                assert at <= each.place.offset <= each.place.offset + each.place.length <= len(whole), each
                at = each.place.offset + each.place.length
        except (NotAnMbox, ArchiverError):
            pass
        finally:
            os.close(fd)


def dots(octets: bytes) -> None:
    """A multi-line answer of POP3, whole and in pieces."""
    results = []
    for pieces in ([octets], list(pieces_of(octets))):
        reader, read, used = Undotted(), b"", 0
        for piece in pieces:
            if reader.ended:
                break
            some, count = reader.feed(piece)
            read, used = read + some, used + count
        results.append((reader.ended, read if reader.ended else b"", used))
    assert results[0] == results[1]


def segment(octets: bytes) -> None:
    """A segment of a journal: packed as it is, and as the lines that such octets would be."""
    for packed in (octets, zlib.compress(octets, wbits=31)):
        with suppress(ArchiverError):
            parsed("here", packed, 7)


def pack(octets: bytes) -> None:
    """A pack, its index and its frames."""
    for whole in (octets, _sealed(octets)):
        try:
            tail = pack_format.read_tail(whole, len(whole))
            pack_format.read_index(whole[tail.offset : tail.offset + tail.length], tail)
        except pack_format.Unreadable:
            pass
    with suppress(pack_format.Unreadable):
        pack_format.decompress(octets, Digest("0" * 64), len(octets))


def _sealed(octets: bytes) -> bytes:
    """A whole pack of one message, with these octets in place of its middle."""
    whole = pack_format.assemble([(Digest("ab" * 32), 3, pack_format.compress([b"abc"])[0])]).octets
    return whole[:20] + octets + whole[20 + len(octets) :]


def maildir_name(octets: bytes) -> None:
    """Names of files and directories in a Maildir, and the keywords' file."""
    text = octets.decode("utf-8", "surrogateescape")
    maildir.parse_base_name(text)
    maildir.parse_folder_name(text)
    keywords = flags.parse_keywords(text)
    assert len(keywords) <= 26
    flags.flags_from_letters(text, keywords)
    flags.parse_flags(text.split())
    base, _ = files_maildir.split_name(text, keywords)
    assert text.startswith(base)
    files_maildir.ours(base)
    files_maildir.arrived_of_file(base, 0)
    files_maildir.levels_of(text)


_FETCH = (
    b'* 1 FETCH (UID 1 FLAGS (\\Seen $Forwarded) INTERNALDATE "17-Jul-1996 02:44:25 -0700" RFC822.SIZE 12 '
    b"MODSEQ (5) EMAILID (M1) X-GM-MSGID 1278455344230334865 BODY[] {12}\r\nSubject: a\r\n)\r\n"
)
_HEADER = (
    b"Received: from a by b; Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\nFrom: =?utf-8?B?w4RsaWNl?= <a@b.example>\r\n"
    b"To: a@b.example,\r\n =?iso-8859-1?Q?B=F6b?= <b@c.example>\r\nSubject: =?utf-8?Q?=C3=A4?= b\r\n"
    b"Date: Wed, 17 Jul 1996 02:23:25 -0700\r\nMessage-ID: <1@b.example>\r\n"
)
_MULTIPART = (
    b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain; '
    b"charset=utf-8\r\n\r\ntext\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
)
_FACT = b'{"kind": "vanished", "epoch": 1, "uids": [1, 2], "at": "2026-11-24T07:00:00Z"}\n'

READERS: dict[str, Reader] = {
    "imap-conversation": Reader(conversation.converse, conversation.conversations()),
    "pop3-conversation": Reader(pop3.converse, pop3.conversations()),
    "imap-response": Reader(
        imap_response,
        (
            _FETCH, b'* LIST (\\Noselect) "/" {0}\r\nname', b'* STATUS "a b" (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 3)',
            b'* NAMESPACE (("" "/")) NIL NIL', b"* SEARCH 1 2 3", b'* ESEARCH (TAG "A1") UID ALL 1:5,7',
            b'* ACL "a b" u2 lrs {0} l\r\n\xc3\xa4', b'* METADATA "" ("/private/comment" "x" /shared/a NIL)',
            b"* VANISHED (EARLIER) 1:3,5", b"[APPENDUID 1 2:3]",
        ),
    ),
    "imap-reply": Reader(
        imap_reply,
        (
            b"NO [LIMIT] try again in 5 minutes", b"BAD Command Argument Error. 11", b"NO [OVERQUOTA] full",
            b"BYE [UNAVAILABLE] Session invalidated - AccessFileStore",
            b"NO [ALERT] Too many simultaneous connections",
        ),
    ),
    "uid-set": Reader(uid_set, (b"1:5,7", b"4294967295:1", b"*")),
    "folder-name": Reader(folder_name, (b"INBOX/&AOQ-", b"a.b&-c", "日本".encode(), b"../etc")),
    "date": Reader(
        date,
        (b"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)", b"17-Jul-1996 02:44:25 -0700", b"2026-11-20T14:00"),
    ),
    "header": Reader(header, (_HEADER, _HEADER + b"\r\nbody")),
    "message": Reader(
        message, (_HEADER + _MULTIPART + _HEADER + b"\r\nx\r\n--b--\r\n", b"a\nb\0c\r" + b"x" * 2000)
    ),
    "mbox": Reader(
        mbox,
        (
            b"From a@b.example Mon Jan  1 00:00:00 2024\n"
            + _HEADER
            + b"Content-Length: 6\n\nFrom x\n\nFrom b\n\n>From y\n",
            b"From - Mon Jan  1 00:00:00 2024\r\nX-Mozilla-Status: 0001\r\nStatus: RO\r\n\r\n>>From\r\n",
        ),
    ),
    "dots": Reader(dots, (b"a\r\n..b\r\n.\r\n+OK", b".\r\n", b"..\r\n.\r\n")),
    "segment": Reader(
        segment,
        (
            b'{"format": "%b", "number": 7, "run": "r", "previous": "%b"}\n' % (FORMAT.encode(), b"0" * 64) + _FACT,
        ),
    ),
    "pack": Reader(pack, (_sealed(b""), pack_format.compress([b"abc"])[0])),
    "maildir-name": Reader(
        maildir_name,
        (b"1.V7U1.0123456789abcdef,S=5,W=6", b"vanished/.a.V7-2", b"Maildir/.a", b"0 $Forwarded\n1 NonJunk\n"),
    ),
}  # fmt: skip
