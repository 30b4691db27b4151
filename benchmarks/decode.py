"""Decode rate of a simulated n300 next to Hugging Face on the same CPU, in one run.

    .venv/bin/python benchmarks/decode.py            # batches 1 and 32, the shape of Llama-3.2-1B
    .venv/bin/python benchmarks/decode.py --layers 2 # a quick look

Both run the same random weights; steps of the two alternate, so that whatever else the machine
does falls on both. Hugging Face has its weights in the dtype that this CPU multiplies faster at that batch
(ttfamily/cpu.py). Compare the ratio, never the rates: they are of the machine, not of the code.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from rich.table import Table
from transformers import LlamaConfig, LlamaForCausalLM

import ttfamily
from ttfamily.cpu import product_dtype

if TYPE_CHECKING:
    from collections.abc import Callable

PROMPT = 32


def make_checkpoint(folder: Path, layers: int) -> None:
    """Write random bf16 weights in the shape of Llama-3.2-1B, with ``layers`` layers."""
    config = LlamaConfig(
        vocab_size=128_256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=layers,
        num_attention_heads=32, num_key_value_heads=8, head_dim=64, max_position_embeddings=1024,
        tie_word_embeddings=True, dtype="bfloat16",
    )  # fmt: skip
    LlamaForCausalLM._from_config(config, dtype=torch.bfloat16).save_pretrained(folder)  # noqa: SLF001


def hugging_face(folder: Path, prompts: torch.Tensor) -> Callable[[torch.Tensor], None]:
    """Prefill; returns what decodes one token for every user."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=product_dtype(len(prompts))).eval()
    with torch.inference_mode():
        cache = model(prompts, use_cache=True).past_key_values

    def step(tokens: torch.Tensor) -> None:
        with torch.inference_mode():
            model(tokens[:, None], past_key_values=cache, use_cache=True)

    return step


def simulated(model: ttfamily.Model, prompts: torch.Tensor) -> Callable[[torch.Tensor], None]:
    """Prefill; returns what decodes one token for every user."""
    for slot, prompt in enumerate(prompts):
        model.prefill(prompt, slot)
    positions = torch.full((len(prompts),), prompts.shape[1])

    def step(tokens: torch.Tensor) -> None:
        model.decode(tokens, positions)
        positions.add_(1)

    return step


def measure(folder: Path, batch: int, steps: int) -> tuple[float, float]:
    """Return the median seconds of a decode step: (Hugging Face, simulated n300)."""
    prompts = torch.randint(0, 1000, (batch, PROMPT), generator=torch.Generator().manual_seed(0))
    with ttfamily.load(
        folder, mesh="n300", device="simulated", max_batch_size=batch, max_seq_len=PROMPT + steps + 8
    ) as model:
        contenders = [hugging_face(folder, prompts), simulated(model, prompts)]
        times: list[list[float]] = [[], []]
        for i in range(steps + 3):
            for contender, taken in zip(contenders, times, strict=True):
                started = time.perf_counter()
                contender(prompts[:, i % PROMPT])
                if i >= 3:  # noqa: PLR2004  (the first compile, capture the trace and warm the caches)
                    taken.append(time.perf_counter() - started)
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--steps", type=int, default=16)
    arguments = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    table = Table(title=f"decode, {arguments.layers} layers of Llama-3.2-1B, {torch.get_num_threads()} threads")
    for heading in ("batch", "Hugging Face, tokens/s", "simulated n300, tokens/s", "ratio"):
        table.add_column(heading, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        make_checkpoint(Path(folder), arguments.layers)
        for batch in arguments.batch:
            theirs, ours = measure(Path(folder), batch, arguments.steps)
            table.add_row(str(batch), f"{batch / theirs:.1f}", f"{batch / ours:.1f}", f"{theirs / ours:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
