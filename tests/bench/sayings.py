"""Messages that say something in eight languages, the same ones each time, in any number.

English is from Python's own documentation, the others from translations of programs (/usr/share/locale), if
there are any, or else made of syllables. Half of a message are whole sentences, as people repeat them; half are
words drawn by how frequent they are, with some that hardly any other message has: numbers, names, compounds,
digests.
"""

from __future__ import annotations

import gettext
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from pydoc_data.topics import topics

from msgspec import Struct

_LOCALES = Path("/usr/share/locale")
_SHARES = {"en": 62, "de": 10, "ru": 8, "ja": 6, "zh_CN": 5, "ko": 4, "el": 3, "ar": 2}
_UNSPACED = {"ja", "zh_CN"}
_SYLLABLES = {
    "en": "ing tion re the com ter men al ver", "de": "ein stel lung gen ver schrei ung ber kauf",
    "ru": "ста нов лен ное про вер ка пла шет", "ja": "設定 変更 の を に 保存 表示 エラー",
    "zh_CN": "设置 文件 的 错误 无法 打开 会议",
    "ko": "설정 파일 을 열 수 없습 니다", "el": "ρυθ μί σεις αρ χεί ο δεν", "ar": "مل ف خط أ لا يم كن",
}  # fmt: skip
_SENTENCES, _MOST = 4000, 300  # of a language; characters of one


class Language(Struct):
    """What is said in it, and its words with how frequent they are, summed up."""

    sentences: Sequence[str]
    words: Sequence[str]
    weights: Sequence[float]
    between: str


def languages() -> tuple[Sequence[Language], Sequence[int]]:
    """The languages, and their shares, summed up."""
    return [_language(name) for name in _SHARES], list(accumulate(_SHARES.values()))


def _language(name: str) -> Language:
    sentences = list(dict.fromkeys(_english() if name == "en" else _translated(name)))
    chosen = random.Random(name)
    if len(sentences) < 100:
        syllables = _SYLLABLES[name].split()
        between = "" if name in _UNSPACED else " "
        sentences = [between.join(_word(chosen, syllables) for _ in range(12)) for _ in range(_SENTENCES)]
    chosen.shuffle(sentences)
    sentences = sentences[:_SENTENCES]
    unit = re.compile(r"[^\W\d_]{2,3}" if name in _UNSPACED else r"[^\W\d_]+")
    counted = Counter(word for each in sentences for word in unit.findall(each)).most_common()
    weights = list(accumulate(float(count) for _, count in counted))
    return Language(sentences, [word for word, _ in counted], weights, "" if name in _UNSPACED else " ")


def _word(chosen: random.Random, syllables: Sequence[str]) -> str:
    return "".join(chosen.choices(syllables, k=chosen.randint(1, 4)))


def _english() -> Iterator[str]:
    for topic in topics.values():
        for each in re.split(r"(?<=[.:;])\s+", topic):
            if 20 < len(each) < _MOST:
                yield " ".join(each.split())


def _translated(name: str) -> Iterator[str]:
    for file in sorted(_LOCALES.glob(f"{name}/LC_MESSAGES/*.mo")):
        with file.open("rb") as opened:
            try:
                catalog = gettext.GNUTranslations(opened)._catalog  # type: ignore[attr-defined]
            except (OSError, UnicodeDecodeError):
                continue
        for key, each in catalog.items():
            if key and isinstance(each, str) and 15 < len(each) < _MOST:
                yield " ".join(each.replace("_", "").split())


class Sayings:
    """Messages by their number, from 1."""

    def __init__(self) -> None:
        self._languages, self._shares = languages()
        german = self._languages[1].words
        self._nouns = [word.lower() for word in german if 4 < len(word) < 9][:400]
        self._senders = [self._name(random.Random(number)) for number in range(20_000)]

    def sender(self, number: int) -> str:
        """Who wrote a message: some write often."""
        return self._senders[int(20_000 * random.Random(number).random() ** 3)]

    def subject(self, number: int) -> str:
        """What it is about."""
        chosen = random.Random(-number)
        language = self._chosen(chosen)
        return language.between.join(chosen.choices(language.words, cum_weights=language.weights, k=5))

    def message(self, number: int) -> bytes:
        """The octets: 30 % are HTML, 15 % have an attachment."""
        chosen = random.Random(number)
        language = self._chosen(chosen)
        text = self._text(chosen, language, number)
        kind = "html" if number % 10 < 3 else "plain"
        if kind == "html":
            text = "<html><body><p>" + text.replace(". ", ".</p>\n<p>") + "</p></body></html>"
        head = f"Content-Type: text/{kind}; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
        if number % 20 >= 3:
            return (f"From: {self.sender(number)}\nMIME-Version: 1.0\n{head}{text}\n").encode()
        name = f"{chosen.choice(self._nouns)}-{number}.{chosen.choice(('pdf', 'docx', 'jpg'))}"
        return (
            f"From: {self.sender(number)}\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=between\n\n"
            f"--between\n{head}{text}\n--between\nContent-Type: application/octet-stream\n"
            f'Content-Disposition: attachment; filename="{name}"\nContent-Transfer-Encoding: base64\n\n'
            f"{'QUJD' * 19}\n--between--\n"
        ).encode()

    def _chosen(self, chosen: random.Random) -> Language:
        return chosen.choices(self._languages, cum_weights=self._shares)[0]

    def _text(self, chosen: random.Random, language: Language, number: int) -> str:
        length, pieces = chosen.randint(900, 2100) // (1 if language.between else 3), []
        said = 0
        while said < length:
            if chosen.random() < 0.5:
                piece = language.sentences[int(len(language.sentences) * chosen.random() ** 1.5)]
            else:
                drawn = chosen.choices(language.words, cum_weights=language.weights, k=8)
                piece = language.between.join([*drawn, self._rare(chosen, number)]) + "."
            pieces.append(piece)
            said += len(piece) + 1
        return " ".join(pieces)

    def _rare(self, chosen: random.Random, number: int) -> str:
        what = chosen.random()
        if what < 0.4:
            return "".join(chosen.choices(self._nouns, k=2))
        if what < 0.65:
            return self._name(chosen)
        if what < 0.85:
            return str(chosen.randrange(10 ** chosen.randint(2, 9)))
        if what < 0.93:
            return f"INV-2024-{number // 34:06}"
        if what < 0.97:
            return f"https://example.org/t/{chosen.getrandbits(48):x}"
        return f"{chosen.getrandbits(160):040x}"

    def _name(self, chosen: random.Random) -> str:
        first, last = ("".join(chosen.choices(_NAMES, k=k)).capitalize() for k in (2, 3))
        return f"{first} {last} <{first}.{last}@example.org>"


_NAMES = [
    "an",
    "be",
    "ca",
    "da",
    "el",
    "fa",
    "gi",
    "ha",
    "iv",
    "jo",
    "ka",
    "le",
    "mi",
    "no",
    "os",
    "pe",
    "ru",
    "sa",
    "to",
    "ul",
    "vi",
    "wa",
    "ya",
    "zo",
    "bri",
    "cla",
    "dre",
    "flo",
    "gre",
    "kris",
    "mar",
    "nel",
    "ster",
    "ton",
]
