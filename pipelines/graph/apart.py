"""Luigi, imported so that a luigi.cfg that happens to be in the current directory is ignored.

Luigi reads `luigi.cfg` from the current directory when it is imported. Some settings would make a run hang, others
would confirm deletions. Deliberate configuration is still read: LUIGI_CONFIG_PATH and /etc/luigi. Under the `luigi`
command itself nothing is changed.

What Luigi imports for cases that are rare here is loaded when it is first used: to talk to a luigid, to check
parameters against a schema, to read a configuration of logs, and for ranges of months. It would take a fifth of the
time of a run in which nothing is new.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any


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


class _LoadedWhenUsed(ModuleType):
    """Stands for a module until something of it is asked for.

    NOTE: the LazyLoader of importlib does not help: `import` asks a module for its `__spec__`, and so loads it.
    """

    def __getattr__(self, attribute: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), attribute)


def _load_when_used(name: str) -> None:
    if name not in sys.modules and (spec := find_spec(name)) is not None:
        sys.modules[name] = module = _LoadedWhenUsed(name)
        module.__spec__ = spec
        package, _, last = name.rpartition(".")
        if package:
            setattr(sys.modules[package], last, module)


@contextmanager
def _loaded_when_called(*names: str) -> Iterator[None]:
    """In here, `from NAME import FUNCTION` gets a function that loads the module when it is called."""
    standing_in = [name for name in names if name not in sys.modules]
    for name in standing_in:
        sys.modules[name] = stand_in = ModuleType(name)
        vars(stand_in)["__getattr__"] = partial(_later, name)
    try:
        yield
    finally:
        for name in standing_in:
            del sys.modules[name]


def _later(module: str, function: str) -> Callable[..., Any]:
    return lambda *given, **named: getattr(import_module(module), function)(*given, **named)


if "luigi" not in sys.modules:
    for _rarely_used in ("requests", "jsonschema", "logging.config"):
        _load_when_used(_rarely_used)
    with _elsewhere(), _loaded_when_called("tenacity", "urllib.request", "dateutil.relativedelta"):
        import luigi
else:
    import luigi

__all__ = ["luigi"]
