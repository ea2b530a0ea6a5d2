"""Numbers with their nouns, for people."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with what it counts: "no messages", "1 message", "12,345 messages". `many` is said of other numbers
    than one; without it, `one` with an s: `counted(2, "copy is", "copies are")`."""
    amount = f"{number:,}" if number else "no"
    return f"{amount} {one}" if number == 1 else f"{amount} {many or one + 's'}"
