"""Reads access rights and annotations of many folders in few round trips."""

from __future__ import annotations

from collections.abc import Sequence

from archiver.facts.access import FolderAccess
from archiver.imap.extensions import metadata, rights
from archiver.imap.listing import Abilities
from archiver.imap.replies import Reply
from archiver.imap.session import Session

_FOLDERS = 100  # in one flight
_COMMANDS = 250  # in one flight: the answers have to fit into the sockets' buffers while we write
_REFUSABLE = 8  # commands in a row that may be refused: Courier hangs up at the tenth refusal

Asked = tuple[bytes, bytes, bytes]
"""A command: before the folder's name, the name, and behind it."""


def look(session: Session, abilities: Abilities, raws: Sequence[bytes]) -> dict[bytes, FolderAccess]:
    """The rights and annotations of these folders by raw name, and under b"" those of the server. Nothing is asked
    for that the server does not offer. No folder has to be open."""
    found: dict[bytes, FolderAccess] = {}
    has_rights, has_notes = rights.has_rights(abilities), metadata.of_folders(abilities)
    wanted = [*([b""] if metadata.of_server(abilities) else ()), *(raws if has_rights or has_notes else ())]
    for start in range(0, len(wanted), _FOLDERS):
        part = wanted[start : start + _FOLDERS]
        acls = [raw for raw in part if has_rights and raw]
        notes = [raw for raw in part if has_notes or not raw]
        replies = flight(
            session,
            [
                *((b"GETACL", raw, b"") for raw in acls),
                *((metadata.BEFORE, raw, metadata.BEHIND) for raw in notes),
            ],
        )
        readable = {raw: rights.rights_of(reply) for raw, reply in zip(acls, replies, strict=False)}
        noted = {
            raw: metadata.annotations_of(reply) for raw, reply in zip(notes, replies[len(acls) :], strict=True)
        }
        others = [raw for raw, known in readable.items() if known is None]
        mine = flight(session, [(b"MYRIGHTS", raw, b"") for raw in others])
        readable |= {raw: rights.mine_of(reply) for raw, reply in zip(others, mine, strict=True)}
        found |= {raw: FolderAccess(readable.get(raw), noted.get(raw)) for raw in part}
    return found


def flight(session: Session, asked: Sequence[Asked]) -> list[Reply]:
    """The replies to these commands, in few flights as far as the names can be quoted."""
    lines = [(name := session.quoted(raw)) and b"%b %b%b" % (before, name, behind) for before, raw, behind in asked]
    quoted = [line for line in lines if line is not None]
    sent: list[bytes] = []
    for start in range(0, len(quoted), _REFUSABLE):
        sent += [*quoted[start : start + _REFUSABLE], b"NOOP"]
    answers: list[Reply] = []
    for start in range(0, len(sent), _COMMANDS):
        answers += session.flight(*sent[start : start + _COMMANDS])
    answered = zip(sent, answers, strict=True)
    replies = iter([reply for line, reply in answered if line != b"NOOP"])
    return [
        session.command_with_name(*each) if line is None else next(replies)
        for line, each in zip(lines, asked, strict=True)
    ]
