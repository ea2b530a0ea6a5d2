"""Removes secrets: every text of a server or a library passes through here before we use it.

A server may repeat anything: our LOGIN line in an answer to FETCH, half of it in a BYE, the base64 of an
AUTHENTICATE. So the code that gets a secret registers it (`keep_secret`), and the code that turns somebody else's
octets into an error, an event, a fact or a log line removes every registered secret (`without_secrets`).

A process may know hundreds of secrets, and a text has hardly ever one in it. So texts are first searched for short
pieces (`_Index`): a text that has to be changed contains at least one of them.

A secret is found literally, in quotes, in base64 at any offset of the encoded text, folded over several lines, and
cut off at either end of the text. A short secret could be part of any sentence. So one of fewer than 8 octets
counts only as a separate word, and one of fewer than 4 only after its user's name, as in `LOGIN alice a`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import os
import re
import string
from collections import OrderedDict
from collections.abc import Iterator

from archiver.control.waiting import lock_free_after_fork

_MARK = b"***"
_WORD_BELOW = 8
_BEHIND_USER_BELOW = 4
_LEAST_PIECE = 6  # of a secret that is cut off; less of it is a word of a sentence
_LEAST_CORE = 5
_GRAM = 6  # octets by which the pieces are looked up
_FOLDED_BELOW = 400  # octets; a token is longer, and its pattern would be slow
_MOST_SECRETS = 200  # a process that handles thousands of accounts no longer needs the first ones

_FOLD = rb"(?:\r?\n[ \t]*)?"
_BLANK = rb"[ \t\r\n]*"
_BASE64 = rb"[A-Za-z0-9+/_-]"
_BASE64_OCTETS = (string.ascii_letters + string.digits + "+/_-=").encode()

_Rule = tuple[re.Pattern[bytes], bytes]


_numbers = itertools.count()


class _Secret:
    """A secret. Its rules are compiled when a text may hold it, which few texts ever do."""

    def __init__(self, secret: bytes, user: bytes, mailbox: bytes) -> None:
        self.length, self.number = len(secret), next(_numbers)
        self._forms = _Forms(secret, user, mailbox)
        self._rules: _Rules | None = None
        #: Without one of these pieces, as `_bare` shows a text, no rule finds anything in it.
        self.pieces = frozenset(map(_bare, _pieces(self._forms)))

    def without(self, text: bytes) -> bytes:
        if self._rules is None:  # NOTE: no lock. Two threads may compile them, and make the same.
            self._rules = _Rules(self._forms)
        return self._rules.without(text)


class _Forms:
    """What is sent of a secret: as it is and in quotes, the longer one first, and in SASL messages."""

    def __init__(self, secret: bytes, user: bytes, mailbox: bytes) -> None:
        self.secret, self.user = secret, user
        quoted = secret.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        self.plain = sorted({secret, quoted}, key=len, reverse=True)
        self.messages = [
            base64.b64encode(before + b"\0" + user + b"\0" + secret)
            for before in (dict.fromkeys((b"", user, mailbox)) if user else ())
        ]


class _Rules:
    """The rules for one secret, compiled. `ends` are the forms that are recognised even if they are cut off."""

    def __init__(self, forms: _Forms) -> None:
        secret, user, messages, plain = forms.secret, forms.user, forms.messages, forms.plain
        self._rules: list[_Rule] = [*_encoded(secret, messages), *_plain(plain, len(secret))]
        self._ends = [*messages, base64.b64encode(secret), *plain] if len(secret) >= _WORD_BELOW else messages
        self._forms = plain
        self._cores = tuple(re.compile(_spread(core, _BLANK)) for form in plain for core in _cores(form))
        self._behind: re.Pattern[bytes] | None = None
        if user:
            behind = rb"%s[\"']?[\s:,/=]+[\"']?" % re.escape(user)
            for form in map(re.escape, plain):
                self._rules.append((re.compile(rb"(?i)(%s)%s(?![A-Za-z0-9])" % (behind, form)), rb"\1***"))
            self._behind = re.compile(rb"(?i)" + behind)

    def without(self, text: bytes) -> bytes:
        for pattern, mark in self._rules:
            text = pattern.sub(mark, text)
        for core in self._cores:
            text = _without_run(text, core)
        for form in self._ends:
            text = _without_pieces(text, form)
        return self._without_beginning(text)

    def _without_beginning(self, text: bytes) -> bytes:
        """A server that truncates our line may repeat only the first characters of the password, after the user."""
        for found in self._behind.finditer(text) if self._behind is not None else ():
            rest = text[found.end() :].rstrip(b".\"' \r\n").lower()
            if rest and any(form.lower().startswith(rest) for form in self._forms):
                return text[: found.end()] + _MARK
        return text


def _encoded(secret: bytes, messages: list[bytes]) -> Iterator[_Rule]:
    """The secret in base64: by itself, and in SASL messages."""
    for message in messages:
        yield re.compile(_spread(message.rstrip(b"="), _BLANK) + rb"={0,2}"), _MARK
    alone = base64.b64encode(secret)
    yield re.compile(rb"(?<!%s)%s(?!%s|=)" % (_BASE64, re.escape(alone), _BASE64)), _MARK


def _bare(text: bytes) -> bytes:
    """A text in a form that does not depend on folding or case."""
    return text.translate(None, b" \t\r\n").lower()


def _pieces(forms: _Forms) -> Iterator[bytes]:
    """What a text holds, a piece at least, in which a rule of a secret finds something: the secret, its beginning
    or its end, as it is or in base64, or its user's name."""
    for whole in (*forms.plain, *forms.messages, base64.b64encode(forms.plain[-1])):
        yield whole[:_LEAST_PIECE]
        yield whole[-_LEAST_PIECE:]
    for form in forms.plain:
        yield from _cores(form)
    if forms.user:
        yield forms.user


