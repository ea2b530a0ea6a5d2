"""Small structs read back from the JSON objects that `msgspec.to_builtins` made of them.

For what is read once a run: a marker, a lease, the result of a step. Facts have a codec of their own, since the
octets of their lines must never change.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T")


def from_record(cls: type[T], record: object) -> T:
    """The struct `cls` from `record`. Missing fields get their defaults, unknown keys are ignored.

    Raises:
        ValueError: a field is missing, or has a value of another type.
    """
    try:
        return msgspec.convert(record, cls)
    except msgspec.ValidationError as error:
        raise ValueError(f"{cls.__name__}: {error}") from error
