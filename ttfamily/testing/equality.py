"""Equality bit for bit, with a message that says where it ends."""

from __future__ import annotations

import torch

SHOWN = 6


def assert_same(got: torch.Tensor, want: torch.Tensor, what: str, axes: tuple[str, ...] = ()) -> None:
    """Fail unless two tensors are equal, bit for bit, and finite.

    :param what: whose values they are, for the message: ``slot 3 beside others``.
    :param axes: what the first dimensions count: ``("step",)``; the others are elements.
    :raises AssertionError: with how many elements differ, in which places of each axis, and the worst of them.
    """
    __tracebackhide__ = True
    if tuple(got.shape) != tuple(want.shape):
        raise AssertionError(f"{what}: got shape {list(got.shape)}, want {list(want.shape)}")
    differ = (got != want) | ~got.isfinite()
    if not differ.any():
        return
    places = differ.nonzero()
    among = [f"{axis} {_listed(places[:, i])}" for i, axis in enumerate(axes)]
    error = (got.double() - want.double()).abs().nan_to_num(nan=torch.inf).masked_fill(~differ, -1.0)
    worst = tuple(int(i) for i in torch.unravel_index(error.argmax(), error.shape))
    named = [f"{axis} {i}" for axis, i in zip(axes, worst, strict=False)] + [f"element {list(worst[len(axes) :])}"]
    raise AssertionError(
        f"{what}: {len(places)} of {differ.numel()} elements differ{', in ' * bool(among)}{', '.join(among)}; "
        f"worst at {', '.join(named)}: got {float(got[worst]):.6g}, want {float(want[worst]):.6g}"
    )


def _listed(indices: torch.Tensor) -> str:
    found = indices.unique().tolist()
    return ", ".join(map(str, found[:SHOWN])) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
