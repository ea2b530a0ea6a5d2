"""Names and passwords in the one form in which they are compared (SASLprep, RFC 4013)."""

from __future__ import annotations

import stringprep
import unicodedata

from archiver.errors import AuthenticationFailed

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str, what: str) -> str:
    """The text as SCRAM compares it. Characters that Unicode 3.2 does not have are kept, as in a query (RFC 5802
    section 2.2). `what` is its name for people.

    Raises:
        AuthenticationFailed: it has characters that cannot be in one.
    """
    if text.isascii() and text.isprintable():
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(each) else each for each in text if not stringprep.in_table_b1(each)
    )
    normal = unicodedata.normalize("NFKC", mapped)
    if any(is_in(each) for each in normal for is_in in _PROHIBITED) or not _is_one_direction(normal):
        raise AuthenticationFailed(
            f"{what} has characters that SCRAM does not allow",
            hint='choose another password, or set login = "plain"',
        )
    return normal


def _is_one_direction(text: str) -> bool:
    """RFC 3454 section 6: text from right to left is so as a whole."""
    if not any(map(stringprep.in_table_d1, text)):
        return True
    ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    return ends and not any(map(stringprep.in_table_d2, text))
