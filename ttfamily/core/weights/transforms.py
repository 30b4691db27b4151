"""A family's transform, run on a checkpoint's tensors, and who is to blame where it fails."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import attrs

from ttfamily.core.weights.values import check_values, not_finite
from ttfamily.errors import CheckpointError, PluginError, TtfamilyError

if TYPE_CHECKING:
    from torch import Tensor

    from ttfamily.core.config.spec import ModelSpec

Transform = Callable[["tuple[Tensor, ...]", "ModelSpec"], "tuple[Tensor, ...]"]


class Source(NamedTuple):
    """A tensor of the checkpoint that a transform is given."""

    name: str
    tensor: Tensor


@attrs.frozen(kw_only=True, eq=False)
class Transforming:
    """A slot's transform at work.

    A wrong transform and a wrong tensor look alike: both end in an error of torch's, or in another shape. What tells
    them apart is the number of elements: where the tensors have as many as the parts, the transform is to blame.

    :param who: family and slot, for messages.
    :param folder: of the checkpoint, for messages.
    :param shapes: that the parts must have.
    """

    transform: Transform
    sources: tuple[Source, ...]
    shapes: tuple[tuple[int, ...], ...]
    slot: str
    who: str
    folder: str

    def parts(self, spec: ModelSpec) -> tuple[Tensor, ...]:
        """Return what the transform makes.

        :raises PluginError: if the transform is to blame.
        :raises CheckpointError: if the tensors are.
        """
        parts = self._made(spec)
        for i, (part, shape) in enumerate(zip(parts, self.shapes, strict=True)):
            if tuple(part.shape) != tuple(shape):
                names = ", ".join(source.name for source in self.sources)
                label = f"part {i} of {self.slot} made from {names}"
                raise self._wrong(label, f"shape {list(part.shape)}", f"shape {list(shape)}")
            if bad := not_finite(part):
                for source in self.sources:
                    check_values(source.name, source.tensor)
                got = f"part {i} with {bad}, made of finite {self._given}"
                raise PluginError(self._named, got=got, expected="finite numbers", fix="Correct the transform.")
        return parts

    def _made(self, spec: ModelSpec) -> tuple[Tensor, ...]:
        from torch import Tensor  # here, since whoever lists the families imports this file

        try:
            made = self.transform(tuple(source.tensor for source in self.sources), spec)
        except TtfamilyError:
            raise  # what a plugin says for itself
        except Exception as error:
            # A transform reshapes, so tensors of the wrong shape fail inside it before any check here.
            got = f"{type(error).__name__}: {error}, of {self._given}"
            raise self._wrong(self._named, got, self._wanted) from error
        parts = () if isinstance(made, Tensor) or not isinstance(made, Iterable) else tuple(made)
        if len(parts) != len(self.shapes) or not all(isinstance(part, Tensor) for part in parts):
            got = f"{len(parts)} parts" if parts else f"a {type(made).__name__}"
            fix = "Correct what the transform returns."
            raise PluginError(self._named, got=got, expected=f"a tuple of {self._wanted}", fix=fix)
        return parts

    def _wrong(self, who: str, got: str, expected: str) -> TtfamilyError:
        if sum(source.tensor.numel() for source in self.sources) == sum(map(math.prod, self.shapes)):
            fix = "Correct the transform in the family's plugin: its tensors are as large as its parts."
            blamed = got if who == self._named else f"{got}: {who}"
            return PluginError(self._named, got=blamed, expected=expected, fix=fix)
        fix = f"Check that config.json belongs to the weights in {self.folder}; else correct the transform."
        return CheckpointError(who, got=got, expected=expected, fix=fix)

    @property
    def _named(self) -> str:
        return f"{self.who}, transform {getattr(self.transform, '__name__', type(self.transform).__name__)}"

    @property
    def _given(self) -> str:
        return ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in self.sources)

    @property
    def _wanted(self) -> str:
        return f"{len(self.shapes)} parts of shape {' and '.join(str(list(shape)) for shape in self.shapes)}"
