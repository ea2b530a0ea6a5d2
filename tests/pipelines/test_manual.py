"""The manual pages: installed by the package where `man` finds them, complete, and clean to all that read them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from archiver.config.settings import TABLES
from pipelines.cli.main import EXIT_CODES, VERBS, archiver
from pipelines.cli.manual.verbs import Verb, verbs_of
from pipelines.cli.manual.words import ENVIRONMENT
from tests.accounts import PROJECT
from tests.patience import PATIENCE

SECTIONS = [
    "NAME",
    "SYNOPSIS",
    "DESCRIPTION",
    "OPTIONS",
    "EXIT STATUS",
    "ENVIRONMENT",
    "FILES",
    "EXAMPLES",
    "SEE ALSO",
]
OF_THE_PROGRAM = [*SECTIONS[:3], "COMMANDS", *SECTIONS[3:]]
OF_ACCOUNT_FILES = ["NAME", "DESCRIPTION", "PASSWORDS", "KEYS", "FILES", "EXAMPLES", "SEE ALSO"]
PAGES = ["archiver.1", *(f"archiver-{verb}.1" for verb in VERBS), "archiver.toml.5"]


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        message = f"{name}: not installed (.ci/install-servers installs it)"
        if os.environ.get("CI"):
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return found


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip installed the package, built from the checkout."""
    path = tmp_path_factory.mktemp("prefix")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed", "--prefix", path]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *map(str, options), str(PROJECT)],
        check=True,
        cwd=path,
        timeout=PATIENCE,
    )
    return path


def page_of(prefix: Path, name: str) -> Path:
    return prefix / "share" / "man" / f"man{name[-1]}" / name


def read(page: Path) -> str:
    """A page as a terminal with very long lines shows it, without bold and the like."""
    width = {
        "MANWIDTH": "1000",
        "MANROFFOPT": "-c",
        "LC_ALL": "C.UTF-8",
        "MANPAGER": "cat",
        "MAN_KEEP_FORMATTING": "",
    }
    shown = subprocess.run(
        [tool("man"), "-l", page], env={**os.environ, **width}, capture_output=True, text=True, check=True
    )
    return re.sub(r".\x08|\x1b\[[\d;]*m", "", shown.stdout)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_its_sections_and_no_reader_complains(prefix: Path, name: str) -> None:
    page = page_of(prefix, name)
    complaints = [
        subprocess.run([tool(program), *options, page], capture_output=True, text=True, timeout=PATIENCE)
        for program, *options in (
            ["groff", "-man", "-ww", "-z", "-Tutf8"],
            ["mandoc", "-Tlint", "-Wall"],
            ["man", "--warnings", "-l", "-Z", "-Tutf8"],
        )
    ]
    sections = re.findall(r"^\.SH (.*)$", page.read_text(encoding="ascii"), re.MULTILINE)

    assert [(each.returncode, each.stderr) for each in complaints] == [(0, "")] * 3
    assert complaints[1].stdout == ""
    assert sections == {"archiver.1": OF_THE_PROGRAM, "archiver.toml.5": OF_ACCOUNT_FILES}.get(name, SECTIONS)


def test_man_finds_the_pages_where_the_program_is_on_the_path(prefix: Path) -> None:
    path = os.pathsep.join((str(prefix / "bin"), os.environ["PATH"]))
    environment = {name: value for name, value in os.environ.items() if name != "MANPATH"} | {"PATH": path}
    found = subprocess.run(
        [tool("man"), "-w", "archiver", "archiver-run", "archiver.toml"],
        env=environment,
        capture_output=True,
        text=True,
    )
    wanted = [page_of(prefix, name) for name in ("archiver.1", "archiver-run.1", "archiver.toml.5")]
    assert found.stdout.splitlines() == list(map(str, wanted))


@pytest.mark.parametrize("verb", verbs_of(archiver), ids=lambda verb: verb.name)
def test_the_page_of_a_verb_says_what_its_help_says(prefix: Path, verb: Verb) -> None:
    name = verb.name
    text = " ".join(read(page_of(prefix, f"archiver-{name}.1")).split())
    command = archiver.commands[name].make_context(name, [], resilient_parsing=True).command
    words = [*(each for option in command.params if (each := option.help)), command.help or ""]
    paragraphs = [" ".join(each.replace("\b", "").split()) for one in words for each in one.split("\n\n")]

    options = {each for option in command.params for each in option.opts if each.startswith("--")}
    assert options <= set(re.findall(r"(?<!\S)--[\w-]+", text))
    assert [
        each for each in paragraphs if not each.startswith("archiver ") and each.replace("`", "") not in text
    ] == []
    assert all(f" {code} " in text for code in EXIT_CODES if code < 128)


def test_the_page_of_account_files_has_every_key(prefix: Path) -> None:
    page = page_of(prefix, "archiver.toml.5").read_text(encoding="ascii").replace("\\fB", "").replace("\\fR", "")
    tables = dict(re.findall(r'^\.SS "\[([\w.]+)\]"\n(.*?)(?=^\.S[SH])', page, re.DOTALL | re.MULTILINE))
    keys = {table: set(re.findall(r"^\.TP\n(\w+)", text, re.MULTILINE)) for table, text in tables.items()}
    expected = {table: set(of.__struct_encode_fields__) for table, of in TABLES.items()}
    assert {table: keys[table] & of for table, of in expected.items()} == expected


def test_the_pages_name_what_is_read_from_the_environment() -> None:
    sources = "\n".join(
        file.read_text(encoding="utf-8")
        for top in ("archiver", "pipelines")
        for file in (PROJECT / top).rglob("*.py")
    )
    read_here = set(re.findall(r"""environ(?:\.get\(|\[)"(\w+)\"""", sources)) - {"DISPLAY", "WAYLAND_DISPLAY"}
    assert read_here
    assert read_here <= {name for names in ENVIRONMENT for name in names.split(", ")}


def test_the_verbs_import_nothing_that_building_the_package_would_need() -> None:
    script = """
import sys
from pipelines.cli.main import archiver
from pipelines.cli.manual.verbs import Verb, verbs_of
verbs_of(archiver)
print(*sorted({name.split(".")[0] for name in sys.modules} - {*sys.stdlib_module_names}))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {sys.path[1:]!r}\n{script}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) - {"__main__", "__mp_main__"} <= {
        "archiver",
        "click",
        "msgspec",
        "pipelines",
        "typing_extensions",
    }
