"""What every benchmark returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One bar.

    Args:
        title: what was measured.
        bar: what was promised.
        measured: the figure, in words.
        met: whether the bar is met.
        rows: a table of details; the first row is the header.
        note: how it was measured.
    """

    title: str
    bar: str
    measured: str
    met: bool
    rows: list[list[str]]
    note: str

    def markdown(self) -> str:
        """The result as a section."""
        header, *rest = self.rows
        lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
        lines += ["| " + " | ".join(row) + " |" for row in rest]
        verdict = "met" if self.met else "**not met**"
        return (
            f"## {self.title}\n\nBar: {self.bar}\n\nMeasured: {self.measured} ({verdict})\n\n{self.note}\n\n"
            + "\n".join(lines)
        )
