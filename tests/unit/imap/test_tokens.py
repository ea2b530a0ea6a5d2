"""What real servers send, read as it was meant: rows of LIST, STATUS, SEARCH and FETCH, and what refusals mean.

The lines are as servers sent them; `\\x000\\x00` stands where a literal was, `\\x00\\x00` where the message was, as
the session leaves it.
"""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.errors import (
    AuthenticationFailed,
    BackendError,
    ConnectionLost,
    FolderNotFound,
    MessageRefused,
    PermissionDenied,
    ServerUnavailable,
    Throttled,
    Where,
)
from archiver.imap.fetch_row import is_fetch, leading_attribute_rows, leading_flag_rows, parse_fetch
from archiver.imap.replies import error_of, printable, response_code
from archiver.imap.tokens import (
    ListRow,
    Response,
    number,
    parse_appenduid,
    parse_list,
    parse_namespace,
    parse_search,
    parse_status,
    parse_vanished,
    quote,
)
from archiver.mail.content import BodyBuilder
from archiver.mail.model import Attributes, Body, FolderStatus, Marks
from archiver.mail.uidset import UidSet

MANY_DIGITS = b"9" * 5000
BODY = BodyBuilder().body(octets=b"")
BEYOND_SQL = b"9223372036854775808"  # 2**63


def listed(text: bytes, *literals: bytes) -> ListRow | None:
    return parse_list(Response(text, literals))


def row(attributes: str, delimiter: bytes | None, raw: bytes) -> ListRow:
    return ListRow(frozenset(attributes.split()), delimiter, raw)


# -- LIST ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            rb'* List (\HasNoChildren) "/" "INBOX"', row(r"\hasnochildren", b"/", b"INBOX"), id="any case"
        ),
        pytest.param(
            rb'* LIST (\Noinferiors \HasNoChildren) "\\" Inbox',
            row(r"\noinferiors \hasnochildren", b"\\", b"Inbox"),
            id="Domino: a backslash between levels",
        ),
        pytest.param(
            rb'* LIST (\Inbox \HasNoChildren) "/" "Inbox"',
            row(r"\inbox \hasnochildren", b"/", b"Inbox"),
            id="Outlook: attributes nobody registered",
        ),
        pytest.param(rb'* LIST () NIL "Folder1"', row("", None, b"Folder1"), id="flat, NIL"),
        pytest.param(rb'* LIST () "" "Folder2"', row("", None, b"Folder2"), id="flat, empty"),
        pytest.param(
            b'* LIST (\\HasNoChildren) "/" INBOX/Da\tOggetto\tRicevuto\tDimensione\tCategorie\t',
            row(r"\hasnochildren", b"/", b"INBOX/Da\tOggetto\tRicevuto\tDimensione\tCategorie\t"),
            id="Exchange: unquoted, with tabs to the end",
        ),
        pytest.param(
            rb'* LIST (\HasNoChildren) "/" "Folder/Subfolder \"i am subfolder\""',
            row(r"\hasnochildren", b"/", b'Folder/Subfolder "i am subfolder"'),
            id="quotes in quotes",
        ),
        pytest.param(rb'* LIST (\NoSelect) "/" ""', None, id="Zimbra: the root"),
        pytest.param(
            rb'* XLIST (\HasNoChildren \) "." "INBOX.ARCH"',
            row(r"\hasnochildren", b".", b"INBOX.ARCH"),
            id="home.pl: a lone backslash",
        ),
        pytest.param(
            rb'* XLIST (\HasChildren \Unmarked \Drafts \Drafts) "|" Drafts',
            row(r"\haschildren \unmarked \drafts", b"|", b"Drafts"),
            id="Yandex: attributes twice",
        ),
        pytest.param(
            rb'* LIST (\HasNoChildren) "|" "&BBAEMQQyACYEMwQ0BDU-"',
            row(r"\hasnochildren", b"|", b"&BBAEMQQyACYEMwQ0BDU-"),
            id="Yandex: the name as it is spelt",
        ),
        pytest.param(rb'* LIST () "/" "Foo & Bar"', row("", b"/", b"Foo & Bar"), id="not modified UTF-7"),
        pytest.param('* LIST () "/" "Entwürfe"'.encode(), row("", b"/", "Entwürfe".encode()), id="8-bit in quotes"),
        pytest.param(rb'* LIST () "/" NIL', row("", b"/", b"NIL"), id="a folder called NIL"),
        pytest.param(rb'* LIST () "/" +oben', row("", b"/", b"+oben"), id="plus"),
        pytest.param(rb'* LIST () "/" br[ack', row("", b"/", b"br[ack"), id="bracket"),
        pytest.param(
            rb'* LIST (\HasNoChildren) "." 00=[ALL]', row(r"\hasnochildren", b".", b"00=[ALL]"), id="brackets"
        ),
        pytest.param(rb'* LIST () "/" AT&T', row("", b"/", b"AT&T"), id="ampersand"),
        pytest.param(
            rb'* LIST (\Subscribed) "/" "a b" ("CHILDINFO" ("SUBSCRIBED"))',
            row(r"\subscribed", b"/", b"a b"),
            id="extended data behind a quoted name",
        ),
        pytest.param(
            rb'* LIST () "/" Fruit ("CHILDINFO" ("SUBSCRIBED"))',
            row("", b"/", b"Fruit"),
            id="extended data behind an atom",
        ),
        pytest.param(rb'* LSUB () "/" trailing ', row("", b"/", b"trailing "), id="a blank at the end"),
        pytest.param(rb'* LIST () "/" ../../etc', row("", b"/", b"../../etc"), id="a path"),
    ],
)
def test_list_rows_of_real_servers(text: bytes, expected: ListRow | None) -> None:
    assert listed(text) == expected


