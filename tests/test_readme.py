"""What the documents say is what the code does: verbs, keys, exit codes, commands, facts, words, formats, links."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from luigi.cmdline_parser import CmdlineParser
from msgspec import NODEFAULT
from msgspec.structs import fields

from archiver.catalog.sqlite.migrations import MIGRATIONS
from archiver.catalog.sqlite.schema.tables import TABLES as CATALOG_TABLES
from archiver.config.fleet.files import Chosen, find_accounts, fleet_conflicts
from archiver.config.load import load_account
from archiver.config.settings import TABLES, Settings
from archiver.config.tables.server import FilesSettings
from archiver.facts import segment as journal_format
from archiver.facts.archive import Fact, StoredFact
from archiver.facts.known import Tally
from archiver.facts.replica import Loss, ReplicaTally
from archiver.mail.fingerprint import Likeness
from archiver.mail.model import StoredMessage
from archiver.mail.refusal import REFUSALS
from archiver.mail.rewrite import REPAIRS
from archiver.replay.compare.result import Difference
from archiver.report.document import FORMAT, AtDestination, Failure, Party, RunReport
from archiver.storage.bucket import lease
from pipelines.cli.main import EXIT_CODES, archiver
from pipelines.graph.tasks import ArchiveAccount

ROOT = Path(__file__).parents[1]
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
FORMATS = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
RUNBOOK = (ROOT / "docs" / "migration-runbook.md").read_text(encoding="utf-8")
DOCUMENTS = {
    path.name: path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")))
}
#: What else refers to the documents: the code and its messages, the examples, the tests.
SOURCES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for folder in ("archiver", "pipelines", "configs", "tests")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in (".py", ".md", ".toml", ".j2", ".service", ".timer") and path.name != Path(__file__).name
}


def section(document: str, heading: str) -> str:
    """The text below a heading, up to the next heading of its level or above."""
    level = heading.split()[0]
    rest = document.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"\n#{{1,{len(level)}}} ", rest, maxsplit=1)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a table, without its heading."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def blocks(document: str, language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", document, re.DOTALL | re.MULTILINE)


def shell_lines() -> Iterator[str]:
    """Every command that the documents show: `$ command` in a console block, each line of a script."""
    for document in DOCUMENTS.values():
        for block in blocks(document, "console"):
            block = re.sub(r"\\\n\s*", "", block)
            yield from (line[2:] for line in block.splitlines() if line.startswith("$ "))
        for block in blocks(document, "sh"):
            block = re.sub(r"\\\n\s*", "", block)
            yield from (line for line in block.splitlines() if line and not line.startswith("#"))
        for mention in re.findall(r"`(archiver [^`]+)`", document):
            named = re.search(r"[./]|CONFIG|FILE|VERB|demo", mention)
            yield mention if named else f"{mention} CONFIG"


def commands(program: str) -> list[str]:
    """The documents' commands of one program: a whole line, or the end of a crontab's line."""
    found = (re.search(rf"(?:^|/|&& ){program} [^|>#]*", line) for line in shell_lines())
    return sorted({match[0].lstrip("/& ") for match in found if match})


def verbs() -> dict[str, click.Command]:
    """The command line's verbs, hidden ones left out."""
    visible = {name: verb for name, verb in archiver.commands.items() if not verb.hidden}
    # A verb's module is imported when the verb is given.
    return {name: verb.make_context(name, [], resilient_parsing=True).command for name, verb in visible.items()}


def test_the_verbs_are_those_of_the_command_line() -> None:
    documented = [re.findall(r"\w+", row[0])[0] for row in rows(section(COMMANDS, "## Verbs"))]
    assert sorted(documented) == sorted(verbs())