def _cores(secret: bytes) -> Iterator[bytes]:
    """The part of the secret's base64 that is the same at any offset of the encoded text."""
    for offset in range(3) if len(secret) >= _BEHIND_USER_BELOW else ():
        first, last = -(-offset * 8 // 6), (offset + len(secret)) * 8 // 6
        core = base64.b64encode(b"\0" * offset + secret)[first:last]
        if len(core) >= _LEAST_CORE:
            yield from {core, core.translate(bytes.maketrans(b"+/", b"-_"))}


def _without_run(text: bytes, core: re.Pattern[bytes]) -> bytes:
    """The text without the base64 words that contain `core`."""
    start = 0
    while (found := core.search(text, start)) is not None:
        first = len(text[: found.start()].rstrip(_BASE64_OCTETS))
        text = text[:first] + _MARK + text[found.end() :].lstrip(_BASE64_OCTETS)
        start = first + len(_MARK)
    return text


def _plain(forms: list[bytes], length: int) -> Iterator[_Rule]:
    if length < _BEHIND_USER_BELOW:
        return
    for form in forms:
        pattern = _spread(form, _FOLD)
        if length < _WORD_BELOW:
            pattern = rb"(?<![A-Za-z0-9])" + pattern + rb"(?![A-Za-z0-9])"
        yield re.compile(rb"(?i:" + pattern + rb")"), _MARK


def _spread(form: bytes, between: bytes) -> bytes:
    """A pattern for these octets with something between any two of them."""
    if len(form) >= _FOLDED_BELOW:
        return re.escape(form)
    return between.join(re.escape(bytes([octet])) for octet in form)


def _without_pieces(text: bytes, form: bytes) -> bytes:
    """The text without a piece of `form` that is cut off at the end or the beginning of the text."""
    end, beginning = text.rstrip(b".\"'= \r\n"), text.lstrip(b".\"' \r\n")
    for length in range(min(len(form) - 1, len(end)), _LEAST_PIECE - 1, -1):
        if end.endswith(form[:length]):
            text = end[:-length] + _MARK
            break
    for length in range(min(len(form) - 1, len(beginning)), _LEAST_PIECE - 1, -1):
        if beginning.startswith(form[-length:]):
            return _MARK + text.lstrip(b".\"' \r\n")[length:]
    return text


class _Index:
    """Which of many secrets a text may hold, found in one pass over the text. Threads take turns."""

    def __init__(self) -> None:
        #: By length, what pieces begin with: the pieces, and the secrets that they are of.
        self._grams: dict[int, dict[bytes, dict[tuple[bytes, int], _Secret]]] = {}
        self._lock = lock_free_after_fork()

    def add(self, secret: _Secret) -> None:
        with self._lock:
            for piece in secret.pieces:
                gram = piece[:_GRAM]
                self._grams.setdefault(len(gram), {}).setdefault(gram, {})[piece, secret.number] = secret

    def remove(self, secret: _Secret) -> None:
        with self._lock:
            for piece in secret.pieces:
                grams = self._grams[len(piece[:_GRAM])]
                its = grams[piece[:_GRAM]]
                del its[piece, secret.number]
                if not its:
                    del grams[piece[:_GRAM]]

    def possible(self, text: bytes) -> list[_Secret]:
        """The secrets that may be in the text. One that is part of another one comes after it; otherwise the rest
        of the other would stay."""
        bare, found = _bare(text), set[_Secret]()
        with self._lock:
            for length, grams in self._grams.items():
                here = {bare[at : at + length] for at in range(len(bare) - length + 1)}
                for gram in here & grams.keys():
                    found.update(secret for (piece, _), secret in grams[gram].items() if piece in bare)
        return sorted(found, key=lambda each: (-each.length, each.number))


_kept: OrderedDict[tuple[bytes, bytes, bytes], _Secret] = OrderedDict()
_index = _Index()
_changing = lock_free_after_fork()


#: Known to this process and its forks alone, and gone with them.
_SEAL_KEY = os.urandom(32)


def seal(secret: str) -> str:
    """What tells only whether a secret is the same one, and only this process and its forks. Without the key in
    their memory nobody can try secrets against it, so it may be written to a file."""
    return hmac.new(_SEAL_KEY, secret.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def keep_secret(secret: str | bytes, user: str = "", mailbox: str = "") -> None:
    """From now on no text of this process or its forks shows this secret. `user` is the user name that is sent
    together with it, if any, and `mailbox` whose mailbox they ask for. May be called again for the same secret."""
    octets = secret if isinstance(secret, bytes) else secret.encode("utf-8", "surrogateescape")
    key = (octets, user.encode("utf-8", "surrogateescape"), mailbox.encode("utf-8", "surrogateescape"))
    if not octets:
        return
    with _changing:
        if key in _kept:
            _kept.move_to_end(key)
            return
        added = _kept[key] = _Secret(*key)
        _index.add(added)
        while len(_kept) > _MOST_SECRETS:
            _index.remove(_kept.popitem(last=False)[1])


def without_secrets(text: bytes) -> bytes:
    """A text from outside, with `***` for each registered secret."""
    for secret in _index.possible(text):
        text = secret.without(text)
    return text


def redacted(text: str) -> str:
    """The same for text."""
    if not _kept:
        return text
    return without_secrets(text.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")