def test_names_come_as_literals_too() -> None:
    assert listed(b'* LIST (\\HasNoChildren) "/" \x000\x00', b"Literal Folder Name") == row(
        r"\hasnochildren", b"/", b"Literal Folder Name"
    )
    assert listed(b'* LIST () "/" \x000\x00', b"a\r\nb\0") == row("", b"/", b"a\r\nb\0")


@pytest.mark.parametrize("text", [b"* OK LIST", b"* STATUS a (MESSAGES 1)", b"* LIST", b'A1 LIST () "/" a'])
def test_other_responses_are_no_list_rows(text: bytes) -> None:
    assert listed(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (rb'* NAMESPACE (("INBOX." ".")) (("user." ".")) (("" "."))', (b"INBOX.", b".")),
        (rb'* NAMESPACE (("" "\\")) (("Other\\" "\\")) (("Shared\\" "\\"))', (b"", b"\\")),
        (rb'* namespace (("" NIL)) NIL NIL', (b"", None)),
        (b"* NAMESPACE NIL NIL NIL", None),
    ],
)
def test_the_personal_namespace(text: bytes, expected: tuple[bytes, bytes | None] | None) -> None:
    assert parse_namespace(Response(text)) == expected


@pytest.mark.parametrize(
    ("raw", "quoted"),
    [
        (b"INBOX", b'"INBOX"'),
        (b'say "hi"', b'"say \\"hi\\""'),
        (b"a\\b", b'"a\\\\b"'),
        (b"tab\there", b'"tab\there"'),
        ("é".encode(), None),
        (b"a\r\nA2 DELETE INBOX", None),
        (b"nul\0", None),
    ],
)
def test_names_go_back_in_quotes_or_as_literals(raw: bytes, quoted: bytes | None) -> None:
    assert quote(raw) == quoted


