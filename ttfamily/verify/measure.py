"""Running something and looking at the clock: the only place where time is taken."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

P90 = 0.9


@attrs.frozen(kw_only=True)
class Times:
    """Seconds of repeated runs."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Half of the runs took no longer."""
        return statistics.median(self.seconds)

    @property
    def p90(self) -> float:
        """Nine in ten of the runs took no longer."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(P90 * len(ordered)))]


@attrs.frozen(kw_only=True)
class Stopwatch:
    """Times what a device does.

    :param synchronize: waits until the device has done everything that it was given.
    :param repeats: runs that are timed; one before them is not.
    :param clock: seconds.
    :param meaningful: False on a simulated mesh: everything is run once, as a test that it can be, and no time is
        taken.
    """

    synchronize: Callable[[], None]
    repeats: int = 20
    clock: Callable[[], float] = time.perf_counter
    meaningful: bool = True

    def times(self, run: Callable[[], object]) -> Times | None:
        """Run something again and again, alone on the device each time; None where times mean nothing."""
        run()
        self.synchronize()
        if not self.meaningful:
            return None
        return Times(seconds=tuple(self._once(run) for _ in range(self.repeats)))

    def _once(self, run: Callable[[], object]) -> float:
        start = self.clock()
        run()
        self.synchronize()
        return self.clock() - start
