"""Operands of single ttnn ops on a simulated mesh, with what ttnn itself stores of them on every device."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import attrs
import torch
import ttnn

from ttfamily.core.mesh.placement import Sharding, put
from ttfamily.sim import session

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.sim.interpreter import Interpreter

BF16_STEP = 2.0**-8  # half the distance of neighbours, relative to the smaller one: the error of one rounding


@attrs.frozen
class Operand:
    """A tensor on the mesh.

    :param tensor: on the mesh.
    :param local: the values of every device, in row-major order, float64 or int64, as ttnn's own host
        conversion and mesh mapper make them: nothing of the simulator is in them.
    """

    tensor: ttnn.Tensor
    local: list[torch.Tensor]


@attrs.define
class Operands:
    """Makes operands for one simulated mesh and reads results.

    :param mesh: open, simulated.
    :param numbers: where random numbers come from.
    """

    mesh: Mesh
    numbers: torch.Generator = attrs.field(factory=torch.Generator, repr=False)

    def reseed(self, seed: int) -> None:
        """Begin the random numbers anew: the same operands in the same order are the same ones."""
        self.numbers.manual_seed(seed)

    @property
    def interpreter(self) -> Interpreter:
        """The interpreter of the open mesh."""
        return session.open_interpreter()

    def put(
        self,
        values: torch.Tensor,
        *,
        dtype: ttnn.DataType = ttnn.bfloat16,
        layout: ttnn.Layout = ttnn.TILE_LAYOUT,
        cut: int | None = None,
        memory_config: ttnn.MemoryConfig = ttnn.DRAM_MEMORY_CONFIG,
    ) -> Operand:
        """Put host values on the mesh, whole on every device or cut along dimension ``cut``."""
        tensor = put(
            self.mesh, values, dtype=dtype, layout=layout, sharding=Sharding(tensor=cut), memory_config=memory_config
        )
        parts = [values] * self.mesh.tensor_parallel if cut is None else values.chunk(self.mesh.tensor_parallel, cut)
        return Operand(tensor, [self.stored(part, dtype) for part in parts])

    def random(self, *shape: int, cut: int | None = None, scale: float = 1.0, **placed: Any) -> Operand:
        """Normal numbers of this shape on every device; ``cut`` gives each device its own."""
        whole = list(shape)
        if cut is not None:
            whole[cut] *= self.mesh.tensor_parallel
        return self.put(torch.randn(whole, generator=self.numbers) * scale, cut=cut, **placed)

    def stored(self, values: torch.Tensor, dtype: ttnn.DataType) -> torch.Tensor:
        """Return what ttnn's own host conversion makes of the values: float64 or int64."""
        tiled = dtype in (ttnn.bfloat8_b, ttnn.bfloat4_b)
        with self.plain_ttnn():
            layout = ttnn.TILE_LAYOUT if tiled else ttnn.ROW_MAJOR_LAYOUT
            back = ttnn.to_torch(ttnn.from_torch(values, dtype=dtype, layout=layout))
        return _wide(back)

    @contextlib.contextmanager
    def plain_ttnn(self) -> Iterator[None]:
        """Let ttnn's functions through to ttnn, as if no simulated mesh were open."""
        interpreter = self.interpreter
        interpreter._inside = True  # noqa: SLF001
        try:
            yield
        finally:
            interpreter._inside = False  # noqa: SLF001

    @staticmethod
    def read(tensor: ttnn.Tensor) -> list[torch.Tensor]:
        """Every device's values, float64 or int64, in row-major order."""
        return [_wide(ttnn.to_torch(part)) for part in ttnn.get_device_tensors(tensor)]

    def check(self, got: ttnn.Tensor, want: Sequence[torch.Tensor], roundings: float = 1.0) -> None:
        """Fail unless every device holds what is wanted.

        :param want: one tensor a device; NaN where the result must be NaN.
        :param roundings: how many roundings to bfloat16 of the largest values the difference may be; 0
            for the same values.
        :raises AssertionError: naming the device.
        """
        parts = self.read(got)
        if len(parts) != len(want):
            raise AssertionError(f"values of {len(parts)} devices, want {len(want)}")
        for device, (part, wanted) in enumerate(zip(parts, want, strict=True)):
            assert_rounded(part, wanted, roundings, f"device {device}: ")


def _wide(values: torch.Tensor) -> torch.Tensor:
    return values.double() if values.is_floating_point() else values.long()


def assert_rounded(got: torch.Tensor, want: torch.Tensor, roundings: float = 1.0, who: str = "") -> None:
    """Fail unless two tensors differ by no more than some roundings to bfloat16, relative to value and spread.

    :raises AssertionError: with the worst element.
    """
    if got.shape != want.shape:
        raise AssertionError(f"{who}got shape {tuple(got.shape)}, want {tuple(want.shape)}")
    got, want = got.double(), want.double()
    if not torch.equal(got.isnan(), want.isnan()):
        counts = f"got {int(got.isnan().sum())} NaN, want {int(want.isnan().sum())}"
        raise AssertionError(f"{who}{counts}, or in other places")
    got, want = got.nan_to_num(0.0), want.nan_to_num(0.0)
    spread = want.square().mean().sqrt()
    error = (got - want).abs() - roundings * BF16_STEP * (want.abs() + spread)
    if error.numel() and float(error.max()) > 0:
        worst = tuple(int(i) for i in torch.unravel_index(error.argmax(), error.shape))
        raise AssertionError(f"{who}got {float(got[worst]):.6g} at {worst}, want {float(want[worst]):.6g}")