# -- STATUS --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "literals", "expected"),
    [
        (
            b"* STATUS INBOX (MESSAGES 3 UIDNEXT 9 UIDVALIDITY 7 HIGHESTMODSEQ 12 SIZE 4096)",
            (),
            (b"INBOX", FolderStatus(7, 9, 3, 12, 4096)),
        ),
        (
            b"* STATUS \x000\x00 (MESSAGES 60 UIDVALIDITY 1)",
            (b"Literal Folder Name",),
            (b"Literal Folder Name", FolderStatus(1, None, 60)),
        ),
        (b'* status "a (b) \\"c\\"" (uidvalidity 1 messages 0)', (), (b'a (b) "c"', FolderStatus(1, None, 0))),
        (b"* STATUS a b (MESSAGES 1 UIDVALIDITY 2) ", (), (b"a b", FolderStatus(2, None, 1))),
        (b"* STATUS x (MESSAGES 1 UIDVALIDITY 2 HIGHESTMODSEQ 0)", (), (b"x", FolderStatus(2, None, 1))),
        (b"* STATUS x (MESSAGES 1 UIDVALIDITY 2 XYMHIGHESTMODSEQ 5)", (), (b"x", FolderStatus(2, None, 1))),
        (b"* STATUS x (MESSAGES 1 UIDNEXT 5)", (), None),
        (b"* STATUS x (UIDVALIDITY 1)", (), None),
        (b"* LIST () NIL x", (), None),
    ],
)
def test_status_rows(text: bytes, literals: tuple[bytes, ...], expected: tuple[bytes, FolderStatus] | None) -> None:
    assert parse_status(Response(text, literals)) == expected


@pytest.mark.parametrize("beyond", [BEYOND_SQL, MANY_DIGITS])
def test_status_numbers_beyond_all_measure_are_absent(beyond: bytes) -> None:
    text = b"* STATUS x (MESSAGES 1 UIDVALIDITY 2 UIDNEXT %b HIGHESTMODSEQ %b SIZE %b)" % (beyond, beyond, beyond)
    assert parse_status(Response(text)) == (b"x", FolderStatus(2, None, 1))
    assert parse_status(Response(b"* STATUS x (MESSAGES 1 UIDVALIDITY %b)" % beyond)) is None
    assert parse_status(Response(b"* STATUS x (MESSAGES %b UIDVALIDITY 1)" % beyond)) is None


def test_the_greatest_number_a_database_holds_is_a_number() -> None:
    assert number(b"9223372036854775807") == 2**63 - 1
    assert number(BEYOND_SQL) is None


# -- SEARCH --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"* SEARCH 2 84 882", [2, 84, 882]),
        (b"* SEARCH 7456 ", [7456]),
        (b"* search", []),
        (b"* SEARCH 1 (MODSEQ 917162500)", [1]),
        (b'* ESEARCH (TAG "A282") UID ALL 1:3,5', [1, 2, 3, 5]),
        (b'* ESEARCH (TAG "A283") UID COUNT 2 ALL 7,10:9', [7, 9, 10]),
        (b'* ESEARCH (TAG "A284") UID', []),
        (b"* 5 EXISTS", []),
        (b"* SEARCH 0 5 4294967295 4294967296 " + MANY_DIGITS, [5, 4294967295]),
        (b'* ESEARCH (TAG "A1") UID ALL 1::2', []),
        (b'* ESEARCH (TAG "A1") UID ALL 0:3', []),
        (b'* ESEARCH (TAG "A1") UID ALL 1:4294967296', []),
        (b'* ESEARCH (TAG "A1") UID ALL ' + MANY_DIGITS, []),
    ],
)
def test_search_answers(text: bytes, expected: list[int]) -> None:
    assert list(parse_search(Response(text))) == expected


def test_an_answer_of_all_uids_there_could_be_costs_nothing() -> None:
    assert len(parse_search(Response(b'* ESEARCH (TAG "A1") UID ALL 1:4294967295'))) == 2**32 - 1
    assert parse_vanished(Response(b"* VANISHED (EARLIER) 1:4294967295")) == (True, UidSet(range(1, 2**32)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"* VANISHED (EARLIER) 41,43:44", (True, frozenset({41, 43, 44}))),
        (b"* vanished 5", (False, frozenset({5}))),
        (b"* VANISHED (EARLIER) 0", None),
        (b"* VANISHED (EARLIER) 1::2", None),
        (b"* VANISHED (EARLIER) " + MANY_DIGITS, None),
        (b"* 4 EXPUNGE", None),
    ],
)
def test_vanished(text: bytes, expected: tuple[bool, frozenset[int]] | None) -> None:
    assert parse_vanished(Response(text)) == expected


