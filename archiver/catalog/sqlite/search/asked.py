"""What the index of words is asked for, so that it names all messages that may have a text, and few others.

The first and the last word of a text may be a part of one. The vocabulary tells which words end with the first one,
or contain the only one; the index itself finds words that begin with the last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from archiver.catalog.sqlite.search.vocabulary import Vocabulary
from archiver.catalog.sqlite.search.words import are_ideographs, cut, is_beginning, is_punctuation, is_word, runs_of

_ENDS = 500  # words that end with the first one
_MANY_BEGINNINGS = 1000  # words that begin with the last one: to find all takes longer than to compare messages
_AT_ONCE = 64  # words in one expression: each one costs time at each message
_AS_MANY = 10  # words are in as many messages as one pair of ideographs
_LONGEST = 16  # words of a phrase

Phrase = tuple[tuple[str, ...], bool]
"""Words one after the other; whether the last one may go on."""

_NOTHING: Phrase = ((), False)


def expressions_of(text: str, column: str, vocabulary: Vocabulary, most: int) -> Sequence[str] | None:
    """Expressions for FTS5: a message that has the text (`folded`) in that column meets one of them. None: it has
    to be looked for otherwise, since it has no words, or is in more than `most` different ones."""
    runs = runs_of(text)
    if not runs:
        return None
    phrases = list(_sequence(runs, vocabulary)) if len(runs) > 1 else _within(runs[0], vocabulary, most)
    if phrases is None:
        return None
    pieces = [phrases[at : at + _AT_ONCE] for at in range(0, len(phrases), _AT_ONCE)]
    return [f"{column} : ({_any_of(each)})" for each in pieces]


def _within(run: str, vocabulary: Vocabulary, most: int) -> Sequence[Phrase] | None:
    """What a run may be a part of; None: of too many words."""
    beginning = _beginning(run)
    if are_ideographs(run):
        pairs = vocabulary.beginning(run, most // _AS_MANY + 1) if is_beginning(run) else ()
        return None if len(pairs) > most // _AS_MANY else [beginning]
    words = vocabulary.containing(run, most + 1)
    return None if len(words) > most else [*(((each,), False) for each in words), beginning]


def _sequence(runs: Sequence[str], vocabulary: Vocabulary) -> Iterator[Phrase]:
    """What a sequence of runs may be a part of."""
    first, *others, last = runs
    middle = tuple(word for run in others for word in ([run] if is_word(run) else cut(run, is_end=True)))
    firsts = [()] if is_punctuation(first) else _ending(first, vocabulary)
    lasts = [_beginning(last)]
    if is_punctuation(last) and (middle or firsts[0]):
        lasts = [_NOTHING]
    elif not are_ideographs(last):
        lasts.append(((last,), True))
        if (middle or firsts[0]) and len(vocabulary.beginning(last, _MANY_BEGINNINGS)) == _MANY_BEGINNINGS:
            lasts = [_NOTHING]
    if len(middle) > _LONGEST:
        middle, lasts = middle[:_LONGEST], [_NOTHING]
    for each in firsts:
        phrase = each + middle
        # To find all words that begin with the last run takes more time than to compare a few messages too many.
        if phrase and not vocabulary.is_frequent(_any_of([(phrase, False)])):
            yield phrase, False
        else:
            yield from ((phrase + words, goes_on) for words, goes_on in lasts)


def _beginning(run: str) -> Phrase:
    """The pairs or grams that begin so."""
    words = tuple(cut(run, is_end=False))
    return words[:_LONGEST], is_beginning(run)


def _ending(run: str, vocabulary: Vocabulary) -> Sequence[tuple[str, ...]]:
    """The words that end so, and the pairs or grams; nothing for too many."""
    rare = tuple(cut(run, is_end=True))[-_LONGEST:]
    if are_ideographs(run):
        return [rare]
    words = vocabulary.ending(run, _ENDS + 1)
    return [rare, *((each,) for each in words)] if len(words) <= _ENDS else [()]


def _any_of(phrases: Iterable[Phrase]) -> str:
    return " OR ".join(" + ".join(map(quoted, words)) + (" *" if goes_on else "") for words, goes_on in phrases)


def quoted(word: str) -> str:
    """A word in an expression for FTS5."""
    return '"' + word.replace('"', '""') + '"'
