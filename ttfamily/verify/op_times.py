"""How long each op of a stream takes, called by the host and in a trace, on the stream's own tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import ttnn

from ttfamily.verify.constants import Pair
from ttfamily.verify.workloads import TIMES, repeat, traced

if TYPE_CHECKING:
    from collections.abc import Callable

    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.verify.door import OpCall
    from ttfamily.verify.heartbeat import Heartbeat
    from ttfamily.verify.measure import Stopwatch, Times

# What the host does is no op of a trace; a reshape and a free run nothing on the chip.
UNTIMED = frozenset({
    "allocate_tensor_on_device", "copy_host_to_device_tensor", "deallocate", "from_torch", "reshape", "to_torch",
    "unsqueeze_to_4D", "zeros",
})  # fmt: skip


@attrs.frozen(kw_only=True)
class OpTimes:
    """One op on tensors of one format and shape.

    :param eager: called by the host, alone on the device; None where times mean nothing.
    :param traced: seconds that one more of it takes in a trace; None there, and where it cannot be told.
    """

    op: str
    arguments: str
    stage: str
    eager: Times | None
    traced: float | None


class OpTimer:
    """Stands at the door: makes each call, then times calls like it, the first time that it sees one.

    An op in place is repeated on what it has made: its values are of no use after that, its time is.

    :param found: called with the times of each op on tensors of each formats and shapes.
    :ivar stage: of the stream; set from outside.
    """

    def __init__(
        self, mesh: Mesh, stopwatch: Stopwatch, heartbeat: Heartbeat, found: Callable[[OpTimes], None]
    ) -> None:
        self._mesh, self._stopwatch, self._heartbeat, self._found = mesh, stopwatch, heartbeat, found
        self._seen: set[tuple[str, str]] = set()
        self.stage = ""

    def __call__(self, call: OpCall) -> Any:
        """Make one call."""
        arguments = call.arguments
        self._heartbeat.beat(doing=call.name, arguments=arguments)
        returned = call.run()
        key = call.name, arguments
        if call.short_name not in UNTIMED and key not in self._seen and call.tensors:
            self._seen.add(key)
            self._found(self._timed(call, arguments))
        return returned

    def _timed(self, call: OpCall, arguments: str) -> OpTimes:
        eager = self._stopwatch.times(call.run)
        self._heartbeat.beat(doing=f"{call.name} in a trace")
        found = []
        for count in TIMES:
            with traced(self._mesh, repeat(call.run, count)) as replay:
                found.append(self._stopwatch.times(replay))
        pair = Pair(name=call.name, sizes=TIMES, times=(found[0], found[1]))
        return OpTimes(op=call.name, arguments=arguments, stage=self.stage, eager=eager, traced=pair.per_unit)


def synchronizer(mesh: Mesh) -> Any:
    """What waits until a mesh has done everything."""
    return lambda: ttnn.synchronize_device(mesh.device)