# -- APPENDUID -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"OK [APPENDUID 38505 3955] APPEND completed", (38505, (3955,))),
        (b"OK [appenduid 1 7:5,9]", (1, (5, 6, 7, 9))),
        (b"OK [APPENDUID 18446744073709551615 1] UIDVALIDITY of 64 bits", None),
        (b"OK APPEND completed", None),
        (b"NO [APPENDUID 1 1]", (1, (1,))),
        (b"OK [APPENDUID 1 0]", None),
        (b"OK [APPENDUID 1 1:4294967295]", None),
        (b"OK [APPENDUID 1 1:9999999999999999999999999]", None),
        (b"OK [APPENDUID 1 1:%b]" % MANY_DIGITS, None),
        (b"OK [APPENDUID %b 1]" % MANY_DIGITS, None),
        (b"OK [APPENDUID 1 ,]", None),
    ],
)
def test_appenduid(reply: bytes, expected: tuple[int, tuple[int, ...]] | None) -> None:
    assert parse_appenduid(reply) == expected


# -- FETCH ---------------------------------------------------------------------------------------------------

SEEN = frozenset({"\\Seen"})


@pytest.mark.parametrize(
    ("text", "attributes", "body"),
    [
        pytest.param(
            b'* 1 FETCH (UID 9 FLAGS (\\Seen) INTERNALDATE "17-Jul-1996 02:44:25 -0700" RFC822.SIZE 9'
            b" BODY[] \x00\x00)",
            Attributes(9, SEEN, "17-Jul-1996 02:44:25 -0700", 9),
            BODY,
            id="all in order",
        ),
        pytest.param(
            b"* 1 FETCH (BODY[] \x00\x00 UID 9 FLAGS (\\Seen))",
            Attributes(9, SEEN),
            BODY,
            id="items after the literal",
        ),
        pytest.param(
            b"* 1989 FETCH (UID 1989 FLAGS (\\Seen)  BODY[HEADER] \x00\x00)",
            Attributes(1989, SEEN),
            BODY,
            id="DavMail: two blanks",
        ),
        pytest.param(
            b"* 280 FETCH (UID 585599 BODY[] \x00\x00\r)".replace(b"\r", b" "),
            Attributes(585599),
            BODY,
            id="a blank behind the literal",
        ),
        pytest.param(b'* 3 FETCH (UID 4 BODY[] "")', Attributes(4), b"", id="empty string"),
        pytest.param(
            b'* 3 FETCH (UID 4 BODY[] "a \\"b\\" ) UID 5 (")', Attributes(4), b'a "b" ) UID 5 (', id="quoted body"
        ),
        pytest.param(
            b"* 1 fetch (uid 2 flags (nil) body[]<0> \x00\x00)",
            Attributes(2, frozenset({"nil"})),
            BODY,
            id="lower case, a flag called nil, an origin",
        ),
        pytest.param(
            b"* 2 FETCH (UID 14935 (RFC822.SIZE 5) BODY[] \x00\x00)",
            Attributes(14935, size=5),
            BODY,
            id="Domino: brackets too many",
        ),
        pytest.param(
            b"* 1 FETCH (UID 1 MODSEQ (12) EMAILID (M6d99ac3275bb4e) BODY[] \x00\x00)",
            Attributes(1, modseq=12, emailid="M6d99ac3275bb4e"),
            BODY,
            id="identity and modseq",
        ),
        pytest.param(
            b"* 1 FETCH (UID 1 EMAILID NIL BODY[] \x00\x00)", Attributes(1), BODY, id="no identity for this message"
        ),
        *(
            pytest.param(
                b"* 1 FETCH (UID 1 %s BODY[] \x00\x00)" % nothing, Attributes(1), BODY, id=nothing.decode()
            )
            for nothing in (b"EMAILID ()", b"EMAILID (NIL)", b"EMAILID (0)", b"EMAILID ( )", b"X-GM-MSGID 0")
        ),
        pytest.param(
            b"* 1 FETCH (X-GM-MSGID 1278455344230334865 UID 1 BODY[] \x00\x00)",
            Attributes(1, emailid="gm:1278455344230334865"),
            BODY,
            id="Gmail's identity",
        ),
        pytest.param(
            b'* 1 FETCH (X-GM-LABELS ("\\\\Important" "a) b" {0}) UID 1 X-GM-THRID 12 BODY[] \x00\x00)',
            Attributes(1, thrid="12", labels=frozenset({"\\Important", "a) b", "{0}"})),
            BODY,
            id="Gmail's labels and thread",
        ),
        pytest.param(
            b"* 1 FETCH (UID 1 BODY[] \x00\x00 X-GM-LABELS () FLAGS (\\Seen) X-MAILBOX NIL)",
            Attributes(1, SEEN, labels=frozenset()),
            BODY,
            id="items of an extension behind the message",
        ),
        pytest.param(
            b'* 1 FETCH (SAVEDATE NIL UID 1 BODYSTRUCTURE (("text" "plain" ("charset" "a(b") NIL) "mixed")'
            b" BODY[] \x00\x00 PREVIEW \x001\x00)",
            Attributes(1),
            BODY,
            id="lists in lists, a literal",
        ),
    ],
)
def test_rows_with_a_body(text: bytes, attributes: Attributes, body: bytes | Body) -> None:
    found = parse_fetch(Response(text, (), BODY))
    assert (found.attributes, found.body, found.has_body, found.clean) == (attributes, body, True, True)