@pytest.mark.parametrize("verb", verbs())
def test_every_option_of_a_verb_is_explained(verb: str) -> None:
    documented = {
        option
        for names, where, _ in rows(section(COMMANDS, "## Options of several verbs"))
        if where in ("all", "most") or f"`{verb}`" in where
        for option in re.findall(r"--[\w-]+", names)
    }
    (row,) = [row for row in rows(section(COMMANDS, "## Verbs")) if re.match(rf"`{verb}\b", row[0])]
    documented |= set(re.findall(r"--[\w-]+", row[1]))
    options = {
        name
        for option in verbs()[verb].params
        if not getattr(option, "hidden", False)
        for name in option.opts
        if name.startswith("--")
    }
    assert options <= documented
    assert set(re.findall(r"--[\w-]+", row[1])) <= options


def test_an_option_of_several_verbs_is_one_of_each_of_them() -> None:
    for names, where, _ in rows(section(COMMANDS, "## Options of several verbs")):
        for verb in re.findall(r"`(\w+)`", where):
            (option,) = re.findall(r"--[\w-]+", names)
            assert option in {name for each in verbs()[verb].params for name in each.opts}, verb


def test_the_exit_codes_are_those_of_the_command_line() -> None:
    codes = {row[0] for row in rows(section(COMMANDS, "## Exit codes"))}
    assert codes == {*map(str, EXIT_CODES), "128+N"} - {"128"}


def test_the_keys_are_those_of_an_account_file_with_their_defaults() -> None:
    documented = {}
    for words, default, _ in rows(section(CONFIGURATION, "## Keys")):
        ((table, name),) = re.findall(r"`\[([\w.]+)\] (\w+)`", words)
        documented[f"{table}.{name}"] = default.strip("`")
    expected = {f"source.{key.name}": key for key in fields(FilesSettings)}
    expected |= {f"{table}.{key.encode_name}": key for table, its in TABLES.items() for key in fields(its)}
    assert documented.keys() == expected.keys()
    for name, key in expected.items():
        default = key.default if key.default_factory is NODEFAULT else key.default_factory()
        if key.required:
            assert documented[name] == "required", name
        elif default is None:
            assert documented[name] == "none", name
        else:
            assert json.loads(documented[name]) == json.loads(json.dumps(default)), name


@pytest.mark.parametrize("line", [line for line in commands("archiver") if "VERB" not in line])
def test_a_command_line_that_is_shown_parses(line: str) -> None:
    _, verb, *arguments = shlex.split(line.replace("CONFIG…", "CONFIG"), comments=True)
    verbs()[verb].make_context(verb, arguments)


@pytest.mark.parametrize("line", commands("luigi"))
def test_a_luigi_command_that_is_shown_names_a_task(line: str) -> None:
    with CmdlineParser.global_instance(shlex.split(line, comments=True)[1:]) as parser:
        task = parser.get_task_obj()
        assert isinstance(task, ArchiveAccount)
        assert task.config == "configs/alice.toml"


def test_make_has_the_targets_that_are_shown() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    lines = commands("make")
    assert {"make demo", "make test"} <= {line.strip() for line in lines}
    assert {line.split()[1] for line in lines} <= targets


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_account_files_that_are_shown_have_known_keys(name: str) -> None:
    for block in blocks(DOCUMENTS[name], "toml"):
        tables = tomllib.loads(block)
        if "s3" in tables.get("archive", {}):
            tables["archive.s3"] = tables["archive"].pop("s3")
        for side in ("source", "destination"):
            for nested in ("oauth2", "limits"):
                if nested in tables.get(side, {}):
                    tables[f"{side}.{nested}"] = tables[side].pop(nested)
        if "servers" in tables:
            (tables["servers.HOST"],) = tables.pop("servers").values()
        for table, keys in tables.items():
            known = FilesSettings if keys.get("protocol") == "files" else TABLES[table]
            assert keys.keys() <= set(known.__struct_fields__), block


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_links_and_paths_lead_somewhere(name: str) -> None:
    here = ROOT if name in ("README.md", "CHANGELOG.md") else ROOT / "docs"
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", DOCUMENTS[name]) if "://" not in link]
    paths = re.findall(r"`((?:tests|archiver|pipelines|configs/examples)/[\w./-]+)`", DOCUMENTS[name])
    assert [link for link in links if not (here / link).exists()] == []
    assert [path for path in paths if not (ROOT / path).exists()] == []


