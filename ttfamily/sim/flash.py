"""The arithmetic of flash attention: two products in the op's fidelity, a softmax between them.

As in the kernels of the wheel (``sdpa/device/kernels/compute``): scores are queries (input 0) by keys (input 1), kept
in bfloat16; probabilities are ``exp((score - maximum) * scale)`` in bfloat16, not normalised; they (input 0) meet the
values (input 1), and the result is divided by their sum. A mask is added to the scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch
import ttnn

from ttfamily import cpu
from ttfamily.sim.dest import summed
from ttfamily.sim.fidelity import Engine, joined

if TYPE_CHECKING:
    from ttfamily.sim.mock_mesh import Numerics

# B any batch dimensions, G query heads of a key/value head, S query tokens, T tokens of keys, E head_dim

QUERY_ROWS = 512  # whose scores are in memory at once
# Tokens of keys that are added up at once. Of one number whatever T is: a sum must not depend on how many tokens that
# the mask hides come after, for which torch would add up in another order.
KEY_BLOCK = 128
BF16 = ttnn.bfloat16


@attrs.frozen(kw_only=True)
class Flash:
    """How one call multiplies.

    :param engine: of both products; the formats of keys and values are not float32.
    :param formats: of queries, keys and values.
    :param scale: of the scores.
    :param chunk: tokens of keys that the kernel takes at once.
    """

    engine: Engine
    formats: tuple[ttnn.DataType, ttnn.DataType, ttnn.DataType]
    scale: float
    chunk: int
    numerics: Numerics = "fast"

    def __call__(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        """Attend.

        :param q: ``[B, G, S, E]``.
        :param k: ``[B, T, E]``.
        :param v: ``[B, T, E]``.
        :param allowed: which keys a query sees, ``[1 | B, S, T]``.
        :returns: ``[B, G, S, E]``, float32.
        """
        run = self._in_chunks if self.numerics == "engine" else self._at_once
        hidden = torch.zeros(allowed.shape).masked_fill_(~allowed, float("-inf"))
        pieces = zip(q.split(QUERY_ROWS, -2), hidden.split(QUERY_ROWS, -2), strict=True)
        return torch.cat([run(*piece, k, v) for piece in pieces], -2)

    def _at_once(self, q: torch.Tensor, hidden: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """With float32 sums; the maximum is that of all keys."""
        rows = q.shape[1:3]
        q = joined(self.engine.terms(q.flatten(1, 2), self.formats[0], "activations"), -1)  # [B, G * S, E]
        k = joined(self.engine.terms(k, self.formats[1], "weights"), -1)
        scores = cpu.matmul(q, k.mT).unflatten(1, [*rows]) + hidden[:, None]  # [B, G, S, T]
        chances = scores.sub_(scores.amax(-1, keepdim=True)).mul_(self.scale).exp_().flatten(1, 2).bfloat16()
        out, total = torch.zeros(()), torch.zeros(())
        for p, values in zip(_blocks(chances, -1), _blocks(v, -2), strict=True):
            cut = joined(self.engine.terms(p, BF16, "activations"), -1)
            out = out + cpu.matmul(cut, joined(self.engine.terms(values, self.formats[2], "weights"), -2)).float()
            total = total + p.float().sum(-1, keepdim=True)
        result: torch.Tensor = (out / total).unflatten(1, [*rows])
        return result

    def _in_chunks(self, q: torch.Tensor, hidden: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """As the kernel does on one core: chunk after chunk of keys, scaling what is there to each new maximum."""
        out, total = torch.zeros(()), torch.zeros(())
        highest = torch.full((*q.shape[:-1], 1), float("-inf"))
        chunks = zip(k.split(self.chunk, -2), v.split(self.chunk, -2), hidden.split(self.chunk, -1), strict=True)
        for keys, values, mask in chunks:
            scores = _bf16(summed(q, keys[:, None].mT, self.formats[:2], self.engine) + mask[:, None])
            before, highest = highest, torch.maximum(highest, scores.amax(-1, keepdim=True))
            # A first chunk that a window hides altogether has no maximum: what it makes is scaled to nothing later.
            chances = _bf16(((scores - highest) * self.scale).exp().where(highest > float("-inf"), 0.0))
            kept = _bf16(((before - highest) * self.scale).exp().where(before > float("-inf"), 0.0))
            new = _bf16(summed(chances, values[:, None], (BF16, self.formats[2]), self.engine))
            out, total = _bf16(out * kept + new), _bf16(total * kept + chances.sum(-1, keepdim=True))
        return out / total


def _blocks(x: torch.Tensor, dim: int) -> tuple[torch.Tensor, ...]:
    """Cut keys, along ``dim``, into whole blocks, with zeros after the last."""
    missing = -x.shape[dim] % KEY_BLOCK
    if missing:
        x = torch.nn.functional.pad(x, (0, missing) if dim == -1 else (0, 0, 0, missing))
    blocks: tuple[torch.Tensor, ...] = x.split(KEY_BLOCK, dim)
    return blocks


def _bf16(x: torch.Tensor) -> torch.Tensor:
    return x.bfloat16().float()