def test_a_body_that_is_not_read_separately_is_its_literal() -> None:
    found = parse_fetch(Response(b"* 1 FETCH (UID 1 EMAILID NIL BODY[]<0> \x001\x00)", (b"other", b"octets")))
    assert (found.body, found.has_body, found.clean) == (b"octets", True, True)


@pytest.mark.parametrize(
    ("text", "attributes"),
    [
        pytest.param(b"* 7 FETCH (UID 7)", Attributes(7), id="iCloud: OK without the message"),
        pytest.param(b"* 11487 FETCH (UID 19436 )", Attributes(19436), id="QQ: a blank before the bracket"),
        pytest.param(
            b"* 51868 FETCH (FLAGS (NonJunk) UID 51958)", Attributes(51958, frozenset({"NonJunk"})), id="unasked"
        ),
        pytest.param(b"* 1 FETCH (MODSEQ (0) FLAGS (\\Seen) UID 1)", Attributes(1, SEEN), id="Zoho: modseq 0"),
        pytest.param(b"* 1 FETCH (MODSEQ (-1) FLAGS (\\Seen) UID 1)", Attributes(1, SEEN), id="Zoho: modseq -1"),
        pytest.param(b"* 1 FETCH (RFC822.SIZE 9.3736e+06 UID 84)", Attributes(84, size=9373600), id="mail.ru: 9e6"),
        pytest.param(b"* 1 FETCH (RFC822.SIZE NIL UID 84)", Attributes(84), id="Kopano: no size"),
        pytest.param(b"* 1 FETCH (RFC822.SIZE null UID 84)", Attributes(84), id="IceWarp: null"),
        pytest.param(b"* 1 FETCH (RFC822.SIZE -5 UID 84)", Attributes(84), id="a negative size"),
        pytest.param(b"* 1 FETCH (RFC822.SIZE 1e999 UID 84)", Attributes(84), id="an infinite size"),
        pytest.param(b"* 1 FETCH (RFC822.SIZE 1e30 UID 84)", Attributes(84), id="a size beyond all measure"),
        pytest.param(b"* 1 FETCH (UID 3 INTERNALDATE NIL)", Attributes(3), id="no date"),
        pytest.param(
            b'* 1 FETCH (UID 3 INTERNALDATE "00-Jan-0000 00:00:00 +0000")',
            Attributes(3, internaldate="00-Jan-0000 00:00:00 +0000"),
            id="Domino: a date that is none, verbatim",
        ),
        pytest.param(
            b'* 1 FETCH (UID 3 INTERNALDATE "8-Mar-2023 12:16:47 +0800")',
            Attributes(3, internaldate="8-Mar-2023 12:16:47 +0800"),
            id="one digit, verbatim",
        ),
        pytest.param(
            b"* 1 FETCH (UID 3 FLAGS (\\seen \\RECENT $Label1))",
            Attributes(3, frozenset({"\\Seen", "$Label1"})),
            id="flags have one spelling",
        ),
        pytest.param(
            b'* 1 FETCH (X-GM-LABELS (\\Inbox \\Sent Important "Muy Importante") UID 3)',
            Attributes(3, labels=frozenset({"\\Inbox", "\\Sent", "Important", "Muy Importante"})),
            id="Gmail's labels as its documentation has them",
        ),
        pytest.param(
            b'* 1 FETCH (X-GM-LABELS ("\\\\Starred" "a \\"b\\" \\\\ c" \x000\x00 &APwDwA-) UID 3 FLAGS ())',
            Attributes(3, frozenset(), labels=frozenset({"\\Starred", 'a "b" \\ c', 'in "a" literal (', "üπ"})),
            id="Gmail's labels: escaped quotes, a literal, modified UTF-7",
        ),
        pytest.param(b"* 1 FETCH (UID 3 X-GM-LABELS NIL)", Attributes(3, labels=frozenset()), id="NIL labels"),
        pytest.param(b"* 1 FETCH (UID 3 FLAGS ())", Attributes(3, frozenset()), id="no flags"),
    ],
)
def test_rows_without_a_body(text: bytes, attributes: Attributes) -> None:
    found = parse_fetch(Response(text, (b'in "a" literal (',)))
    assert (found.attributes, found.has_body, found.clean) == (attributes, False, True)


