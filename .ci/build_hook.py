"""Puts what is made from the verbs into the wheel: manual pages, and completion for shells.

hatchling calls it. What the verbs import before they do anything has to be among the hook's `dependencies` in
pyproject.toml.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Manual(BuildHookInterface):
    """The files are made in a directory of their own, and installed below the environment's prefix."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        sys.path.insert(0, self.root)
        try:
            from pipelines.cli.main import EXIT_CODES, archiver
            from pipelines.cli.manual.files import files_of
            from pipelines.cli.manual.pages import Edition
        finally:
            sys.path.remove(self.root)
        built = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time())))
        edition = Edition(self.metadata.version, time.strftime("%Y-%m-%d", built), EXIT_CODES)
        self._made = Path(tempfile.mkdtemp(prefix="archiver-manual-"))
        for path, text in files_of(archiver, Path(self.root), edition).items():
            made = self._made / path
            made.parent.mkdir(parents=True, exist_ok=True)
            made.write_text(text, encoding="utf-8")
            build_data["shared_data"][str(made)] = str(path)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        shutil.rmtree(self._made)
