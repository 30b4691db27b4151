"""What the simulator says of every op call, written by one process and read by another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import torch

from ttfamily.verify.door import tensors_in
from ttfamily.verify.values import alike, on_device, read_devices

if TYPE_CHECKING:
    from pathlib import Path

    import ttnn

    from ttfamily.verify.door import OpCall

WRITES = "ttnn.copy_host_to_device_tensor"  # returns nothing: what it wrote is its second argument


@attrs.frozen(kw_only=True, eq=False)
class ExpectedCall:
    """One call of an op, on the simulated mesh.

    :param name: of the op.
    :param arguments: as :attr:`OpCall.arguments` has them.
    :param outputs: values of each output, ``[devices, *local_shape]``; of a single device where all are alike.
    """

    name: str
    arguments: str
    outputs: list[torch.Tensor]


def results_of(call: OpCall, returned: Any) -> list[ttnn.Tensor]:
    """The device tensors that a call has made or written."""
    found = tensors_in((call.args, call.kwargs)) if call.name == WRITES else tensors_in(returned)
    return [tensor for tensor in found if on_device(tensor)]


class ExpectedWriter:
    """Writes the calls of one subject, in order, a file each."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self.count = folder, 0

    def __call__(self, call: OpCall) -> Any:
        """Make one call, and write what it has made."""
        returned = call.run()
        outputs = [_once(read_devices(tensor)) for tensor in results_of(call, returned)]
        values = {"name": call.name, "arguments": call.arguments, "outputs": outputs}
        torch.save(values, self._folder / f"{self.count}.pt")
        self.count += 1
        return returned


class ExpectedReader:
    """Reads the calls of one subject, in order; each file is removed once it was read."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._next = folder, 0

    def next(self) -> ExpectedCall | None:
        """Return the next call; None after the last."""
        file = self._folder / f"{self._next}.pt"
        if not file.exists():
            return None
        self._next += 1
        values = torch.load(file, weights_only=True)
        file.unlink()
        return ExpectedCall(**values)


def _once(values: torch.Tensor) -> torch.Tensor:
    """Keep one device's values where all devices have the same."""
    return values[:1].clone() if alike(values, 0) else values
