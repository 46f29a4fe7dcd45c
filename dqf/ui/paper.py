"""The figures the DQF paper prints. They are simulated; nothing here was measured by this project."""

from __future__ import annotations

from dataclasses import dataclass

LABEL = "Published, simulated"


@dataclass(frozen=True)
class PublishedRow:
    """One row of the paper's Table 1."""

    model: str
    size_bytes: float
    latency_ms: float
    glue: float

    def smaller(self, than: PublishedRow) -> float:
        """Return how many times smaller this row is."""
        return than.size_bytes / self.size_bytes

    def faster(self, than: PublishedRow) -> float:
        """Return how many times faster this row is."""
        return than.latency_ms / self.latency_ms

    def retention(self, of: PublishedRow) -> float:
        """Return the share of the other row's GLUE score that this row keeps."""
        return self.glue / of.glue


TEACHER = PublishedRow("Teacher", 13.5e9, 78.4, 0.852)
DQF = PublishedRow("Student-DQF, 4-bit", 0.9e9, 11.5, 0.813)
TABLE_1 = (TEACHER, DQF)