def test_a_body_that_is_nil_is_there_and_has_no_octets() -> None:
    found = parse_fetch(Response(b"* 1 FETCH (UID 4 RFC822.SIZE 12 BODY[] NIL)"))
    assert (found.body, found.has_body, found.clean) == (None, True, True)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"* 1 FETCH (UID 4 BODY[] \x00\x00rest of the message", id="a literal cut too early"),
        pytest.param(b"* 1 FETCH (UID 4 BODY[] \x00\x00rest FLAGS ())", id="octets between literal and items"),
        pytest.param(b"* 1 FETCH (UID 3016 BODY[] )", id="Yandex: a value left out"),
        pytest.param(b"* 1 FETCH (UID 4 BODY[] \x00\x00with regards)", id="words that look like an item"),
        pytest.param(b"* 1 FETCH (UID 4 BODY[] \x00\x00X-GM-LABELS (a)", id="an item without its end"),
        pytest.param(b"* 1 FETCH (X-GM-LABELS UID 4 BODY[] \x00\x00)", id="an item without a value"),
        pytest.param(b'* 1 FETCH (X-A "b UID 4 BODY[] \x00\x00)', id="a string without its end"),
    ],
)
def test_rows_that_do_not_add_up_are_not_clean(text: bytes) -> None:
    assert not parse_fetch(Response(text)).clean


