"""What holds a stored message, with other values: a fact, a placement, a copy."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any


def altered(value: Any, **changes: Any) -> Any:
    """As `dataclasses.replace`; what is no field of `value` is one of its `message`."""
    own = {each.name for each in fields(value)}
    inner = {name: change for name, change in changes.items() if name not in own}
    outer = {name: change for name, change in changes.items() if name in own}
    return replace(value, message=replace(value.message, **inner), **outer)
