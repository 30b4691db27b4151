"""The line after a run: how fast it was, and at what batch and length."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ttfamily.engine.statistics import RunStatistics


def speed_line(run: RunStatistics, *, mesh: str, kind: str) -> str:
    """Return one line with TTFT, tokens/s/user, tokens/s, batch and sequence length.

    :param mesh: the mesh's name.
    :param kind: ``hardware`` or ``simulated``; a simulated mesh's speed is this computer's, and the line says so.
    """
    speeds = (
        (f"TTFT {run.ttft_s * 1000:.0f} ms",)
        if run.decode_steps == 0  # a single token has no decode speed
        else (
            f"TTFT {run.ttft_s * 1000:.0f} ms",
            f"{run.tokens_per_s_user:.1f} tokens/s/user",
            f"{run.tokens_per_s:.1f} tokens/s",
        )
    )
    shape = (f"batch {run.batch}", f"sequence length {run.sequence_length}", f"{run.new_tokens} new tokens")
    where = f"simulated {mesh}: this computer's speed, not a card's" if kind == "simulated" else mesh
    return f"{', '.join((*speeds, *shape))} ({where})"