@pytest.mark.parametrize(
    "piece",
    [b"FLAGS (", b"X-A (", b'X-A "', b"UID ", b"BODY[", b'BODY[] "', b"(", b"()", b"EMAILID (", b"A B ", b"a"],
)
def test_a_hostile_row_takes_no_longer_than_its_length(piece: bytes) -> None:
    text = b"* 1 FETCH (" + piece * (65_536 // len(piece))
    began = time.process_time()
    parse_fetch(Response(text))
    parse_fetch(Response(text + b" BODY[] NIL)"))

    assert time.process_time() - began < 1.0  # a search for items took 4 s


FLAG_ROWS = st.sampled_from(
    [
        b"* 1 FETCH (UID 7 FLAGS (\\Seen Work))\r\n",
        b"* 2 FETCH (FLAGS () UID 8 MODSEQ (5))\r\n",
        b"* 3 FETCH (FLAGS (\\Seen))\r\n",
        b"* 4 FETCH (UID 9)\r\n",
        b"* 5 EXISTS\r\n",
        b"A1 OK done\r\n",
        b"* 6 FETCH (UI",
        b"* 7 FETCH (UID 10 FLAGS () BODY[] {3}\r\nabc)\r\n",
        b"* 8 FETCH (UID 4294967295 FLAGS ())\r\n",
    ]
)


@given(st.lists(FLAG_ROWS, max_size=8))
def test_rows_of_flags_that_are_read_together_say_the_same_as_each_by_itself(lines: list[bytes]) -> None:
    rows = leading_flag_rows(b"".join(lines))

    count = len(rows.numbers)
    alone = [parse_fetch(Response(line.removesuffix(b"\r\n"))).attributes for line in lines[:count]]
    assert rows.marks == [Marks(each.uid, each.flags) for each in alone if each and each.flags is not None]
    assert rows.numbers == [int(line.split()[1]) for line in lines[:count]]
    assert rows.octets == sum(map(len, lines[:count]))


ATTRIBUTE_ROWS = st.sampled_from(
    [
        b'* 1 FETCH (UID 7 FLAGS (\\Seen Work) INTERNALDATE "01-Mar-2021 10:15:00 +0530" RFC822.SIZE 12)\r\n',
        b'* 2 FETCH (UID 8 FLAGS () INTERNALDATE " 1-Mar-2021 10:15:00 +0530" RFC822.SIZE 0 MODSEQ (5))\r\n',
        b'* 3 FETCH (UID 9 FLAGS () INTERNALDATE "\xff" RFC822.SIZE 1 MODSEQ (0))\r\n',
        b'* 4 FETCH (UID 0 FLAGS () INTERNALDATE "" RFC822.SIZE 1)\r\n',
        b'* 5 FETCH (UID 10 FLAGS () INTERNALDATE "a\\"b" RFC822.SIZE 1)\r\n',
        b"* 6 FETCH (UID 11 FLAGS (\\Seen))\r\n",
        b"* 7 EXISTS\r\n",
        b"A1 OK done\r\n",
        b"* 8 FETCH (UID 12 FLAGS () INTERNALDATE",
        b'* 9 FETCH (UID 13 FLAGS () INTERNALDATE "x" RFC822.SIZE 3 BODY[] {3}\r\nabc)\r\n',
    ]
)


@given(st.lists(ATTRIBUTE_ROWS, max_size=8))
def test_rows_of_attributes_that_are_read_together_say_the_same_as_each_by_itself(lines: list[bytes]) -> None:
    rows, octets = leading_attribute_rows(b"".join(lines))

    alone = [parse_fetch(Response(line.removesuffix(b"\r\n"))).attributes for line in lines[: len(rows)]]
    assert [row.attributes for row in rows] == alone
    assert [b"* %d " % row.number for row in rows] == [line[:4] for line in lines[: len(rows)]]
    assert octets == sum(map(len, lines[: len(rows)]))


ITEMS = st.sampled_from(
    [b"UID 7", b"UID 0", b"UID 4294967296", b"FLAGS (\\Seen Work)", b"FLAGS ()", b"FLAGS (\\seen)",
     b"RFC822.SIZE 12",
     b"RFC822.SIZE 99999999999999999999", b'INTERNALDATE "01-Mar-2021 10:15:00 +0530"', b'INTERNALDATE "\xff"',
     b"MODSEQ (5)", b"MODSEQ (0)", b"MODSEQ (99999999999999999999)", b"BODY[] \x00\x00", b"BODY[] NIL", b"X-ODD 1"]
)  # fmt: skip


@given(st.lists(ITEMS, max_size=6))
def test_a_row_says_the_same_in_whatever_case_it_is_written(items: list[bytes]) -> None:
    """Rows as most servers write them are read in a shorter way."""
    rest = b" (%b)" % b" ".join(items)
    body = BODY if b"\x00\x00" in rest else None
    usual, odd = (parse_fetch(Response(b"* 1 " + word + rest, (), body)) for word in (b"FETCH", b"fetch"))
    assert usual == odd


def test_items_behind_a_word_that_is_none_are_read() -> None:
    found = parse_fetch(Response(b"* 1 FETCH (X-BARE FLAGS (\\Seen) UID 1 RFC822.SIZE 7)"))
    assert (found.attributes, found.clean) == (Attributes(1, size=7), False)


@pytest.mark.parametrize("uid", [b"0", b"4294967296", MANY_DIGITS])
def test_a_row_with_an_impossible_uid_is_unsolicited(uid: bytes) -> None:
    assert parse_fetch(Response(b"* 1 FETCH (UID %b BODY[] \x00\x00)" % uid)).attributes is None


def test_a_row_without_a_uid_is_unsolicited() -> None:
    found = parse_fetch(Response(b"* 14 FETCH (FLAGS (\\Seen \\Deleted))"))
    assert (found.attributes, found.clean) == (None, True)


@pytest.mark.parametrize("beyond", [BEYOND_SQL, MANY_DIGITS])
def test_sizes_and_modseqs_beyond_all_measure_are_absent(beyond: bytes) -> None:
    text = b"* 1 FETCH (UID 4294967295 RFC822.SIZE %b MODSEQ (%b))" % (beyond, beyond)
    assert parse_fetch(Response(text)).attributes == Attributes(4294967295)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(b"* 1 FETCH (UID 1)", True), (b"* 12 fetch (", True), (b"* 1 EXPUNGE", False), (b"A1 OK FETCH (", False)],
)
def test_fetch_rows_are_distinguished_from_others(text: bytes, expected: bool) -> None:
    assert is_fetch(text) is expected


