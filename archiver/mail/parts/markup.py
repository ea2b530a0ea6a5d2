"""The text of HTML, for a search: tags off, entities decoded, without scripts, styles and comments.

Everything is done by passes whose time is linear, whatever the text is: html.parser takes a second for a megabyte
and, for some texts that never close what they open, the square of that. Where markup is broken, some of it may stay
in the text; no text is lost but behind a script or comment that never ends, which no program shows either.
"""

from __future__ import annotations

import html
import re

_UNSEEN = re.compile(r"<(script|style|template)\b[^<>]*+>", re.IGNORECASE)
_UNSEEN_ENDS = {
    name: re.compile(rf"</{name}\b[^<>]*+>?", re.IGNORECASE) for name in ("script", "style", "template")
}
#: Within a word, like `in<b>voice</b>`.
_INLINE = re.compile(
    r"</?(?:a|abbr|b|bdi|bdo|big|cite|code|del|dfn|em|font|i|ins|kbd|mark|q|ruby|s|samp|small|span|strike|strong"
    r"|sub|sup|tt|u|var|wbr|o:p)(?:\s[^<>]*+|/)?>",
    re.IGNORECASE,
)
_TAG = re.compile(r"<[a-zA-Z/!?][^<>]*+>")
_LONG_NUMBER = re.compile(r"&#[xX]?[0-9a-fA-F]{9,}+;?")


def text_of_html(markup: str) -> str:
    """What a reader sees of it, with blanks where something else than text was; never raises."""
    text = _without_unseen(_without_comments(markup))
    text = _TAG.sub(" ", _INLINE.sub("", text))
    # NOTE: the library raises for a number of thousands of digits.
    return html.unescape(_LONG_NUMBER.sub(" ", text)) if "&" in text else text


def _without_comments(text: str) -> str:
    kept, position = [], 0
    while (start := text.find("<!--", position)) >= 0:
        kept.append(text[position:start])
        end = text.find("-->", start + 2)
        if end < 0:
            return "".join(kept)
        position = end + 3
    return text if not kept else "".join([*kept, text[position:]])


def _without_unseen(text: str) -> str:
    kept, position = [], 0
    while match := _UNSEEN.search(text, position):
        kept.append(text[position : match.start()])
        end = _UNSEEN_ENDS[match[1].lower()].search(text, match.end())
        if end is None:
            return " ".join(kept)
        position = end.end()
    return text if not kept else " ".join([*kept, text[position:]])
