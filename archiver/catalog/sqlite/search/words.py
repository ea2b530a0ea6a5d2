"""How a text is cut into the words of an index, so that any part of the text is found by them.

A text is a sequence of runs: letters and digits, ideographs and kana, or punctuation. White space only separates.
Where a run begins and ends depends on its own characters alone, so a part of a text has the same runs, but for its
first one, which may be the end of a longer one, and its last one, which may be the beginning.

    most runs        are words
    ideographs       are cut into overlapping pairs, since nothing separates their words
    a rare run       of many characters, or with digits, is cut into overlapping grams: there are too many different
                     ones to list them
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache

_LONGEST = 24  # characters of a run that is a word
_LONGEST_NUMBER = 7  # of one with digits
_GRAM, _PAIR = 4, 2
_MARK = "\ue000"  # before a gram; a blank where a text has it
_REMEMBERED = 100_000  # runs

#: Han, kana, bopomofo.
_IDEOGRAPHS = "\u3005-\u3007\u3040-\u318f\u31a0-\u31ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_PUNCTUATION = r"!-/:-@\[-`{-~\u00a1-\u00bf\u2000-\u206f\u3000-\u3004\u3008-\u303f"
_BLANK = rf"\s\0-\x20\x7f{_MARK}"
_RUN = f"[^{_BLANK}{_PUNCTUATION}{_IDEOGRAPHS}]+|[{_IDEOGRAPHS}]+|[{_PUNCTUATION}]+"
_IDEOGRAPH, _MARKS = f"[{_IDEOGRAPHS}]", f"[{_PUNCTUATION}]"
_HAS_DIGIT = re.compile(r"\d").search
#: Scripts without blanks between words: Thai, Lao, Tibetan, Burmese, Khmer.
_IS_UNSPACED = re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff]").search


def runs_of(text: str) -> Sequence[str]:
    """The runs of a text (`folded`), in their order."""
    return _pattern(_RUN).findall(text)


def words_of(text: str) -> str:
    """The words of a text (`folded`), in their order, with blanks between them. None of them has a blank."""
    return " ".join(map(_words, runs_of(text)))


class Cutter(dict[str, str]):
    """Does the same for many texts in a third of the time: it remembers the words of some runs. `new` are the
    listed words that it came across for the first time, or that it has forgotten."""

    def __init__(self) -> None:
        self.new: set[str] = set()

    def words_of(self, text: str) -> str:
        """As `words_of`."""
        if len(self) > _REMEMBERED:
            self.clear()
        return " ".join(map(self.__getitem__, runs_of(text)))

    def __missing__(self, run: str) -> str:
        words = self[run] = _words(run)
        self.new.update(filter(is_listed, words.split(" ")))
        return words


def is_listed(word: str) -> bool:
    """Whether it is found by its parts: all words but grams."""
    return not word.startswith(_MARK)


def is_word(run: str) -> bool:
    """Whether a run is kept whole."""
    if len(run) > _LONGEST or are_ideographs(run):
        return False
    if len(run) > _LONGEST_NUMBER and _HAS_DIGIT(run):
        return False
    return run.isascii() or not _IS_UNSPACED(run)


def are_ideographs(run: str) -> bool:
    """Whether it is cut into pairs."""
    return _pattern(_IDEOGRAPH).match(run) is not None


def is_punctuation(run: str) -> bool:
    """Whether a run is of punctuation, which nearly all messages have."""
    return _pattern(_MARKS).match(run) is not None


def cut(run: str, *, is_end: bool) -> Iterator[str]:
    """The pairs or grams of a run; without `is_end`, of the beginning of one: if it is too short, the beginning of
    a pair or gram."""
    mark, size = ("", _PAIR) if are_ideographs(run) else (_MARK, _GRAM)
    last = len(run) if is_end else max(1, len(run) - size + 1)
    for at in range(last):
        yield mark + run[at : at + size]


def is_beginning(run: str) -> bool:
    """Whether `cut` gives the beginning of a pair or gram."""
    return len(run) < (_PAIR if are_ideographs(run) else _GRAM)


@cache  # takes milliseconds, and few searches need it
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def _words(run: str) -> str:
    return run if is_word(run) else " ".join(cut(run, is_end=True))
