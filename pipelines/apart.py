"""Luigi, imported so that a luigi.cfg that happens to be in the current directory is ignored.

Luigi reads `luigi.cfg` from the current directory when it is imported. Some settings would make a run hang, others
would confirm deletions. Deliberate configuration is still read: LUIGI_CONFIG_PATH and /etc/luigi. Under the `luigi`
command itself nothing is changed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def _elsewhere() -> Iterator[None]:
    """Change to this package's directory for a moment."""
    try:
        here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # a directory that cannot be read, or no longer exists, has no settings
        yield
        return
    if chosen := os.environ.get("LUIGI_CONFIG_PATH"):
        os.environ["LUIGI_CONFIG_PATH"] = str(Path(chosen).absolute())
    try:
        os.chdir(Path(__file__).parent)
        yield
    finally:
        os.fchdir(here)
        os.close(here)


if "luigi" not in sys.modules:
    with _elsewhere():
        import luigi
else:
    import luigi

__all__ = ["luigi"]
