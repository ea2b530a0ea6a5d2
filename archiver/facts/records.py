"""Small dataclasses read back from the JSON objects that `dataclasses.asdict` made of them.

For what is read once a run: a marker, a lease, the result of a step. Facts have a codec of their own, since there
are millions of them.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


def from_record(cls: type[T], record: object) -> T:
    """The dataclass `cls` from `record`. Missing fields get their defaults, unknown keys are ignored.

    Raises:
        ValueError: a field is missing, or has a value of another type.
    """
    value: T = _reader(cls).validate_python(record)  # type: ignore[arg-type]  # mypy: a class is not Hashable
    return value


@cache
def _reader(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(cls)
