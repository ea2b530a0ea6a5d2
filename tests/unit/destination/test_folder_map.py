"""Where the folders of an archive go: scenarios by rule, and what holds for all names."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.destination.folder_map.choices import MapRules
from archiver.destination.folder_map.mapping import FolderMap, map_folders
from archiver.facts.mailbox import DestinationFolders
from archiver.mail.folder_names import canonical_raw, encode_name, folder_path
from archiver.mail.model import Folder, Listed

NO_RULES = MapRules({})


def describe_map(folder_map: FolderMap) -> list[tuple[str, str, str, str]]:
    """Source name, destination name, "exists" or "create", and why."""
    return [
        (each.folder.name, "/".join(each.path), "exists" if each.exists else "create", each.why)
        for each in folder_map.folders
    ]


def folder(name: str, *attributes: str, delimiter: str = "/", prefix: str = "") -> Folder:
    """A folder whose name is written with "/" between levels, listed with `delimiter`."""
    path = tuple(name.split("/"))
    raw = delimiter.encode().join(map(encode_name, path))
    raw = canonical_raw(raw) if canonical_raw(raw) == b"INBOX" else prefix.encode() + raw
    return Folder(raw, folder_path(raw.removeprefix(prefix.encode()), delimiter), delimiter, frozenset(attributes))


def destination(
    *listed: Folder, prefix: bytes = b"", delimiter: str | None = "/", said: str = ""
) -> DestinationFolders:
    return DestinationFolders([Listed(each) for each in listed], prefix, delimiter, said)


def courier(*listed: Folder) -> DestinationFolders:
    return destination(*listed, prefix=b"INBOX.", delimiter=".", said="courier")


def wire(folder_map: FolderMap) -> dict[str, bytes]:
    assert folder_map.problems == ()
    return {each.folder.name: each.raw for each in folder_map.folders}


def mapped(
    names: Sequence[str | Folder],
    there: DestinationFolders,
    rename: Mapping[str, str] | None = None,
    prefix: str = "",
    recorded: Mapping[bytes, bytes] | None = None,
    unnameable: Collection[bytes] = (),
) -> FolderMap:
    folders = [folder(each) if isinstance(each, str) else each for each in names]
    return map_folders(
        folders, there, MapRules(rename or {}, prefix), recorded=recorded or {}, unnameable=unnameable
    )


INBOX = folder("INBOX")


class TestNamesOfAnotherServer:
    def test_a_folder_that_is_there_is_used_and_others_are_made(self) -> None:
        found = mapped(["INBOX", "Work", "Work/2020"], destination(INBOX, folder("Work")))
        assert describe_map(found) == [
            ("INBOX", "INBOX", "exists", ""),
            ("Work", "Work", "exists", ""),
            ("Work/2020", "Work/2020", "create", ""),
        ]

    def test_delimiter_and_namespace_are_the_destinations(self) -> None:
        found = mapped(["INBOX", "Work", "Work/Ä", "v1.2"], courier(INBOX))
        assert wire(found) == {
            "INBOX": b"INBOX",
            "Work": b"INBOX.Work",
            "Work/Ä": b"INBOX.Work.&AMQ-",
            "v1.2": b"INBOX.v1=2E2",
        }
        assert [each.path for each in found.folders] == [("INBOX",), ("Work",), ("Work", "Ä"), ("v1=2E2",)]

    def test_courier_to_a_server_without_namespace(self) -> None:
        source = [folder(name, delimiter=".", prefix="INBOX.") for name in ("INBOX", "Work", "Work/2020")]
        assert wire(mapped(source, destination(INBOX))) == {
            "INBOX": b"INBOX",
            "Work": b"Work",
            "Work/2020": b"Work/2020",
        }

    def test_a_listed_folder_lends_its_octets_to_its_children_too(self) -> None:
        latin = Folder(b"Entw\xfcrfe", ("Entwürfe",), "/")
        assert wire(mapped(["Entwürfe", "Entwürfe/alt"], destination(latin))) == {
            "Entwürfe": b"Entw\xfcrfe",
            "Entwürfe/alt": b"Entw\xfcrfe/alt",
        }

    def test_a_folder_that_cannot_be_opened_is_made(self) -> None:
        found = mapped(["Lists"], destination(folder("Lists", "\\noselect")))
        assert describe_map(found) == [("Lists", "Lists", "create", "")]

    def test_composed_and_decomposed_names_are_one(self) -> None:
        found = mapped(["Entwu\u0308rfe 2"], destination(folder("Entwürfe 2")))
        assert describe_map(found) == [("Entwu\u0308rfe 2", "Entwürfe 2", "exists", "spelled differently there")]

    def test_two_spellings_of_the_source_stay_two(self) -> None:
        found = mapped(["Entwu\u0308rfe 2", "Entwürfe 2"], destination(folder("Entwürfe 2")))
        assert set(wire(found).values()) == {encode_name("Entwu\u0308rfe 2"), encode_name("Entwürfe 2")}
        assert len(found.warnings) == 1

    def test_children_of_inbox_are_not_below_inbox_twice(self) -> None:
        found = mapped(["INBOX", "INBOX/x", "INBOX/x/y"], courier(INBOX))
        assert wire(found) == {"INBOX": b"INBOX", "INBOX/x": b"INBOX.x", "INBOX/x/y": b"INBOX.x.y"}

    def test_a_child_of_inbox_gives_way_to_a_folder_of_its_name(self) -> None:
        found = mapped(["INBOX/x", "x"], courier(INBOX))
        assert wire(found) == {"INBOX/x": b"INBOX.INBOX.x", "x": b"INBOX.x"}

    def test_folders_of_other_namespaces_do_not_count(self) -> None:
        shared = Folder(b"shared.team", ("shared", "team"), ".")
        assert wire(mapped(["shared/team"], courier(INBOX, shared))) == {"shared/team": b"INBOX.shared.team"}

    def test_of_two_that_are_listed_under_one_path_one_counts(self) -> None:
        usual, odd = Folder(b"R&-D", ("R&D",), "/"), Folder(b"R&D", ("R&D",), "/")
        closed = Folder(b"R&-D", ("R&D",), "/", frozenset({"\\noselect"}))
        for listed, raw in (([usual, odd], b"R&-D"), ([closed, odd], b"R&D")):
            assert wire(mapped(["R&D"], destination(*listed))) == {"R&D": raw}
            assert wire(mapped(["R&D"], destination(*reversed(listed)))) == {"R&D": raw}

    def test_of_two_that_say_different_things_of_one_folder_one_counts(self) -> None:
        source = [folder("Out", "\\sent"), folder("Out")]
        there = destination(folder("Sent", "\\sent"))
        assert mapped(source, there) == mapped(source[::-1], there)

    def test_levels_and_slashes_are_kept_apart_on_a_flat_server(self) -> None:
        source = [folder("a"), folder("a/b"), Folder(b"x", ("a/b",), "."), folder("a=_b")]
        found = mapped(source, destination(INBOX, delimiter=None))
        assert {each.folder.path: each.raw for each in found.folders} == {
            ("a",): b"a",
            ("a", "b"): b"a=_b",
            ("a/b",): b"a/b",
            ("a=_b",): b"a=3D_b",
        }
        assert [each.why for each in found.folders] == ["", "there are no levels there", 'escaped: "="', ""]

    def test_a_name_that_only_looks_like_inbox_is_not_inbox(self) -> None:
        odd = Folder(b"INBOX.INBOX", ("INBOX",), ".")
        digest = hashlib.sha256(odd.raw).hexdigest()[:12].encode()
        assert [each.raw for each in mapped([odd], destination(INBOX)).folders] == [b"INBOX-" + digest]
        both = mapped([odd, "INBOX"], destination(INBOX))
        assert [each.raw for each in both.folders] == [b"INBOX", b"INBOX-" + digest]
        assert [each.why for each in both.folders] == ["", "another folder has this name"]

    def test_names_that_decode_alike_get_names_of_their_own(self) -> None:
        source = [Folder(raw, ("AT&T",), "/") for raw in (b"AT&T", b"AT&-T")]
        digest = hashlib.sha256(b"AT&T").hexdigest()[:12].encode()
        found = mapped(source, destination(INBOX))
        assert {each.folder.raw: each.raw for each in found.folders} == {
            b"AT&-T": b"AT&-T",
            b"AT&T": b"AT&-T-" + digest,
        }

    def test_names_after_our_digests_are_evaded(self) -> None:
        digest = hashlib.sha256(b"AT&T").hexdigest()[:12]
        source = [Folder(raw, ("AT&T",), "/") for raw in (b"AT&T", b"AT&-T")]
        found = mapped([*source, f"AT&T-{digest}"], destination(INBOX))
        assert sorted(each.raw.decode() for each in found.folders) == [
            "AT&-T",
            f"AT&-T-{digest}",
            f"AT&-T-{digest}-2",
        ]


class TestSpecialUse:
    def test_special_use_finds_the_folder_of_another_language(self) -> None:
        there = destination(INBOX, folder("Entwürfe", "\\drafts"), folder("Gesendet", "\\sent"))
        found = mapped([folder("Drafts", "\\drafts"), "Drafts/2019", folder("Sent", "\\sent")], there)
        assert describe_map(found) == [
            ("Drafts", "Entwürfe", "exists", "special-use \\Drafts"),
            ("Drafts/2019", "Entwürfe/2019", "create", "follows its parent"),
            ("Sent", "Gesendet", "exists", "special-use \\Sent"),
        ]

    def test_a_source_without_special_use_is_known_by_its_names(self) -> None:
        there = destination(folder("Sent Items", "\\sent"), folder("Deleted Items", "\\trash"))
        found = mapped(["Gesendet", "Papierkorb", "Projects/Sent"], there)
        assert wire(found) == {
            "Gesendet": b"Sent Items",
            "Papierkorb": b"Deleted Items",
            "Projects/Sent": b"Projects/Sent",
        }
        assert found.folders[0].why == "special-use \\Sent, by its name"

    def test_a_destination_without_special_use_is_known_by_its_names(self) -> None:
        there = destination(folder("Sent Messages"), folder("Gesendet"))
        assert wire(mapped([folder("Sent", "\\sent")], there)) == {"Sent": b"Sent Messages"}
        assert wire(mapped([folder("Gesendet", "\\sent")], there)) == {"Gesendet": b"Gesendet"}

    def test_names_do_not_count_where_special_use_is_announced(self) -> None:
        found = mapped([folder("Junk", "\\junk")], destination(folder("Spam"), folder("Sent", "\\sent")))
        assert [(each.raw, each.use) for each in found.folders] == [(b"Junk", "\\junk")]

    def test_two_folders_of_a_use_are_none(self) -> None:
        there = destination(folder("Sent", "\\sent"), folder("Sent Items", "\\sent"))
        found = mapped([folder("Gesendet", "\\sent")], there)
        assert [(each.raw, each.use) for each in found.folders] == [(b"Gesendet", None)]

    def test_a_missing_folder_is_made_with_its_use(self) -> None:
        found = mapped([folder("Papierkorb", "\\trash"), "Archiv", "Work"], destination(INBOX))
        assert {each.folder.name: each.use for each in found.folders} == {
            "Papierkorb": "\\trash",
            "Archiv": "\\archive",
            "Work": None,
        }

    def test_a_folder_that_is_there_needs_no_use(self) -> None:
        assert mapped([folder("Trash", "\\trash")], destination(folder("Trash"))).folders[0].use is None

    def test_explicit_use_counts_more_than_a_name(self) -> None:
        there = destination(INBOX, folder("Out", "\\sent"))
        found = mapped(["Sent", folder("Gesendet", "\\sent")], there)
        assert wire(found) == {"Sent": b"Sent", "Gesendet": b"Out"}

    def test_of_several_names_the_preferred_one_decides_the_use(self) -> None:
        found = mapped(["Gesendet", "Sent", "Inviati"], destination(folder("Out", "\\sent")))
        assert wire(found) == {"Gesendet": b"Gesendet", "Sent": b"Out", "Inviati": b"Inviati"}

    def test_a_guess_gives_way_to_a_folder_of_that_name(self) -> None:
        there = destination(folder("Gesendet", "\\sent"))
        assert wire(mapped(["Gesendet", "Sent"], there)) == {"Gesendet": b"Gesendet", "Sent": b"Sent"}
        plain = destination(folder("Sent"))
        assert wire(mapped([folder("Gesendet", "\\sent"), "Sent"], plain)) == {
            "Gesendet": b"Gesendet",
            "Sent": b"Sent",
        }

    def test_two_folders_that_both_have_the_use(self) -> None:
        source = [folder("Gesendet", "\\sent"), folder("Sent", "\\sent")]
        for name in ("Gesendet", "Sent"):
            there = destination(folder(name, "\\sent"))
            assert wire(mapped(source, there)) == {"Gesendet": b"Gesendet", "Sent": b"Sent"}

    def test_what_cannot_be_decided_is_asked(self) -> None:
        source: list[str | Folder] = ["Sent", folder("Gesendet", "\\sent")]
        there = destination(folder("Sent", "\\sent"))
        (problem,) = mapped(source, there).problems
        assert problem == (
            '"Gesendet" and "Sent" would go into one folder of the destination, "Sent"; give one of them another '
            'name in [folders.rename], or join them on purpose by giving each the name "Sent" there'
        )
        assert wire(mapped(source, there, {"Sent": "Sent (old)"}))["Sent"] == b"Sent (old)"
        assert set(wire(mapped(source, there, {"Sent": "Sent"})).values()) == {b"Sent"}
        assert set(wire(mapped(source, there, {"Sent": "Sent", "Gesendet": "Sent"})).values()) == {b"Sent"}

    def test_a_child_stays_where_its_place_is_taken(self) -> None:
        there = destination(folder("Entwürfe", "\\drafts"))
        found = mapped([folder("Drafts", "\\drafts"), "Drafts/2019", "Entwürfe/2019"], there)
        assert wire(found) == {
            "Drafts": encode_name("Entwürfe"),
            "Drafts/2019": b"Drafts/2019",
            "Entwürfe/2019": encode_name("Entwürfe/2019"),
        }

    def test_a_child_with_a_use_of_its_own_does_not_follow(self) -> None:
        there = destination(folder("Archiv", "\\archive"), folder("Papierkorb", "\\trash"))
        found = mapped([folder("Archive", "\\archive"), folder("Archive/Trash", "\\trash")], there)
        assert wire(found) == {"Archive": b"Archiv", "Archive/Trash": b"Papierkorb"}

    def test_gmail_to_another_server_and_back(self) -> None:
        gmail = [folder("[Gmail]/Sent Mail", "\\sent"), folder("[Gmail]/Bin"), folder("[Gmail]/All Mail", "\\all")]
        there = destination(folder("Sent", "\\sent"), folder("Trash", "\\trash"))
        assert wire(mapped(gmail, there)) == {
            "[Gmail]/Sent Mail": b"Sent",
            "[Gmail]/Bin": b"Trash",
            "[Gmail]/All Mail": b"[Gmail]/All Mail",
        }
        assert wire(mapped([folder("Sent", "\\sent")], destination(*gmail))) == {"Sent": b"[Gmail]/Sent Mail"}

    @pytest.mark.parametrize("use", ["\\all", "\\flagged", "\\important"])
    def test_nothing_goes_into_a_view_of_other_folders(self, use: str) -> None:
        view = folder("[Gmail]/View", use)
        assert "shows mail of other folders" in mapped([view], destination(view)).problems[0]
        assert mapped(["x"], destination(view), {"x": "[Gmail]/View"}).problems != ()
        assert wire(mapped([view], destination(view), {"[Gmail]/View": "View"})) == {"[Gmail]/View": b"View"}


class TestRules:
    def test_the_longest_rule_wins_and_children_follow(self) -> None:
        rename = {"Work": "Arbeit", "Work/2020": "Alt/2020"}
        found = mapped(["Work", "Work/x", "Work/2020", "Work/2020/y", "Workshop"], destination(INBOX), rename)
        assert wire(found) == {
            "Work": b"Arbeit",
            "Work/x": b"Arbeit/x",
            "Work/2020": b"Alt/2020",
            "Work/2020/y": b"Alt/2020/y",
            "Workshop": b"Workshop",
        }
        assert {each.why for each in found.folders} == {"renamed", ""}

    def test_children_follow_a_parent_that_is_not_archived(self) -> None:
        assert wire(mapped(["Work/x"], destination(INBOX), {"Work": "Arbeit"})) == {"Work/x": b"Arbeit/x"}

    def test_rules_count_more_than_special_use(self) -> None:
        there = destination(folder("Sent", "\\sent"))
        assert wire(mapped([folder("Gesendet", "\\sent")], there, {"Gesendet": "Old"})) == {"Gesendet": b"Old"}

    def test_inbox_can_be_renamed_and_be_a_target(self) -> None:
        assert wire(mapped(["INBOX", "INBOX/x"], destination(INBOX), {"Inbox": "Old"})) == {
            "INBOX": b"Old",
            "INBOX/x": b"Old/x",
        }
        assert wire(mapped(["Posteingang"], courier(INBOX), {"Posteingang": "inbox"})) == {"Posteingang": b"INBOX"}

    def test_one_rule_may_put_a_folder_into_anothers(self) -> None:
        assert set(wire(mapped(["A", "B"], destination(INBOX), {"A": "B"})).values()) == {b"B"}
        assert set(wire(mapped(["A", "B"], destination(INBOX), {"A": "C", "B": "C"})).values()) == {b"C"}

    def test_two_others_are_not_put_together_by_a_third(self) -> None:
        there = destination(folder("Sent", "\\sent"))
        found = mapped(["A", "Sent", folder("Gesendet", "\\sent")], there, {"A": "Sent"})
        assert len(found.problems) == 1

    def test_a_rule_does_not_put_names_that_decode_alike_together(self) -> None:
        source = [Folder(raw, ("X", "AT&T"), "/") for raw in (b"X/AT&T", b"X/AT&-T")]
        found = mapped(source, destination(INBOX), {"X": "Y"})
        assert len({each.raw for each in found.folders}) == 2
        assert found.problems == ()

    def test_a_rule_that_matches_nothing_is_reported(self) -> None:
        found = mapped(["Work"], destination(INBOX), {"Wrok": "Arbeit"})
        assert found.warnings == ('the rule for "Wrok" in [folders.rename] matches no folder of the archive',)

    def test_a_rule_without_a_target_is_a_problem(self) -> None:
        found = mapped(["Work"], destination(INBOX), {"Work": "/"})
        assert found.problems == (
            'the rule for "Work" in [folders.rename] names no folder; write one, or remove the rule',
        )

    def test_levels_that_hold_a_slash_are_whole(self) -> None:
        source = [Folder(b"a/b", ("a/b",), "."), Folder(b"a/b.c", ("a/b", "c"), ".")]
        assert wire(mapped(source, destination(INBOX), {"a": "X"})) == {"a/b": b"a=2Fb", "a/b/c": b"a=2Fb/c"}
        assert wire(mapped(source, destination(INBOX), {"a/b": "X"})) == {"a/b": b"X", "a/b/c": b"X/c"}

    def test_a_target_may_be_written_with_escapes(self) -> None:
        assert wire(mapped(["A"], destination(INBOX, delimiter="."), {"A": "x=2Fy"})) == {"A": b"x/y"}
        assert wire(mapped(["A"], destination(INBOX), {"A": "x=2Fy"})) == {"A": b"x=2Fy"}
        assert wire(mapped(["A"], destination(folder("50=50")), {"A": "50=50"})) == {"A": b"50=50"}

    def test_everything_goes_below_a_prefix_and_nothing_is_matched(self) -> None:
        there = destination(INBOX, folder("Sent", "\\sent"))
        found = mapped(
            ["INBOX", "INBOX/x", folder("Gesendet", "\\sent"), "A"], there, {"A": "B"}, prefix="Old/2020"
        )
        assert wire(found) == {
            "INBOX": b"Old/2020/INBOX",
            "INBOX/x": b"Old/2020/INBOX/x",
            "Gesendet": b"Old/2020/Gesendet",
            "A": b"Old/2020/B",
        }
        assert {each.why for each in found.folders} == {"below prefix", "renamed"}
        assert {each.use for each in found.folders} == {None}

    def test_a_prefix_below_inbox_is_not_below_it_twice(self) -> None:
        assert wire(mapped(["A"], courier(INBOX), prefix="INBOX/Old")) == {"A": b"INBOX.Old.A"}
        assert wire(mapped(["A"], courier(INBOX), prefix="Old")) == {"A": b"INBOX.Old.A"}


class TestWhatWasReplayedStays:
    def test_a_recorded_folder_stays_whatever_special_use_says_now(self) -> None:
        there = destination(folder("Sent"), folder("Sent Items", "\\sent"))
        found = mapped([folder("Gesendet", "\\sent"), "Gesendet/x"], there, recorded={b"Gesendet": b"Sent"})
        assert describe_map(found) == [
            ("Gesendet", "Sent", "exists", "recorded"),
            ("Gesendet/x", "Sent/x", "create", "follows its parent"),
        ]

    def test_a_new_folder_gives_way_to_one_that_was_replayed(self) -> None:
        there = destination(folder("Sent", "\\sent"))
        found = mapped(["Old", folder("Gesendet", "\\sent")], there, recorded={b"Old": b"Sent"})
        assert wire(found) == {"Old": b"Sent", "Gesendet": b"Gesendet"}

    def test_a_new_folder_of_a_name_that_is_taken_is_asked_about(self) -> None:
        recorded = {b"Drafts": encode_name("Entwürfe")}
        assert len(mapped(["Drafts", "Entwürfe"], destination(INBOX), recorded=recorded).problems) == 1

    def test_a_recorded_name_that_is_refused_now_is_given_up(self) -> None:
        found = mapped(["a:b"], destination(INBOX), recorded={b"a:b": b"a:b"}, unnameable={b"a:b"})
        assert wire(found) == {"a:b": b"a=3Ab"}


class TestWhatTheDestinationCannotName:
    def test_kinds_of_servers_have_their_own_rules(self) -> None:
        assert wire(mapped(["R&D <x>"], destination(INBOX, said="cyrus"))) == {"R&D <x>": b"R&-D =3Cx=3E"}
        assert wire(mapped(["~x"], destination(INBOX, said="dovecot"))) == {"~x": b"=7Ex"}
        found = mapped(["a  b", "a  b/c"], destination(INBOX, said="gmail"))
        assert [(each.raw, each.why) for each in found.folders] == [
            (b"a =20b", 'escaped: " "'),
            (b"a =20b/c", "follows its parent"),
        ]

    def test_a_name_that_is_listed_can_be_named(self) -> None:
        assert wire(mapped(["~x"], destination(folder("~x"), said="dovecot"))) == {"~x": b"~x"}

    def test_what_reads_as_an_escape_is_never_taken_for_one(self) -> None:
        source = [Folder(b"a/b", ("a/b",), "."), folder("a=2Fb")]
        assert wire(mapped(source, destination(INBOX, folder("a=2Fb")))) == {"a/b": b"a=2Fb", "a=2Fb": b"a=3D2Fb"}

    def test_empty_levels_are_escaped(self) -> None:
        found = mapped([Folder(b"a//b/", ("a", "", "b", ""), "/")], destination(INBOX))
        assert [(each.raw, each.why) for each in found.folders] == [(b"a/=-/b/=-", "escaped: an empty level")]

    def test_a_refused_name_is_spelled_more_and_more_cautiously(self) -> None:
        there = destination(INBOX)
        refused: set[bytes] = set()
        for raw in (b"v1.0: &AOk-", b"v1.0=3A &AOk-", b"v1=2E0=3A =C3=A9"):
            assert wire(mapped(["v1.0: é"], there, unnameable=refused)) == {"v1.0: é": raw}
            refused.add(raw)

    def test_children_follow_a_parent_that_was_refused(self) -> None:
        found = mapped(["a:b", "a:b/c"], destination(INBOX), unnameable={b"a:b"})
        assert wire(found) == {"a:b": b"a=3Ab", "a:b/c": b"a=3Ab/c"}
        assert wire(mapped(["a:b/c"], destination(INBOX), unnameable={b"a:b"})) == {"a:b/c": b"a=3Ab/c"}

    @pytest.mark.parametrize(("said", "longest"), [("dovecot", 250), ("courier", 250), ("", 1000)])
    def test_long_names_are_cut_between_characters(self, said: str, longest: int) -> None:
        long = folder("日" * 600)
        found = mapped([long, folder("日" * 601)], destination(INBOX, said=said)).folders
        assert all(longest - 12 < len(each.raw) <= longest for each in found)
        assert found[0].path == (
            "日" * len(found[0].path[0][:-13]) + f"-{hashlib.sha256(long.raw).hexdigest()[:12]}",
        )
        assert found[0].why == "shortened"
        assert found[0].raw != found[1].raw

    def test_long_names_are_not_cut_within_an_escape(self) -> None:
        found = mapped(["~" + "\x01" * 300], destination(INBOX, said="dovecot")).folders[0]
        assert found.path[0][:-13] == "=7E" + "=01" * ((len(found.raw) - 16) // 3)

    def test_children_stay_below_a_parent_that_was_cut(self) -> None:
        found = mapped(["x" * 2000, "x" * 2000 + "/y"], destination(INBOX)).folders
        assert len(found[0].raw) == 1000
        assert len(found[1].raw) <= 1000
        assert found[0].raw != found[1].raw


class TestWarnings:
    def test_names_that_differ_only_in_case(self) -> None:
        found = mapped(["Work", "work"], destination(INBOX))
        assert found.warnings == (
            (
                '"Work" and "work" differ only in case or in how accents are written; '
                "for some servers they are the same"
            ),
        )
        assert len(mapped(["work"], destination(folder("Work"))).warnings) == 1
        assert mapped(["work", "Work"], destination(folder("Work"), folder("work"))).warnings != ()
        assert mapped(["work"], destination(folder("Work"), folder("work"))).warnings == ()

    def test_exchange_ignores_case(self) -> None:
        found = mapped(["work", "work/x"], destination(folder("Work"), said="exchange"))
        assert wire(found) == {"work": b"Work", "work/x": b"Work/x"}
        assert found.warnings == ()


TOKENS = [
    "INBOX",
    "inbox",
    "Sent",
    "Gesendet",
    "Drafts",
    "Entwürfe",
    "[Gmail]",
    "a",
    "A",
    "é",
    "e\u0301",
    "",
    "=2F",
    "~",
    "😀",
]
LEVEL_TEXTS = st.one_of(st.sampled_from(TOKENS), st.text(st.characters(), max_size=4), st.text("x", max_size=300))
ATTRIBUTES = st.frozensets(
    st.sampled_from(["\\sent", "\\drafts", "\\trash", "\\all", "\\flagged", "\\noselect"]), max_size=2
)


@st.composite
def folders_of_a_server(draw: st.DrawFn, max_size: int = 8) -> list[Folder]:
    """Folders as they are listed: any octets, paths as decoding gives them, with a namespace at times."""
    delimiter = draw(st.sampled_from([None, "/", ".", "\\"]))
    prefix = b"INBOX" + delimiter.encode() if delimiter and draw(st.booleans()) else b""
    step = (delimiter or "/").encode()
    names = st.one_of(
        st.binary(min_size=1, max_size=20),
        st.lists(LEVEL_TEXTS, min_size=1, max_size=3).map(lambda levels: step.join(map(encode_name, levels))),
    )
    folders = {}
    for name in draw(st.lists(names, max_size=max_size)):
        raw = canonical_raw(prefix + name if draw(st.booleans()) else name)
        shown = raw.removeprefix(prefix) if raw != prefix else raw
        folders[raw] = Folder(raw, folder_path(shown, delimiter), delimiter, draw(ATTRIBUTES))
    return list(folders.values())


@st.composite
def destinations(draw: st.DrawFn) -> DestinationFolders:
    delimiter = draw(st.sampled_from([None, "/", ".", "\\"]))
    prefix = b"INBOX" + delimiter.encode() if delimiter and draw(st.booleans()) else b""
    listed = []
    for name in draw(st.lists(st.lists(LEVEL_TEXTS, min_size=1, max_size=2), max_size=6)):
        raw = canonical_raw(prefix + (delimiter or "/").encode().join(map(encode_name, name)))
        shown = raw.removeprefix(prefix) if raw != prefix else raw
        listed.append(Folder(raw, folder_path(shown, delimiter), delimiter, draw(ATTRIBUTES)))
    said = draw(st.sampled_from(["", "cyrus", "courier", "dovecot", "gmail", "exchange"]))
    return DestinationFolders([Listed(each) for each in listed], prefix, delimiter, said)


NAMES = st.lists(LEVEL_TEXTS, min_size=1, max_size=2).map("/".join)
RULES = st.builds(
    MapRules, st.dictionaries(NAMES, NAMES, max_size=2), st.sampled_from(["", "", "Old", "INBOX/Old"])
)


@given(folders_of_a_server(), destinations())
def test_no_two_folders_go_into_one_unasked(folders: list[Folder], there: DestinationFolders) -> None:
    found = map_folders(folders, there, NO_RULES)
    assert [each.folder.raw for each in found.folders] == sorted(
        (each.raw for each in folders), key=lambda raw: (raw != b"INBOX", raw)
    )
    raws = {canonical_raw(each.raw) for each in found.folders}
    assert len(raws) == len(folders) or found.problems


@given(folders_of_a_server(), destinations(), RULES, st.randoms(use_true_random=False))
def test_the_order_of_what_is_listed_does_not_matter(
    folders: list[Folder], there: DestinationFolders, rules: MapRules, shuffler: random.Random
) -> None:
    listed, mixed = list(there.listed), list(folders)
    shuffler.shuffle(listed)
    shuffler.shuffle(mixed)
    other = DestinationFolders(listed, there.prefix, there.delimiter, there.said)
    assert map_folders(mixed, other, rules) == map_folders(folders, there, rules)


@given(folders_of_a_server(), destinations(), RULES)
def test_what_is_recorded_stays(folders: list[Folder], there: DestinationFolders, rules: MapRules) -> None:
    first = map_folders(folders, there, rules)
    again = map_folders(folders, there, rules, recorded={each.folder.raw: each.raw for each in first.folders})
    assert [(each.raw, each.path, each.exists, each.use) for each in again.folders] == [
        (each.raw, each.path, each.exists, each.use) for each in first.folders
    ]
    assert (again.problems, again.warnings) == (first.problems, first.warnings)


@given(folders_of_a_server(), destinations(), RULES)
def test_a_map_can_be_recreated_from_what_it_made(
    folders: list[Folder], there: DestinationFolders, rules: MapRules
) -> None:
    """After the replay the destination lists what it was asked to create; nothing moves then."""
    first = map_folders(folders, there, rules)
    recorded = {each.folder.raw: each.raw for each in first.folders}
    made = [Listed(Folder(each.raw, each.path, there.delimiter)) for each in first.folders if not each.exists]
    later = DestinationFolders([*there.listed, *made], there.prefix, there.delimiter, there.said)
    again = map_folders(folders, later, rules, recorded=recorded)
    assert [each.raw for each in again.folders] == [each.raw for each in first.folders]
    assert all(each.exists for each in again.folders)


@given(folders_of_a_server(), destinations(), RULES, st.integers(1, 3))
def test_refused_names_are_evaded_until_there_is_no_other(
    folders: list[Folder], there: DestinationFolders, rules: MapRules, rounds: int
) -> None:
    unnameable: set[bytes] = set()
    for _ in range(rounds):
        found = map_folders(folders, there, rules, unnameable=unnameable)
        unnameable |= {each.raw for each in found.folders if not each.exists}
    assert len(found.folders) == len(folders)


@given(
    st.lists(
        st.builds(Folder, st.binary(max_size=6), st.lists(st.text(st.characters(), max_size=3)).map(tuple)),
        max_size=5,
    ),
    st.lists(
        st.builds(Folder, st.binary(max_size=6), st.lists(st.text(st.characters(), max_size=3)).map(tuple)),
        max_size=5,
    ),
    st.binary(max_size=3),
    st.one_of(st.none(), st.characters()),
    st.dictionaries(st.text(st.characters(), max_size=3), st.text(st.characters(), max_size=3)),
    st.text(st.characters(), max_size=3),
    st.dictionaries(st.binary(max_size=6), st.binary(max_size=6)),
)
def test_nothing_raises(
    folders: list[Folder],
    listed: list[Folder],
    prefix: bytes,
    delimiter: str | None,
    rename: dict[str, str],
    below: str,
    recorded: dict[bytes, bytes],
) -> None:
    there = DestinationFolders([Listed(each) for each in listed], prefix, delimiter, "dovecot")
    found = map_folders(folders, there, MapRules(rename, below), recorded=recorded)
    assert len(describe_map(found)) == len({each.raw for each in folders})


def test_a_great_many_hostile_names_are_soon_mapped() -> None:
    deep = Folder(b"/" * 100_000, ("",) * 100_001, "/")
    alike = [Folder(b"a" + bytes([0x80 + i]), ("same",), "/") for i in range(100)]
    long = [folder("日" * 30_000 + str(i)) for i in range(50)]
    found = mapped([deep, *alike, *long], destination(INBOX, said="dovecot"))
    assert len({each.raw for each in found.folders}) == 151
    assert found.problems == ()
