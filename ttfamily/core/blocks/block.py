"""What every part of the graph has in common: it says what it takes, then is loaded, then runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ttfamily.core.blocks.ccl import Collective
from ttfamily.core.blocks.parameter import Parameter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ttfamily.core.weights.weights import Weights


class Block:
    """A part of the graph.

    It is built from a plan, which decides everything and puts nothing on the mesh: the block declares what it will
    hold as :class:`Parameter` attributes, what chips exchange as :class:`Collective` attributes, and its parts as
    :class:`Block` attributes, alone or in lists, tuples and dicts. Whoever wants to know what a model takes walks
    through these. :meth:`load` then fills the parameters, and ``decode`` and ``prefill`` run.
    """

    def load(self, weights: Weights) -> None:
        """Fill the parameters; by default those of the parts, in the order in which they were declared."""
        for part in self._declared(Block):
            part.load(weights)

    @property
    def prefill_columns(self) -> int:
        """Columns of bf16 that it has in a chip's DRAM at the widest point of a prefill, input and output included.

        A block whose prefill makes tensors says so beside its ``prefill``.
        """
        return 0

    def parameters(self) -> Iterator[Parameter]:
        """Every parameter of the block and its parts, each once."""
        yield from _distinct(self, Parameter, set())

    def collectives(self) -> Iterator[Collective]:
        """Every exchange between chips of the block and its parts."""
        yield from _distinct(self, Collective, set())

    def _declared(self, kind: type[Any]) -> Iterator[Any]:
        for value in vars(self).values():
            yield from _members(value, kind)


def _members(value: Any, kind: type[Any]) -> Iterator[Any]:
    if isinstance(value, kind):
        yield value
    elif isinstance(value, dict):
        yield from (item for item in value.values() if isinstance(item, kind))
    elif isinstance(value, (list, tuple)):
        yield from (item for item in value if isinstance(item, kind))


def _distinct(block: Block, kind: type[Any], seen: set[int]) -> Iterator[Any]:
    """Walk through a block and its parts; what several parts share is met once."""
    for value in block._declared((Block, kind)):  # type: ignore[arg-type]  # noqa: SLF001 -- its own class
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, kind):
            yield value
        else:
            yield from _distinct(value, kind, seen)