def anchors(document: str) -> set[str]:
    """The fragments to which links into a document can lead: its headings, and those that were renamed."""
    text = re.sub(r"^```.*?^```", "", document, flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    named = re.findall(r'<a id="([\w-]+)"></a>', text)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles} | {*named}


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_links_lead_to_headings_that_are_there(name: str) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", DOCUMENTS[name]):
        assert anchor in anchors(DOCUMENTS[Path(target).name if target else name]), (target, anchor)


def test_a_document_that_the_code_or_a_message_names_is_there() -> None:
    for source, text in SOURCES.items():
        for document, anchor in re.findall(r"\b((?:docs/[\w-]+|README|CHANGELOG)\.md)(?:#([\w-]+))?", text):
            assert Path(document).name in DOCUMENTS, (source, document)
            assert not anchor or anchor in anchors(DOCUMENTS[Path(document).name]), (source, document, anchor)


def test_the_nightly_recipes_agree_with_each_other() -> None:
    unit = (ROOT / "configs" / "examples" / "archiver.service").read_text(encoding="utf-8")
    of_unit = dict(line.split("=", 1) for line in unit.splitlines() if re.match(r"\w+=", line))
    program, *line = of_unit["ExecStart"].split()
    recipes = section(DOCUMENTS["README.md"], "## Every night")
    own = f"install -d -o {of_unit['User']} -g {of_unit['Group']} -m 700 {of_unit['ReadWritePaths']}"
    assert line == ["run", "/etc/mail-archiver"]
    assert own in recipes
    assert f"runuser -u {of_unit['User']} -- {program} " in recipes
    assert f"PATH={Path(program).parent}:" in recipes
    assert "archiver run --quiet /etc/mail-archiver" in recipes
    assert f"{Path(program).parent}/pip install ." in section(DOCUMENTS["README.md"], "## Install")


def example(name: str) -> list[Settings]:
    """The accounts of an example."""
    found = find_accounts(Chosen((ROOT / "configs" / "examples" / name,)))
    assert not found.problems
    return [load_account(file) for file in found.files]


def test_the_examples_of_a_bucket_load_without_a_warning() -> None:
    (alice,) = example("bucket")
    assert (alice.source.user, alice.warnings) == ("alice@example.org", ())
    assert alice.archive.s3 is not None
    assert (alice.archive.s3.bucket, alice.archive.s3.layout) == ("mail", "packs")


def test_the_examples_of_a_migration_load_without_a_warning() -> None:
    fleet = example("migration")
    assert not fleet_conflicts(fleet)
    assert [(one.account, one.warnings) for one in fleet] == [("alice", ()), ("bob", ())]
    assert all(one.destination is not None for one in fleet)


def test_every_invariant_names_the_tests_that_guard_it() -> None:
    architecture = DOCUMENTS["architecture.md"]
    for invariant, guards in rows(section(architecture, "## Invariants")):
        assert re.findall(r"`tests/[\w/]+\.py`", guards), invariant


@pytest.mark.parametrize("of", ["message", "config value"])
def test_the_hops_are_functions_that_are_there(of: str) -> None:
    for number, place, *_ in rows(section(DOCUMENTS["architecture.md"], f"## The way of one {of}")):
        file, *names = re.findall(r"`([\w./]+)`", place)
        code = (ROOT / file).read_text(encoding="utf-8")
        assert names, number
        for name in (part for each in names for part in each.split(".")):
            assert re.search(rf"\b(?:def|class) {name}\b", code), f"{file} has no {name}"


@pytest.mark.parametrize("kind", get_args(Fact), ids=lambda cls: cls.kind)
def test_a_fact_is_specified_with_all_its_fields(kind: type[Any]) -> None:
    lines = [line for line in section(FORMATS, f"### `{kind.kind}`").splitlines() if line.startswith("- ")]
    documented = [name for line in lines for name in re.findall(r"`(\w+)`", line.partition(": ")[0])]
    names = {field.name for field in fields(kind)}
    if kind is StoredFact:  # its message's fields stand among its own
        names = names - {"message"} | {field.name for field in fields(StoredMessage)}
    assert sorted(documented) == sorted(names)


