"""Every package says what each of its files holds, and can be taken in at a glance."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from pipelines.cli.main import VERBS

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(
    init.parent.relative_to(ROOT) for top in ("archiver", "pipelines") for init in (ROOT / top).rglob("__init__.py")
)

PORTS = [
    *sorted(port.relative_to(ROOT) for port in (ROOT / "archiver").rglob("port.py")),
    Path("archiver/catalog/replicas.py"),
]


def contents(package: Path) -> list[str]:
    """The modules and packages in it."""
    there = (ROOT / package).iterdir()
    return sorted(
        each.stem
        for each in there
        if (each.suffix == ".py" and not each.name.startswith("__")) or (each / "__init__.py").exists()
    )


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_a_package_says_what_each_of_its_files_holds(package: Path) -> None:
    text = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text())) or ""
    assert [name for name in contents(package) if not re.search(rf"(?m)(^|  +){name}(  +|$)", text)] == []


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_a_package_can_be_taken_in_at_a_glance(package: Path) -> None:
    names = contents(package)
    if package == Path("pipelines/cli"):  # one file a verb, however many verbs there are
        names = [name for name in names if name not in VERBS]
    assert len(names) <= (20 if package == Path("archiver") else 16)


def test_every_verb_has_a_file_of_its_name() -> None:
    assert VERBS.keys() <= set(contents(Path("pipelines/cli")))


@pytest.mark.parametrize("port", PORTS, ids=str)
def test_a_port_has_at_most_eight_methods(port: Path) -> None:
    classes = [node for node in ast.parse((ROOT / port).read_text()).body if isinstance(node, ast.ClassDef)]
    methods = {
        each.name: [node.name for node in each.body if isinstance(node, ast.FunctionDef)]
        for each in classes
        if any(ast.unparse(base) == "Protocol" for base in each.bases)
    }
    assert methods
    assert {name: len(its) for name, its in methods.items() if len(its) > 8} == {}
