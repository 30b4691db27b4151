"""``ttfamily generate``: load a model, continue the prompts, say how fast it was."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import attrs
from rich.console import Console

import ttfamily
from ttfamily.commands.speed import speed_line
from ttfamily.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ttfamily.registry import FamilyRegistry

SLOTS = 32


@attrs.frozen(kw_only=True)
class LoadOptions:
    """What to load, and onto what: the arguments of :func:`ttfamily.load`."""

    model: str
    mesh: str
    device: str
    precision: str
    max_seq_len: int | None
    batch_size: int | None
    revision: str | None
    family: str | None


@attrs.frozen(kw_only=True)
class GenerateOptions:
    """How to continue a prompt: the arguments of :meth:`ttfamily.Model.generate`."""

    max_new_tokens: int
    temperature: float
    top_k: int | None
    top_p: float | None
    seed: int | None
    stop: tuple[str, ...]

    def options(self) -> dict[str, Any]:
        """Return them as keyword arguments."""
        return {**attrs.asdict(self), "stop": list(self.stop) or None}


def generate(
    load: LoadOptions, prompts: Sequence[str], how: GenerateOptions, *, chat: bool, registry: FamilyRegistry
) -> None:
    """Print the prompts' continuations on standard output, everything else on standard error.

    :param registry: where the model's family is looked up.
    :raises TtfamilyError: if the model cannot be loaded or the request not be served.
    """
    if chat and len(prompts) != 1:
        raise RequestError(
            "--chat", got=f"{len(prompts)} prompts", expected="one message", fix="Start the command once a message."
        )
    notes = Console(stderr=True, highlight=False)
    with ttfamily.load(
        load.model,
        mesh=load.mesh,
        device=load.device,
        precision=load.precision,
        max_seq_len=load.max_seq_len,
        max_batch_size=load.batch_size or min(len(prompts), SLOTS),
        revision=load.revision,
        family=load.family,
        registry=registry,
    ) as model:
        if chat:
            _stream(model.chat([{"role": "user", "content": prompts[0]}], stream=True, **how.options()))
        elif len(prompts) == 1:
            _stream(model.generate(prompts[0], stream=True, **how.options()))
        else:
            with notes.status(f"Continuing {len(prompts)} prompts together"):
                texts = model.generate(prompts, **how.options())
            _print_all(prompts, texts)
        if model.last_run is not None:
            notes.print(speed_line(model.last_run, mesh=load.mesh, kind=model.mesh.kind), style="dim", soft_wrap=True)


def _stream(pieces: Iterable[str]) -> None:
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")


def _print_all(prompts: Sequence[str], texts: Sequence[str]) -> None:
    out = Console(highlight=False, markup=False, soft_wrap=True)
    for number, (prompt, text) in enumerate(zip(prompts, texts, strict=True), start=1):
        out.print(f"[{number}] {prompt}", style="bold")
        out.print(text, end="\n\n")
