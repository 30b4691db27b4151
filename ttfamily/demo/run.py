"""The demo: make or find the checkpoint, load it, let it speak, compare it with Hugging Face."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from rich.table import Table

import ttfamily
from ttfamily.commands.speed import speed_line
from ttfamily.demo.checkpoint import checkpoint
from ttfamily.demo.compare import compare
from ttfamily.demo.corpus import documents
from ttfamily.demo.recipe import Recipe
from ttfamily.errors import RequestError
from ttfamily.paths import cache_folder
from ttfamily.plugins.llama import LLAMA
from ttfamily.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console
    from transformers import PreTrainedTokenizerBase

    from ttfamily.demo.compare import Agreement

PROMPT = "Beautiful is better than"
NEW_TOKENS = 96
MAX_SEQ_LEN = 256

# 8 users x (1 prompt + 24 steps) = 200 teacher-forced tokens, each user at its own position.
USERS = 8
DECODE_STEPS = 24
LENGTH = 128


def run(console: Console, *, mesh: str, device: str, precision: str) -> bool:
    """Run the demo and return whether the model agrees with Hugging Face.

    :param console: where everything is printed.
    :param mesh: the mesh's name, as :func:`ttfamily.load` takes it.
    :param device: ``auto``, ``hardware`` or ``simulated``.
    :param precision: the name of a precision policy.
    :raises TtfamilyError: if the checkpoint cannot be made or loaded.
    """
    if device == "dry":
        raise RequestError(
            "demo", got='device="dry"', expected="auto, hardware or simulated", fix="A dry mesh computes no numbers."
        )
    texts = documents()
    folder = _checkpoint(console, texts)
    _begin(console, f"Loading it onto {mesh}")
    with ttfamily.load(
        str(folder),
        mesh=mesh,
        device=device,
        precision=precision,
        max_batch_size=USERS,
        max_seq_len=MAX_SEQ_LEN,
        family=LLAMA,  # whatever plugins there are
    ) as model:
        _speak(console, model, mesh=mesh)
        tokens = held_in(model.tokenizer, texts, users=USERS, length=LENGTH)
        task = "Comparing with Hugging Face in float32"
        _begin(console, task)
        with console.status(task):
            result = compare(model, folder, tokens, decode_steps=DECODE_STEPS, max_batch_size=USERS)
    console.print(agreement_table(result, title=f"{mesh}, {precision}, against Hugging Face in float32"))
    console.print("[green]The demo passed.[/]" if result.passed else "[red]The demo failed: a number is too low.[/]")
    return result.passed


def held_in(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, users: int, length: int) -> torch.Tensor:
    """Return ``[users, length]`` int64: how the first texts that are long enough begin.

    :raises RequestError: if fewer than ``users`` texts are ``length`` tokens long.
    """
    rows = [ids[:length] for ids in map(tokenizer.encode, texts) if len(ids) >= length]
    if len(rows) < users:
        raise RequestError(
            "demo",
            got=f"{len(rows)} texts of at least {length} tokens",
            expected=f"{users}",
            fix="Compare fewer users, or shorter texts.",
        )
    return torch.tensor(rows[:users])


def agreement_table(result: Agreement, *, title: str) -> Table:
    """Return the numbers that decide, each beside the least it must reach."""
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.caption = f"{result.tokens} teacher-forced tokens; the worst one's PCC is {result.lowest_pcc:.5f}"
    for column in ("", "measured", "at least", ""):
        table.add_column(column, justify="left" if column == "" else "right")
    for what, value, least in result.rows():
        show = "{:.2%}".format if "agreement" in what else "{:.5f}".format
        table.add_row(what, show(value), show(least), "[green]ok[/]" if value >= least else "[red]too low[/]")
    return table


def _checkpoint(console: Console, texts: Sequence[str]) -> Path:
    recipe, cache = Recipe(), cache_folder() / "demo"
    if (cache / recipe.name(texts)).is_dir():
        folder, made = cache / recipe.name(texts), "Found a small Llama"
    else:
        folder, made = _train(console, recipe, texts, cache)
    console.print(f"{made}: [cyan]{folder}[/]", soft_wrap=True)
    return folder


def _train(console: Console, recipe: Recipe, texts: Sequence[str], cache: Path) -> tuple[Path, str]:
    task = "Training a small Llama (once)"
    _begin(console, task)
    last = "by another process"
    with Progress(task, console=console, say=console.print) as show:

        def on_step(done: int, loss: float) -> None:
            nonlocal last
            last = f"loss {loss:.2f}"
            show(done, recipe.steps, last)

        folder, _ = checkpoint(recipe, texts, cache, on_step)
    return folder, f"Trained a small Llama ({last})"


def _begin(console: Console, task: str) -> None:
    """Say what begins, where no bar and no spinner shows it."""
    if not console.is_terminal:
        console.print(task)


def _speak(console: Console, model: ttfamily.Model, *, mesh: str) -> None:
    console.out(PROMPT, style="bold", end="", highlight=False)
    for piece in model.generate(PROMPT, max_new_tokens=NEW_TOKENS, stream=True):
        console.out(piece, end="", highlight=False)
    console.print()
    if model.last_run is not None:
        console.print(speed_line(model.last_run, mesh=mesh, kind=model.mesh.kind), style="dim", soft_wrap=True)
