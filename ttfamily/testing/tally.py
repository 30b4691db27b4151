"""What a test run has compared: the comparisons report here, the pytest plugin reads it at the end."""

from __future__ import annotations

from collections import defaultdict

import attrs


@attrs.define
class Tally:
    """What one test class has compared.

    :ivar examples: models made.
    :ivar comparisons: correlations asserted.
    :ivar excused: how many of them missed their bound, and no further than Hugging Face's own bfloat16 does.
    :ivar worst: the lowest of them.
    :ivar where: the test that had it.
    """

    examples: int = 0
    comparisons: int = 0
    excused: int = 0
    worst: float = 1.0
    where: str = ""


@attrs.define
class Run:
    """A test run: one tally for each class, and which test is running.

    :ivar group: the class, or the file, whose comparisons follow.
    :ivar test: the test.
    """

    tallies: dict[str, Tally] = attrs.field(factory=lambda: defaultdict(Tally))
    group: str = ""
    test: str = ""

    def example(self) -> None:
        """Note that a model was made to be compared."""
        self.tallies[self.group].examples += 1

    def excused(self) -> None:
        """Note that a correlation missed its bound as Hugging Face's own bfloat16 does."""
        self.tallies[self.group].excused += 1

    def compared(self, pcc: float) -> None:
        """Note a correlation."""
        tally = self.tallies[self.group]
        tally.comparisons += 1
        if not pcc >= tally.worst:  # NaN is worse than any number
            tally.worst, tally.where = pcc, self.test


RUN = Run()
