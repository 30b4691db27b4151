"""Every op call of a stream on a device, against the simulator's: each on the simulator's own inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import torch

from ttfamily.verify.compare import EQUAL, bound_of, difference
from ttfamily.verify.expected import results_of
from ttfamily.verify.job import said
from ttfamily.verify.values import read_devices, write_devices

if TYPE_CHECKING:
    from collections.abc import Callable

    import ttnn

    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.verify.compare import Difference
    from ttfamily.verify.door import OpCall
    from ttfamily.verify.expected import ExpectedCall, ExpectedReader
    from ttfamily.verify.heartbeat import Heartbeat


class StreamDiffers(Exception):  # noqa: N818 -- it is no error of the program, but something that was found
    """The device's stream has another op where the simulator's has this one: nothing after it can be compared."""


@attrs.frozen(kw_only=True)
class Checked:
    """One op call on the device.

    :param together: the error of all elements, in units of the output's format; infinite if something is not finite.
    :param worst: that of the worst element.
    :param bound: what it may be, together and of the worst.
    :param right: whether it is within both.
    :param detail: where it is off, if it is.
    :param corrected: None if the simulator's values now stand in the output, else why they do not.
    """

    op: str
    arguments: str
    stage: str
    together: float
    worst: float
    bound: tuple[float, float]
    right: bool
    detail: str = ""
    corrected: str | None = None


class OpChecker:
    """Stands at the door: compares what each call makes, then writes the simulator's values over it.

    So the next op's inputs are the simulator's, and what is off is off by the op that made it, once. Where the
    simulator has NaN the device's own values stay: they are undefined, and nothing may read them.

    :param found: called with every call that made something, at once: the next one may hang.
    :ivar stage: of the stream; set from outside.
    """

    def __init__(
        self, mesh: Mesh, expected: ExpectedReader, heartbeat: Heartbeat, found: Callable[[Checked], None]
    ) -> None:
        self._mesh, self._expected, self._heartbeat, self._found = mesh, expected, heartbeat, found
        self.stage = ""

    def __call__(self, call: OpCall) -> Any:
        """Make one call.

        :raises StreamDiffers: if the simulator's stream has another op here.
        """
        arguments = call.arguments  # before the call, which may free a tensor
        self._heartbeat.beat(doing=call.name, arguments=arguments)
        want = self._expected.next()
        if want is None or (want.name, want.arguments) != (call.name, arguments):
            there = f"{want.name}({want.arguments})" if want else "the end of its stream"
            message = f"{call.name}({arguments}) on the device, where the simulator has {there}"
            raise StreamDiffers(message)
        returned = call.run()
        results = results_of(call, returned)
        if len(results) != len(want.outputs):
            message = f"{call.name} made {len(results)} tensors on the device, {len(want.outputs)} in the simulator"
            raise StreamDiffers(message)
        if results:
            self._found(self._compared(call, arguments, results, want))
        return returned

    def finish(self) -> None:
        """Make sure that the simulator's stream has ended too.

        :raises StreamDiffers: if it goes on.
        """
        left = self._expected.next()
        if left is not None:
            message = f"the end of the stream on the device, where the simulator has {left.name}({left.arguments})"
            raise StreamDiffers(message)

    def _compared(self, call: OpCall, arguments: str, results: list[ttnn.Tensor], want: ExpectedCall) -> Checked:
        differences, bounds, failures = [], [], []
        for result, values in zip(results, want.outputs, strict=True):
            got = read_devices(result)
            every = values.expand(len(got), *values.shape[1:])
            off, bound = _difference(got, every, result), bound_of(call, result.dtype)
            differences.append(off)
            bounds.append(bound)
            if off.worst:
                failures.append(self._correct(result, got, every))
        shares = [off.share(bound) for off, bound in zip(differences, bounds, strict=True)]
        which = max(range(len(shares)), key=shares.__getitem__)
        off, bound = differences[which], bounds[which]
        right = off.within(bound)
        return Checked(
            op=call.name,
            arguments=arguments,
            stage=self.stage,
            together=off.together,
            worst=off.worst,
            bound=(bound.together, bound.worst),
            right=right,
            detail="" if right else _where(off, which if len(results) > 1 else None),
            corrected=next((reason for reason in failures if reason is not None), None),
        )

    def _correct(self, result: ttnn.Tensor, got: torch.Tensor, want: torch.Tensor) -> str | None:
        """Write the simulator's values; returns why that was not possible, or None."""
        values = torch.where(want.isnan(), got, want) if want.is_floating_point() else want
        try:
            write_devices(self._mesh, result, values)
        except RuntimeError as error:
            return said(error)
        written = _difference(read_devices(result), want, result)
        return None if written.within(EQUAL) else "read back, the tensor does not hold what was written"


def _difference(got: torch.Tensor, want: torch.Tensor, tensor: ttnn.Tensor) -> Difference:
    if got.shape != want.shape:
        message = f"an output of shape {list(got.shape[1:])} on the device, {list(want.shape[1:])} in the simulator"
        raise StreamDiffers(message)
    return difference(got, want, tensor.dtype)


def _where(off: Difference, output: int | None) -> str:
    device, *element = off.place
    named = "" if output is None else f"output {output}, "
    return f"{named}device {device}, element {element}: got {off.got:.6g}, want {off.want:.6g}"
