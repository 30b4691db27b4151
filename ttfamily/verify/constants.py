"""From times to the constants of a prediction (:class:`ttfamily.planning.hardware.Chip`): arithmetic only.

Everything is measured in two sizes. Their difference is free of what both have in common: starting a trace, waiting
for the device, a program's own dispatch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from ttfamily.planning.roofline import FLOPS_OF_TILES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ttfamily.verify.measure import Times


@attrs.frozen(kw_only=True)
class Pair:
    """One workload in two sizes.

    :param sizes: what each moves, multiplies or repeats: bytes, tile products of a core, or ops.
    :param times: of each; None where they were not taken.
    """

    name: str
    sizes: tuple[float, float]
    times: tuple[Times | None, Times | None]

    @property
    def per_unit(self) -> float | None:
        """Seconds that one byte, product or op more takes; None if that cannot be told from the times."""
        small, large = self.times
        if small is None or large is None:
            return None
        seconds = (large.median - small.median) / (self.sizes[1] - self.sizes[0])
        return seconds if seconds > 0 else None

    @property
    def rate(self) -> float | None:
        """Bytes, products or ops a second."""
        return None if self.per_unit is None else 1 / self.per_unit


@attrs.frozen(kw_only=True)
class Exchange:
    """A collective in two sizes.

    :param pair: in bytes that pass the busiest place between two chips, one way, in all phases together.
    :param repeated: the smaller one, once and several times in a trace.
    :param links: that it was given.
    :param hops: from a chip to the farthest, in all phases together.
    """

    pair: Pair
    repeated: Pair
    links: int
    hops: int

    @property
    def link(self) -> float | None:
        """Bytes/s of one link."""
        return None if self.pair.rate is None else self.pair.rate / self.links

    def hop(self, dispatch: float | None) -> float | None:
        """Seconds a hop: what the smaller one takes beyond its bytes and its dispatch."""
        per_byte, small = self.pair.per_unit, self.repeated.per_unit
        if per_byte is None or small is None or dispatch is None:
            return None
        left = small - dispatch - per_byte * self.pair.sizes[0]
        return left / self.hops if left > 0 else None


def constants(pairs: Mapping[str, Pair], exchange: Exchange | None) -> dict[str, float | None]:
    """Return the constants by the names that ``Chip`` has for them; None for what was not measured.

    :param pairs: by the constant that each is for; ``flops_<fidelity>`` in tile products of a core.
    :param exchange: None on a single chip.
    """
    values: dict[str, float | None] = {}
    for name, pair in pairs.items():
        if name in ("dispatch", "host_call"):
            values[name] = pair.per_unit
        elif name.startswith("flops_"):
            values[name] = None if pair.rate is None else FLOPS_OF_TILES * pair.rate
        else:
            values[name] = pair.rate
    if exchange is not None:
        values["link"] = exchange.link
        values["hop"] = exchange.hop(values.get("dispatch"))
    return {name: value if value is None or math.isfinite(value) else None for name, value in values.items()}