# -- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"NO [AUTHENTICATIONFAILED] Invalid credentials", AuthenticationFailed),
        (b"NO [WEBALERT https://accounts.google.com/] Please log in via your web browser", AuthenticationFailed),
        (
            b"NO [ALERT] Application-specific password required: https://support.google.com/accounts/answer/185833",
            AuthenticationFailed,
        ),
        (b"NO EXAMINE Unsafe Login. Please contact kefu@188.com for help", AuthenticationFailed),
        (b"BAD User is authenticated but not connected.", ServerUnavailable),
        (b"NO [UNAVAILABLE] UID FETCH Server error while fetching messages", ServerUnavailable),
        (b"NO [INUSE] Mailbox in use", ServerUnavailable),
        (b"NO [NONEXISTENT] Unknown Mailbox: [Gmail] (now in authenticated state) (Failure)", FolderNotFound),
        (b"NO [TRYCREATE] Mailbox doesn't exist: INBOX.INBOX.Trash", FolderNotFound),
        (b"NO [NOPERM] Access denied", PermissionDenied),
        (b"NO [LIMIT] Too much", Throttled),
        (b"NO [THROTTLED] Slow down", Throttled),
        (b"NO Maximum number of connections from user+IP exceeded", Throttled),
        (b"NO [ALERT] Too many simultaneous connections. (Failure)", Throttled),
        (b"BYE Connection closed. 14", ConnectionLost),
        (b"NO Some messages could not be FETCHed (Failure)", MessageRefused),
        (b"BAD Command Error. 10", MessageRefused),
    ],
)
def test_what_a_refusal_means(text: bytes, expected: type[BackendError]) -> None:
    error = error_of(text, Where(server="imap.example.org"))
    assert type(error) is expected
    assert error.server_reply == text.decode()


def test_without_a_hint_it_is_what_was_asked_for() -> None:
    assert type(error_of(b"NO sorry", Where(), FolderNotFound)) is FolderNotFound


def test_exchange_says_how_long_to_wait() -> None:
    error = error_of(b"BAD Request is throttled. Suggested Backoff Time: 297459 milliseconds", Where())
    assert isinstance(error, Throttled)
    assert error.delay_seconds == 297.459


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"NO [NonExistent] gone", b"NONEXISTENT"),
        (b"OK [UIDVALIDITY 7] valid", b"UIDVALIDITY"),
        (b"OK The Microsoft Exchange IMAP4 service is ready. [TQBXAEgA]", None),
        (b"NO Folder [x] is bad", None),
    ],
)
def test_a_response_code_stands_right_behind_the_status(text: bytes, expected: bytes | None) -> None:
    assert response_code(text) == expected


def test_a_servers_words_are_one_short_safe_line() -> None:
    shown = printable(b"NO \x1b[2Jgone\r\nroot: \xff" + b"x" * 1000)
    assert shown.isprintable()
    assert len(shown) == 300
