"""What the tests of the command line share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli.main import invoke
from tests.accounts import Archiver


@pytest.fixture
def archiver(capsys: pytest.CaptureFixture[str]) -> Archiver:
    """The command line in this process; returns its JSON document."""

    def document(*arguments: str | Path, expect: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        code = invoke([*map(str, arguments), "--json"])
        out, err = capsys.readouterr()
        assert code == expect, out + err
        found: dict[str, Any] = json.loads(out)
        return found

    return document
