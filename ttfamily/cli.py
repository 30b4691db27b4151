"""The command line: one function a command, with its options and its help.

Nothing but typer is imported here, and help is plain text without rich: ``ttfamily --help``
answers before torch could even be found. What a command does is imported when it runs.
"""

from __future__ import annotations

import os
from pathlib import Path  # noqa: TC003 -- typer reads the annotations when it runs
from typing import Annotated

import typer

from ttfamily.commands.extending import families_app, new_plugin
from ttfamily.commands.machine import doctor, verify
from ttfamily.commands.messages import FAILED, reported, show_log
from ttfamily.commands.options import (
    BatchSize,
    Device,
    FamilyName,
    MaxSeqLen,
    Measured,
    Mesh,
    Model,
    Precision,
    Prompts,
    PromptsFile,
    Revision,
    Seed,
    Seq,
    Stop,
    Temperature,
    TopK,
    TopP,
    Traceback,
)

DISABLED = "TTFAMILY_DISABLE_PLUGINS"
TRACE_TRACKING = {"TT_METAL_TRACE_ALLOC_TRACKING": "1", "TT_METAL_TRACE_ALLOC_TRACEBACKS": "1"}

app = typer.Typer(
    name="ttfamily",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        import ttfamily

        typer.echo(f"ttfamily {ttfamily.__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    strict_plugins: Annotated[
        bool, typer.Option("--strict-plugins", help="Stop if any installed plugin cannot be loaded.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            help="On hardware, let ttnn stop where a tensor or program was made that a trace would overwrite.",
        ),
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run Hugging Face language models on Tenstorrent meshes, real or simulated.

    \b
    Start here:
      ttfamily demo               a small Llama, trained, run and checked in minutes
      ttfamily doctor             what this machine has and what it lacks
      ttfamily generate --help    how to run a model
    \b
    TTFAMILY_DISABLE_PLUGINS      plugins that are not to be imported: names, packages, or all
    """
    from ttfamily.commands.plugins import PluginChoice

    if debug:
        os.environ.update(TRACE_TRACKING)  # ttnn reads them when it is imported
    disabled = os.environ.get(DISABLED, "").replace(",", " ").split()
    ctx.obj = PluginChoice(strict=strict_plugins, disabled=tuple(disabled))


def _let_threads_sleep() -> None:
    """Let OpenMP's threads sleep while they wait, unless the user has decided otherwise.

    By default they spin: a fifth faster on idle cores, four to ten times slower on busy ones (the
    demo's training, measured). It must be set before torch is imported, so a command does it first.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@app.command(short_help="Train a small Llama, run it, compare it with Hugging Face.")
def demo(
    mesh: Mesh = "n300",
    device: Device = "auto",
    precision: Precision = "accuracy",
    traceback: Traceback = False,
) -> None:
    """Train a small Llama, run it on a mesh, compare it with Hugging Face.

    Needs no hardware and no download. The first run trains for about a minute on the
    docstrings of Python's standard library and keeps the checkpoint; later runs use it again.
    Exits with 0 only if the logits agree with Hugging Face in float32.

    \b
    Examples:
      ttfamily demo
      ttfamily demo --mesh n150 --precision performance
    """
    with reported(traceback=traceback):
        show_log()
        _let_threads_sleep()
        from rich.console import Console

        from ttfamily.demo.run import run

        passed = run(Console(highlight=False), mesh=mesh, device=device, precision=precision)
    if not passed:
        raise typer.Exit(FAILED)


@app.command()
def generate(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A checkpoint folder, or a Hugging Face model id.")],
    prompts: Prompts = None,
    prompts_file: PromptsFile = None,
    mesh: Mesh = "n150",
    device: Device = "auto",
    precision: Precision = "accuracy",
    max_new_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="Stop after so many new tokens.")] = 128,
    temperature: Temperature = 0.0,
    top_k: TopK = None,
    top_p: TopP = None,
    seed: Seed = None,
    stop: Stop = None,
    chat: Annotated[bool, typer.Option("--chat", help="Put the prompt into the model's chat template.")] = False,
    max_seq_len: MaxSeqLen = None,
    batch_size: BatchSize = None,
    revision: Revision = None,
    family: FamilyName = None,
    traceback: Traceback = False,
) -> None:
    """Continue one or more prompts.

    The text goes to standard output, token by token for a single prompt; loading progress and
    the speed (time to first token, tokens/s/user, tokens/s) go to standard error.

    \b
    Examples:
      ttfamily generate meta-llama/Llama-3.1-8B "The capital of France is" --mesh n300
      ttfamily generate ./checkpoint "Once upon a time" --temperature 0.8 --top-p 0.9 --seed 7
      ttfamily generate ./checkpoint --chat "Write a haiku" --max-new-tokens 40
      cat question.txt | ttfamily generate ./checkpoint -
      ttfamily generate ./checkpoint --prompts-file prompts.txt --batch-size 32
    """
    with reported(traceback=traceback):
        show_log()
        _let_threads_sleep()
        from ttfamily.commands.prompts import gather

        texts = gather(prompts or (), prompts_file)

        from ttfamily.commands.generate import GenerateOptions, LoadOptions
        from ttfamily.commands.generate import generate as run

        load = LoadOptions(
            model=model,
            mesh=mesh,
            device=device,
            precision=precision,
            max_seq_len=max_seq_len,
            batch_size=batch_size,
            revision=revision,
            family=family,
        )
        how = GenerateOptions(
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            stop=tuple(stop or ()),
        )
        run(load, texts, how, chat=chat, registry=ctx.obj.registry())


@app.command(short_help="Say how a model lies on a mesh, what fits, and how fast it can be.")
def plan(
    ctx: typer.Context,
    model: Model,
    mesh: Mesh = "n150",
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Users at once.")] = 1,
    seq: Seq = None,
    precision: Precision = "accuracy",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page to look at in a browser.")] = None,
    measured: Measured = None,
    revision: Revision = None,
    family: FamilyName = None,
    traceback: Traceback = False,
) -> None:
    """Plan a model on a mesh, from its config alone: nothing is loaded, no hardware is needed.

    Lays the model out with ttnn's own allocator and checks, records every op of a decode step and
    of a prefill, and shows how the weights are cut, what padding costs, what each device's DRAM
    and L1 hold, the longest context for each number of users, what collectives send, the DRAM
    bytes of a decode step beside the least that is possible, and the speed that this allows. Of a
    model on the hub only config.json is fetched.

    \b
    Examples:
      ttfamily plan meta-llama/Llama-3.1-8B --mesh n300
      ttfamily plan ./checkpoint --mesh n150 --precision performance --batch 32
      ttfamily plan ./config.json --mesh n300 --seq 8192 --html plan.html
      ttfamily plan ./config.json --mesh n300 --json > plan.json
      ttfamily plan ./config.json --mesh n150 --measured ttfamily-verify/report.json
    """
    with reported(traceback=traceback):
        show_log()
        _let_threads_sleep()
        from ttfamily.ttnn_log import quiet_ttnn

        quiet_ttnn()  # before it is imported, which it would announce
        from ttfamily.commands.plan import PlanOptions
        from ttfamily.commands.plan import plan as run

        asked = PlanOptions(
            model=model,
            mesh=mesh,
            precision=precision,
            batch_size=batch,
            seq_len=seq,
            revision=revision,
            family=family,
            measured=measured,
        )
        run(asked, ctx.obj.registry(), as_json=as_json, html=html)


app.add_typer(families_app, name="families", short_help="List the installed model families, or explain one.")
app.command(short_help="Write the skeleton of a package with a model family.")(new_plugin)
app.command(short_help="Look at this machine: what is here, what is missing.")(doctor)
app.command(short_help="Run every op on a device and hold it against the simulator; time it.")(verify)


def main() -> None:
    """Run the command line; the script ``ttfamily`` calls this."""
    app(prog_name="ttfamily")  # under "python -m" too
