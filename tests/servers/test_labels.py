"""Gmail's labels and threads in the archive: recorded, followed like flags, shown, and rebuilt."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.accounts import account_file, archive_of, assert_whole, command, run
from tests.servers.gmail import ALL_MAIL, GMAIL, Gmail, message
from tests.servers.scripted import ScriptedMessage, ScriptedServer

Scripted = Callable[..., ScriptedServer]

ODD = ['say "hi"', "Père/Noël & π", "back\\slash", "(brackets) {5}"]


def account() -> Gmail:
    return Gmail(
        [
            message(1, "\\Inbox", "\\Important", "Work"),
            message(2, "\\Sent", "Work", "Work/Clients"),
            message(3),
            message(4, *ODD),
        ]
    )


def recorded(config: Path, folder: bytes = ALL_MAIL) -> dict[int, tuple[str | None, set[str] | None]]:
    """Thread and labels of each present message of a folder, by UID."""
    with closing(sqlite3.connect(archive_of(config) / "catalog.sqlite")) as catalog:
        rows = catalog.execute(
            """
            SELECT uid, thrid, labels FROM message JOIN epoch ON epoch.number = message.epoch
            JOIN folder ON folder.number = epoch.folder
            WHERE raw = ? AND vanished_at IS NULL AND ended_at IS NULL
            """,
            (folder,),
        ).fetchall()
    return {uid: (thrid, None if labels is None else set(json.loads(labels))) for uid, thrid, labels in rows}


def shown(gmail: Gmail, folder: bytes = ALL_MAIL) -> dict[int, tuple[str | None, set[str]]]:
    """What the server says of the same."""
    its = gmail.folders[folder]
    return {uid: (each.thrid, set(each.labels) - {its.label}) for uid, each in its.messages.items()}


def fetches(server: ScriptedServer) -> list[bytes]:
    return [line for line in server.commands if line.upper().startswith(b"UID FETCH")]


def test_threads_and_labels_are_recorded_and_rebuilt(scripted: Scripted, tmp_path: Path) -> None:
    gmail = account()
    config = account_file(tmp_path, scripted(gmail.folders, capabilities=GMAIL), "u1")

    result = run(config)

    assert result.balanced
    for folder in gmail.folders:
        assert recorded(config, folder) == shown(gmail, folder)
    assert recorded(config, b"Work") == {
        1: (message(1).thrid, {"\\Inbox", "\\Important"}),
        2: (message(2).thrid, {"\\Sent", "Work/Clients"}),
    }
    command("rebuild", config)
    for folder in gmail.folders:
        assert recorded(config, folder) == shown(gmail, folder)
    assert_whole(archive_of(config))


def test_a_label_that_changes_is_followed_and_nothing_else_is_asked_for(scripted: Scripted, tmp_path: Path) -> None:
    gmail = account()
    server = scripted(gmail.folders, capabilities=GMAIL)
    config = account_file(tmp_path, server, "u1")
    run(config)
    before = len(server.commands)

    gmail.relabel(2, "\\Sent", "Work", "Later")
    gmail.relabel(3, "\\Inbox")
    server.folders.update(gmail.folders)
    result = run(config)

    assert result.folder("[Gmail]/All Mail")["flags_changed"] == 2
    assert result.total("fetched") == (0,)
    for folder in gmail.folders:
        assert recorded(config, folder) == shown(gmail, folder)
    followed = [each for each in server.commands[before:] if each.startswith(b"UID FETCH 1:* (UID FLAGS X-GM")]
    assert followed
    assert all(b"X-GM-LABELS) (CHANGEDSINCE" in each for each in followed)
    run(config)
    assert run(config).total("flags_changed") == (0,)
    command("rebuild", config)
    assert recorded(config) == shown(gmail)


def test_an_archive_from_before_gets_its_labels_once(scripted: Scripted, tmp_path: Path) -> None:
    gmail = account()
    server = scripted(gmail.folders, capabilities=GMAIL)
    config = account_file(tmp_path, server, "u1")
    server.on(b"UID FETCH", lambda line, tag, _: tag + b" BAD what?\r\n" if b"X-GM-LABELS" in line else None)
    run(config)
    with closing(sqlite3.connect(archive_of(config) / "catalog.sqlite")) as catalog, catalog:
        catalog.execute("UPDATE message SET emailid = 'gm:' || digest")  # as an earlier version left it
    assert {labels for _, labels in recorded(config).values()} == {None}
    server.forget()

    result = run(config)

    assert recorded(config) == shown(gmail)
    assert result.total("fetched", "flags_changed") == (0, 0)
    before = len(fetches(server))
    run(config)
    assert len(fetches(server)) == before


def test_a_server_without_labels_is_not_asked_for_them(scripted: Scripted, tmp_path: Path) -> None:
    gmail = account()
    server = scripted(gmail.folders, capabilities=[each for each in GMAIL if each != "X-GM-EXT-1"])
    config = account_file(tmp_path, server, "u1")
    run(config)
    gmail.all.mark(1, ["\\Seen"])
    run(config)

    assert not [line for line in server.commands if b"X-GM" in line]
    assert {labels for _, labels in recorded(config).values()} == {None}
    for segment in (archive_of(config) / "journal").glob("*.gz"):
        assert b"labels" not in gzip.decompress(segment.read_bytes())


def test_search_show_and_export_have_them(scripted: Scripted, tmp_path: Path) -> None:
    gmail = account()
    config = account_file(tmp_path, scripted(gmail.folders, capabilities=GMAIL), "u1")
    run(config)

    def found(*options: str) -> list[Mapping[str, Any]]:
        result: list[Mapping[str, Any]] = command("search", config, "--json", *options).report["accounts"][0][
            "found"
        ]
        return result

    (one,) = found("--label", "work/clients", "--label", "Sent", "--folder", "*All Mail")
    assert (one["uid"], one["labels"], one["thrid"]) == (2, ["Work", "Work/Clients", "\\Sent"], message(2).thrid)
    assert [each["uid"] for each in found("--label", ODD[0], "--folder", "*All Mail")] == [4]
    assert found("--label", "Clients") == []
    text = command("show", config, "Work/1").output
    assert "\\Important, \\Inbox" in text
    out = tmp_path / "out"
    command("export", config, out, "--to", "eml")
    lines = [json.loads(line) for line in next(out.rglob("*All Mail*/index*")).read_text().splitlines()]
    assert {each["uid"]: set(each["labels"]) for each in lines[1:]} == {
        uid: labels for uid, (_, labels) in shown(gmail).items()
    }


@pytest.mark.parametrize(
    ("wire", "labels"),
    [
        (b'\\Inbox \\Sent Important "Muy Importante"', {"\\Inbox", "\\Sent", "Important", "Muy Importante"}),
        (b'"\\\\Inbox" {7}\r\n"odd" (', {"\\Inbox", '"odd" ('}),
        (b'"a\\"b" "&APw-"', {'a"b', "ü"}),
    ],
    ids=["as documented", "a literal", "an escaped quote"],
)
def test_labels_are_read_in_every_form(scripted: Scripted, tmp_path: Path, wire: bytes, labels: set[str]) -> None:
    odd: ScriptedMessage = message(1, "x")
    odd.labels_as = wire
    gmail = Gmail([odd, message(2, "y")])
    config = account_file(tmp_path, scripted(gmail.folders, capabilities=GMAIL), "u1")

    assert run(config).total("fetched") == (2,)
    assert recorded(config)[1][1] == labels
    assert_whole(archive_of(config))
