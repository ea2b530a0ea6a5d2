"""Recognises the folders for sent mail, drafts, trash, junk and archives by their names, in many languages.

If the server does not support SPECIAL-USE (RFC 6154), or mail programs never set it, only a folder's name shows
what it is for. The names are in special_use.toml.
"""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path


@cache  # read at the first need: an account without a destination has none
def names_of_uses() -> Mapping[str, Sequence[str]]:
    """The names of each use, the preferred first; special_use.toml has them by language."""
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    return {
        f"\\{use}": tuple(dict.fromkeys(chain.from_iterable(by_language.values())))
        for use, by_language in tomllib.loads(text).items()
    }


def folded(text: str) -> str:
    """`text`, normalised in case and in the composition of accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


#: Gmail keeps its own folders below one of these, which is not translated.
_GMAIL = frozenset(map(folded, ("[Gmail]", "[Google Mail]")))


@cache
def _known() -> Mapping[str, tuple[str, int]]:
    return {
        folded(name): (use, rank)
        for use, names in names_of_uses().items()
        for rank, name in reversed(
            tuple(enumerate(names))
        )  # if two spellings are the same after folding, the first counts
    }


def special_name(path: Sequence[str]) -> tuple[str, int] | None:
    """The special use that a folder's name indicates, and the rank of that name (lower is preferred); None if it
    indicates none.

    Only a name at the top level, or directly below `[Gmail]`, counts: `Projects/Archive` may be anything.
    """
    if len(path) == 1 or (len(path) == 2 and folded(path[0]) in _GMAIL):
        return _known().get(folded(path[-1]))
    return None
