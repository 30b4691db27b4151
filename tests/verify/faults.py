"""Ops made wrong on purpose; as a program, the device's process with such an op, which only tests start."""

from __future__ import annotations

import functools
import sys
import time
from typing import TYPE_CHECKING, Any

import attrs

from ttfamily.sim.row import REGISTERED
from ttfamily.sim.table import row_of
from ttfamily.sim.tensor import Cell
from ttfamily.verify import device
from ttfamily.verify.child import main

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch


def scaled(value: torch.Tensor) -> torch.Tensor:
    """Make one column in eight 10 % too large."""
    wrong = value.clone()
    wrong[..., ::8] *= 1.1
    return wrong


def one_element(value: torch.Tensor) -> torch.Tensor:
    """Make a single element of a large tensor wrong, by as much as its row's largest."""
    wrong = value.clone()
    flat = wrong.flatten(0, -2)
    flat[0, 0] += flat[0].abs().max()
    return wrong


def first_row(value: torch.Tensor) -> torch.Tensor:
    """Write a wrong number into the first row that holds something."""
    wrong = value.clone()
    rows = wrong.flatten(0, -2)
    rows[int(rows.abs().sum(-1).argmax()), 0] += 1.0
    return wrong


def spoil(name: str, damage: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Let the simulated mesh of this process compute an op wrong."""
    row = row_of(name)

    @functools.wraps(row.kernel)
    def wrong(*args: Any, **kwargs: Any) -> Any:
        made = row.kernel(*args, **kwargs)
        if isinstance(made, Cell):  # in place
            made.value = damage(made.read())
            return made
        return damage(made)

    REGISTERED[name] = attrs.evolve(row, kernel=wrong)


def stick(name: str) -> None:
    """Let an op of this process never return."""
    row = row_of(name)

    @functools.wraps(row.kernel)
    def stuck(*_args: Any, **_kwargs: Any) -> Any:
        while True:
            time.sleep(1)

    REGISTERED[name] = attrs.evolve(row, kernel=stuck)


def refuse(name: str) -> None:
    """Let an op of this process fail as ttnn's own do: when it is called, in a rehearsal and a capture too."""

    def refused(*_args: Any, **_kwargs: Any) -> Any:
        message = "TT_FATAL @ /home/someone/tt-metal/op.cpp:1: Out of Memory"
        raise RuntimeError(message)

    REGISTERED[name] = attrs.evolve(row_of(name), kernel=refused, crossing=True)


DAMAGE: dict[str, Callable[[str], None]] = {
    "scaled": functools.partial(spoil, damage=scaled),
    "one_element": functools.partial(spoil, damage=one_element),
    "first_row": functools.partial(spoil, damage=first_row),
    "stick": stick,
    "refuse": refuse,
}


def only_ops() -> None:
    """Leave out of this process what takes long and is not about ops."""
    every = device.parts
    device.parts = lambda *given: [part for part in every(*given) if part[0].startswith("ops of")]


if __name__ == "__main__":
    *wrong, role, job = sys.argv[1:]
    for each in wrong:
        kind, _, name = each.partition("=")
        DAMAGE[kind](name)
    only_ops()
    main([role, job])
