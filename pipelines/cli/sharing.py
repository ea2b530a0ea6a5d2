"""What a person has to hear about accounts that meet in one mailbox."""

from __future__ import annotations

from collections.abc import Iterable

from archiver.account.sharing import Sharing
from pipelines.cli.terminal import Terminal


def tell_sharing(sharing: Iterable[Sharing], terminal: Terminal, *, with_destination: bool) -> None:
    """Say who shares a mailbox with whom. What is refused is said where it is refused."""
    for each in sharing:
        if each.warning:
            terminal.warn(f"{each.account.file}: {each.warning}")
        for problem in each.problems if with_destination else ():
            terminal.problem(f"{each.account.file}: {problem}")
