"""What one benchmark measured, as a table in Markdown: medians, and how they compare with a peer's."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from tests.bench.measured import Measured

Row = tuple[str, str]
"""What was done (mailbox, line, phase) and by whom."""


class Tool(Protocol):
    """Something to measure."""

    @property
    def name(self) -> str: ...

    def run(self) -> Measured: ...


@dataclass(frozen=True)
class Bar:
    """The archiver takes at most so many times what `peer` takes for the same `work`."""

    work: str
    peer: str
    times: float


@dataclass
class Sheet:
    """Results of one benchmark. `peer` is the one that all are compared with."""

    title: str
    peer: str
    bars: tuple[Bar, ...] = ()
    rows: dict[Row, list[Measured]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, work: str, tool: str, took: Measured) -> None:
        """One measurement; also printed at once, for who waits."""
        self.rows.setdefault((work, tool), []).append(took)
        print(
            f"  {work}: {tool}: {took.wall:.2f} s, cpu {took.cpu:.2f} s, load {os.getloadavg()[0]:.1f}", flush=True
        )

    def run(self, work: str, tool: Tool) -> bool:
        """Run a tool once; whether it worked. A peer that fails is named and left out."""
        try:
            self.add(work, tool.name, tool.run())
        except RuntimeError as failed:
            if tool.name.startswith("archiver"):
                raise
            self.note(f"{work}: {tool.name} failed: {str(failed).splitlines()[-1]}")
            return False
        return True

    def note(self, text: str) -> None:
        """Something the reader must know about the table, once."""
        if text not in self.notes:
            self.notes.append(text)

    def wall(self, work: str, tool: str) -> float | None:
        """The median; None if it was not measured."""
        rounds = self.rows.get((work, tool))
        return statistics.median(each.wall for each in rounds) if rounds else None

    def cpu(self, work: str, tool: str) -> float | None:
        """The median of the processor time; None if it was not measured."""
        rounds = self.rows.get((work, tool))
        return statistics.median(each.cpu for each in rounds) if rounds else None

    def text(self) -> str:
        """Everything, ready to be put into a document."""
        return "\n".join([f"\n### {self.title}\n", *self._table(), "", *self._judged(), *self.notes])

    def _table(self) -> Iterator[str]:
        yield f"| work | tool | wall s | (best–worst) | CPU s | MB | × {self.peer}: wall | CPU |"
        yield "|---|---|--:|--:|--:|--:|--:|--:|"
        for work in dict.fromkeys(work for work, _ in self.rows):
            peer, peers_cpu = self.wall(work, self.peer), self.cpu(work, self.peer)
            for (of, tool), rounds in self.rows.items():
                if of != work:
                    continue
                walls = [each.wall for each in rounds]
                wall = statistics.median(walls)
                cpu = statistics.median(each.cpu for each in rounds)
                held = [each.memory for each in rounds if each.memory]
                memory = f"{max(held):.0f}" if held else ""
                ratio = f"{wall / peer:.2f}" if peer else ""
                ratio += f" | {cpu / peers_cpu:.2f}" if peers_cpu else " | "
                spread = f"{min(walls):.2f}–{max(walls):.2f}"
                yield f"| {work} | {tool} | {wall:.2f} | {spread} | {cpu:.2f} | {memory} | {ratio} |"

    def _judged(self) -> Iterator[str]:
        for bar in self.bars:
            ours, peer = self.wall(bar.work, "archiver"), self.wall(bar.work, bar.peer)
            if ours is not None and peer is not None:
                word = "met" if ours <= bar.times * peer else "missed"
                yield f"{bar.work}: {ours / peer:.2f} × {bar.peer}; the bar is {bar.times}: {word}"
