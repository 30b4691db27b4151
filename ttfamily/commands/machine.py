"""The commands about a machine: what it has, and whether its devices compute what they should.

As in :mod:`ttfamily.cli`, what a command does is imported when it runs.
"""

from __future__ import annotations

from pathlib import Path

import typer

from ttfamily.commands.messages import FAILED, reported, show_log
from ttfamily.commands.options import (
    Families,
    Mesh,
    Output,
    Patience,
    Precision,
    Traceback,
    VerifyDevice,
)


def doctor(traceback: Traceback = False) -> None:
    """Look at this machine: what is here, what is missing, what to do about it.

    Exits with 0 if models can run on a simulated mesh; hardware is reported beside that.

    \b
    Example:
      ttfamily doctor
    """
    with reported(traceback=traceback):
        from rich.console import Console

        from ttfamily.doctor import examine, show

        well = show(examine(), Console(highlight=False))
    if not well:
        raise typer.Exit(FAILED)


def verify(
    ctx: typer.Context,
    mesh: Mesh = "n150",
    device: VerifyDevice = "auto",
    precision: Precision = "accuracy",
    families: Families = "",
    patience: Patience = 120.0,
    output: Output = Path("ttfamily-verify"),
    traceback: Traceback = False,
) -> None:
    """Verify a device, a card that is used for the first time above all.

    A process of its own computes on the simulated mesh what every op of every installed family's small models
    makes; another runs them on the device, compares op by op, and then runs the invariants, traces with prompts
    in between, 1,000 decode steps, and times ops, dispatch, DRAM, links and the host's calls. A hang is ended,
    and named. Nothing leaves this machine: the report is two files, without names or paths.

    Exits with 0 only if everything is as planned.

    \b
    Examples:
      ttfamily verify --mesh n150
      ttfamily verify --mesh n300 --device simulated --families llama,falcon
      ttfamily plan ./config.json --mesh n150 --measured ttfamily-verify/report.json
    """
    with reported(traceback=traceback):
        show_log()
        from ttfamily.ttnn_log import quiet_ttnn

        quiet_ttnn()  # before it is imported, which it would announce
        from rich.console import Console

        from ttfamily.commands.verify import verify as run
        from ttfamily.verify.run import VerifyOptions

        asked = VerifyOptions(
            mesh=mesh,
            device=device,
            precision=precision,
            families=tuple(families.replace(",", " ").split()),
            disabled=ctx.obj.disabled,
            patience=patience,
        )
        passed = run(asked, ctx.obj.registry(), output=output, console=Console(highlight=False, markup=False))
    if not passed:
        raise typer.Exit(FAILED)
