"""The commands about families: which there are, which one an architecture gets, and the start of a new one.

As in :mod:`ttfamily.cli`, what a command does is imported when it runs.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ttfamily.commands.messages import FAILED, reported, show_log
from ttfamily.commands.options import Architecture, FamilyName, Folder, Parent, Traceback

families_app = typer.Typer(rich_markup_mode=None)


@families_app.callback(invoke_without_command=True)
def families(ctx: typer.Context, traceback: Traceback = False) -> None:
    """List the model families that are installed, and where each comes from.

    A plugin that could not be loaded is shown with its traceback.

    \b
    Examples:
      ttfamily families
      ttfamily families explain LlamaForCausalLM
    """
    if ctx.invoked_subcommand is not None:
        return
    with reported(traceback=traceback):
        show_log()
        from rich.console import Console

        from ttfamily.commands.families import show_families

        show_families(ctx.obj.registry(), Console(highlight=False, markup=False))


@families_app.command(short_help="Say which family an architecture gets, and why.")
def explain(
    ctx: typer.Context,
    architecture: Architecture,
    family: FamilyName = None,
    traceback: Traceback = False,
) -> None:
    """Say which plugins claim an architecture, which family it gets and why, and what that family is.

    Exits with 0 if a family gets it.

    \b
    Examples:
      ttfamily families explain LlamaForCausalLM
      ttfamily families explain LlamaForCausalLM --family ttfamily:llama
    """
    with reported(traceback=traceback):
        show_log()
        from rich.console import Console

        from ttfamily.commands.explain import explain as run

        well = run(ctx.obj.registry(), architecture, family, Console(highlight=False, markup=False))
    if not well:
        raise typer.Exit(FAILED)


def new_plugin(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The package's name, such as tt-dream.")],
    folder: Folder = None,
    architecture: Annotated[
        str | None, typer.Option(metavar="CLASS", help="The class name in config.json's architectures.")
    ] = None,
    parent: Parent = "llama",
    traceback: Traceback = False,
) -> None:
    """Write a package that adds a model family: the family file, its tests, and a pyproject.toml.

    It can be installed at once. Its tests fail where something has to be filled in, and say what
    and where.

    \b
    Examples:
      ttfamily new-plugin tt-dream --architecture DreamForCausalLM
      ttfamily new-plugin tt-dream --folder plugins/tt-dream --from llama
    """
    with reported(traceback=traceback):
        show_log()
        from ttfamily.commands.new_plugin import new_plugin as run

        typer.echo(run(name, ctx.obj.registry(), folder=folder, architecture=architecture, parent=parent))
