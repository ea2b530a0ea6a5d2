"""The tables that say what is done: which folders and messages, and what is kept of them and for how long."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal

from msgspec import field

from archiver.config.age import checked_age, day_of, imap_day
from archiver.config.shape import Table


def _glob(pattern: str) -> str:
    if not pattern.strip("/") or pattern != pattern.strip("/"):
        raise ValueError('must not be empty or begin or end with "/"; "Public/*" is all below Public')
    return pattern


def checked_folder(name: str) -> str:
    if not name or name != name.strip("/") or "//" in name:
        raise ValueError('must be a folder\'s name with "/" between levels, as in "Archive/2020"')
    return name


def _search(criteria: str) -> str:
    """NOTE: goes onto the wire as it stands, so it must be one command's ASCII and nothing more."""
    if not criteria.strip():
        raise ValueError("must not be empty; leave the key out to archive all messages")
    if not (criteria.isascii() and criteria.isprintable()):
        raise ValueError("must be one line of printable ASCII")
    if re.search(r"\{\d+[+-]?\}", criteria):
        raise ValueError('must not contain an IMAP literal ({5}); write a quoted string ("...")')
    if not re.fullmatch(r'(?:[^"]|"(?:[^"\\]|\\["\\])*")*', criteria):
        raise ValueError('has a quoted string that is not closed or escapes something other than \\ and "')
    if re.match(r"\s*(RETURN|CHARSET)\b", criteria, re.IGNORECASE):
        raise ValueError("must be only search keys, without RETURN or CHARSET")
    return criteria


def _some(globs: tuple[str, ...]) -> tuple[str, ...]:
    if not globs:
        raise ValueError("must not be empty, or nothing would be archived")
    return globs


Globs = tuple[Annotated[str, _glob], ...]
FolderName = Annotated[str, checked_folder]


class FolderRules(Table, frozen=True, kw_only=True):
    """Globs over decoded folder names with "/" between levels; what is excluded wins. `whole` are the folders that
    show all of their messages, although their number is one at which providers cut off."""

    include: Annotated[Globs, _some] = ("*",)
    exclude: Globs = ()
    whole: Globs = ()
    #: Source name → destination name, both with "/" between levels; children follow their parent.
    rename: Mapping[FolderName, FolderName] = field(default_factory=dict)


class ReplayRules(Table, frozen=True, kw_only=True):
    """How an account is replayed. `vanished` says what happens to copies whose messages are gone from the source;
    `repair` what may be altered in a message that was refused unaltered. `acls`: access rights are given as they
    are at the source. `labels`: what becomes of the folders of Gmail: each is replayed, or All Mail with the labels
    of its messages, or All Mail alone."""

    vanished: Literal["keep", "mark", "expunge"] = "keep"
    repair: tuple[Literal["crlf", "last-line", "nul", "long-lines"], ...] = ("crlf", "last-line")
    acls: bool = False
    #: An identifier at the source → what it is called at the destination; "" leaves it out.
    acl_users: Mapping[str, str] = field(default_factory=dict)
    labels: Literal["folders", "labels", "all-mail"] = "folders"


class MessageRules(Table, frozen=True, kw_only=True):
    """Which messages are archived: what an IMAP SEARCH in ASCII finds, and of these ages; None means all."""

    search: Annotated[str, _search] | None = None
    older_than: Annotated[str, checked_age] | None = None
    newer_than: Annotated[str, checked_age] | None = None

    def __post_init__(self) -> None:
        if self.older_than is not None and self.newer_than is not None:
            today = date(2001, 1, 31)
            if day_of(self.older_than, today) <= day_of(self.newer_than, today):
                raise ValueError(
                    f'older_than = "{self.older_than}" and newer_than = "{self.newer_than}" leave no message: '
                    "newer_than must be the longer time"
                )

    def criteria(self, today: date) -> str | None:
        """The SEARCH that finds them, for a run that begins on that day. A server compares days as they were where
        the message arrived (RFC 3501 section 6.4.4), so a message may be taken a day earlier or later."""
        ages = [
            f"{key} {imap_day(day_of(age, today))}"
            for key, age in (("BEFORE", self.older_than), ("SINCE", self.newer_than))
            if age is not None
        ]
        return " ".join([*ages, *([] if self.search is None else [self.search])]) or None


class SearchRules(Table, frozen=True, kw_only=True):
    """What is kept for searches besides the catalog: "text" also what messages say and what is attached to them;
    with `documents` also the text of attached PDF and office documents."""

    index: Literal["headers", "text"] = "headers"
    documents: bool = False

    def __post_init__(self) -> None:
        if self.documents and self.index != "text":
            raise ValueError('documents = true and index = "text" go together; write both')


class ReportRules(Table, frozen=True, kw_only=True):
    """How long reports of runs that ended well are kept; None: for ever."""

    keep: Annotated[str, checked_age] | None = None


class RetentionRules(Table, frozen=True, kw_only=True):
    """How long messages are kept that are gone from the source; None: for ever."""

    vanished: Annotated[str, checked_age] | None = None
