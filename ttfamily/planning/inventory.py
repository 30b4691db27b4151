"""What lies in DRAM when a model is loaded: every tensor that its blocks report, by slot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ttfamily.core.blocks.kv_cache import CACHE
from ttfamily.sim.facts import facts

if TYPE_CHECKING:
    from ttfamily.core.blocks.block import Block
    from ttfamily.core.config.precision import Format
    from ttfamily.sim.facts import TensorFacts


@attrs.frozen(kw_only=True)
class Held:
    """A tensor that stays in DRAM.

    :param slot: of the family's weight table, or a name of the block's own, such as ``kv_cache``.
    :param layer: None for what no layer has.
    :param format: of its elements.
    :param parts: how many devices of a replica share it.
    :param tensor: on one device.
    """

    slot: str
    layer: int | None = None
    format: Format = "bf16"
    parts: int = 1
    tensor: TensorFacts

    @property
    def in_cache(self) -> bool:
        """Whether it is keys or values."""
        return self.slot == CACHE


def held_tensors(block: Block, banks: int) -> list[Held]:
    """Return every tensor in DRAM that a loaded block and its parts hold, in the order in which they are declared.

    :param banks: DRAM banks of a chip.
    """
    held = [
        Held(slot=each.slot, layer=each.layer, format=each.format, parts=each.parts, tensor=facts(each.tensor, banks))
        for each in block.parameters()
    ]
    return [each for each in held if each.tensor.in_dram]