def test_the_words_of_a_refusal_are_specified() -> None:
    text = section(FORMATS, "### `refused`")
    assert {row[0].strip("`") for row in rows(text)} == {*REFUSALS, "damaged"}


def test_the_words_of_a_copy_are_specified() -> None:
    documented = dict(
        re.findall(
            r"^- `(repaired|likeness)`: (.*?)(?=\n- )", section(FORMATS, "### `copied`"), re.DOTALL | re.MULTILINE
        )
    )
    assert set(re.findall(r"`([\w-]+)`", documented["repaired"])) == set(REPAIRS)
    assert set(re.findall(r"`([\w-]+)`", documented["likeness"])) == set(get_args(Likeness))


def test_the_runbook_says_what_to_do_about_every_refusal() -> None:
    documented = {row[1].strip("`") for row in rows(section(RUNBOOK, "### Refused messages"))}
    assert documented == {*REFUSALS, "damaged"} - {"over-quota", "folder"}  # these are of more than a message


def test_the_runbook_names_exit_codes_of_the_command_line() -> None:
    table = section(RUNBOOK, "## When something goes wrong").split("\n### ")[0]
    documented = {code for row in rows(table) for code in re.findall(r"\d+", row[1].removeprefix("128+N"))}
    assert documented == {*map(str, EXIT_CODES)} - {"128"}


def test_the_formats_have_the_versions_of_the_code() -> None:
    versions = {row[0]: row[1] for row in rows(FORMATS.split("\n## Words\n")[0])}
    assert versions["journal"] == f"`{journal_format.FORMAT}`"
    assert versions["lease"] == f"`{lease.FORMAT}`"
    assert versions["catalog"] == f"schema version {1 + len(MIGRATIONS)}"
    assert versions["report"] == f"`{FORMAT}`"


def test_the_catalogs_tables_are_those_of_the_schema() -> None:
    documented = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", section(FORMATS, "## The catalog"), re.MULTILINE)
    assert {name for cell in documented for name in re.findall(r"\w+", cell)} == set(CATALOG_TABLES)


def test_the_report_has_the_keys_that_are_specified() -> None:
    there = AtDestination(
        Party("imap.example.net", "alice"),
        {"INBOX": ReplicaTally("INBOX", "INBOX", 0, 0, 0, 0, 0)},
        losses=[Loss("INBOX", "flags", "x", (1,))],
    )
    report = RunReport(
        "alice", "r", "complete", "", "", 0, [Tally("INBOX", 1, 0, 0, 0, 0)], [], [], destination=there
    )
    document: Mapping[str, Any] = report.to_json()
    text = section(FORMATS, "## The report")
    documented = {name for row in rows(text) for name in re.findall(r"`(\w+)`", row[0])}
    assert documented == document.keys()
    of_a_folder = re.findall(r"`(\w+)`", text.split("A folder has ")[1].split(".")[0])
    assert sorted(of_a_folder) == sorted(document["folders"][0])
    at_destination = re.findall(r"`(\w+)`", text.split("`destination` of a folder has ")[1].split(";")[0])
    assert sorted(at_destination) == sorted(document["folders"][0]["destination"])
    of_a_loss = re.findall(r"`(\w+)`", text.split("A loss has ")[1].split(".")[0])
    assert sorted(of_a_loss) == sorted(document["losses"][0])
    of_a_difference = re.findall(r"`(\w+)`", text.split("A difference has ")[1].split(".")[0])
    assert sorted(of_a_difference) == sorted(field.name for field in fields(Difference))
    of_a_failure = re.findall(r"`(\w+)`", text.split("A failure has ")[1].split(": what to do")[0])
    assert sorted(of_a_failure) == sorted(field.name for field in fields(Failure))
