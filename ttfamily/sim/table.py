"""The table of ops: every row that ttfamily has, by the op's name without ``ttnn.``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ttfamily.errors import SimulatorError
from ttfamily.sim import boundary, host  # noqa: F401  (each registers its rows)
from ttfamily.sim.ops import (  # noqa: F401  (each registers its rows)
    attention,
    cache,
    collectives,
    creation,
    elementwise,
    heads,
    matmul,
    normalization,
    random,
    shape,
)
from ttfamily.sim.row import REGISTERED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ttfamily.sim.row import Row

ROWS: Mapping[str, Row] = REGISTERED


def row_of(name: str, rows: Mapping[str, Row] = ROWS) -> Row:
    """Return the row of an op.

    :param name: with or without ``ttnn.``.
    :raises SimulatorError: if it has none, naming the op: what is not known is not counted as nothing.
    """
    short = name.removeprefix("ttnn.")
    row = rows.get(short)
    if row is None:
        raise SimulatorError(
            f"ttnn.{short}",
            got="an op without a row",
            expected=f"one of the {len(rows)} ops whose values, traffic and tile products are known",
            fix="Add its kernel to a module of ttfamily/sim/ops/, with @op(...) over it, and its test.",
        )
    return row
