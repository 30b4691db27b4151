"""The door that every ttnn op goes through, on hardware as on a simulated mesh: who stands at it sees every call."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import ttnn
from ttnn.decorators import FastOperation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Around = Callable[["OpCall"], Any]


@attrs.frozen(kw_only=True, eq=False)
class OpCall:
    """One call of an op, before it is made.

    :param name: ``ttnn.linear``.
    :param run: makes the call, and can make it again; returns what the op returns.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    run: Callable[[], Any]

    @property
    def short_name(self) -> str:
        """Without ``ttnn.``."""
        return self.name.removeprefix("ttnn.")

    @property
    def tensors(self) -> list[ttnn.Tensor]:
        """Its tensor arguments, in order, those in lists among them."""
        return list(tensors_in((*self.args, *self.kwargs.values())))

    @property
    def arguments(self) -> str:
        """Formats and shapes of its tensors: alike on two meshes that run the same stream, whatever their grids."""
        shown = [f"{each.dtype.name.lower()} {list(each.shape)}" for each in self.tensors]
        return ", ".join(shown)


def tensors_in(value: Any) -> Iterator[ttnn.Tensor]:
    """Go through the ttnn tensors of an argument or of what an op returns."""
    if isinstance(value, ttnn.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from tensors_in(each)


@contextmanager
def every_op(around: Around) -> Iterator[None]:
    """Let ``around`` make every call of an op meanwhile: it is given the call and returns what the caller gets.

    Ops that an op calls, and those that ``around`` itself calls, go straight through.
    """
    real, inside = FastOperation.__call__, [False]

    def call(op: FastOperation, *args: Any, **kwargs: Any) -> Any:
        if inside[0]:
            return real(op, *args, **kwargs)
        inside[0] = True
        try:
            run = lambda: real(op, *args, **kwargs)  # noqa: E731
            return around(OpCall(name=op.python_fully_qualified_name, args=args, kwargs=kwargs, run=run))
        finally:
            inside[0] = False

    FastOperation.__call__ = call
    try:
        yield
    finally:
        FastOperation.__call__ = real
