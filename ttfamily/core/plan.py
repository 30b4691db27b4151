"""How one model lies on one mesh: padded shapes, heads, lengths and formats, decided before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ttfamily.core.budget import PAGE_STEP, longest_context
from ttfamily.core.heads import HeadPlan, plan_heads
from ttfamily.core.programs import TILE, Programs, round_up
from ttfamily.errors import PlanError

if TYPE_CHECKING:
    import ttnn

    from ttfamily.core.mesh import Mesh
    from ttfamily.core.precision import PrecisionPolicy
    from ttfamily.core.spec import ModelSpec

MAX_HEAD_DIM = 256
MAX_BATCH = 32  # users are the rows of one tile
BLOCK_SIZE = 32  # tokens in a block of the KV cache: one tile
LATER_CHUNK = 256
LENGTHS = (32, 64, 96, 128, 256, 512, 1024, 2048)  # of prompts, padded; a longer one goes in chunks of the last


@attrs.frozen(kw_only=True)
class Plan:
    """The layout of a model on a mesh.

    :param heads: which head lives where.
    :param head_dim: padded to whole tiles.
    :param intermediate_size: of the whole mesh, padded so that each device's part spreads over its cores.
    :param vocab_per_device: padded to whole tiles; the last device holds the padding.
    :param max_seq_len: prompt and generation together, tokens.
    """

    mesh: Mesh
    spec: ModelSpec
    precision: PrecisionPolicy
    heads: HeadPlan
    head_dim: int
    intermediate_size: int
    vocab_per_device: int
    max_batch_size: int
    max_seq_len: int

    @classmethod
    def of(
        cls, spec: ModelSpec, mesh: Mesh, precision: PrecisionPolicy, *, max_batch_size: int, max_seq_len: int | None
    ) -> Plan:
        """Lay ``spec`` out on ``mesh``.

        :param max_seq_len: None for the model's own limit, or what fits beside the weights if that is less.
        :raises PlanError: if a size cannot be laid out, naming it.
        """
        if not 1 <= max_batch_size <= MAX_BATCH:
            raise PlanError(
                "max_batch_size",
                got=str(max_batch_size),
                expected=f"1 to {MAX_BATCH}, the rows of one tile",
                fix="Run more users in turns.",
            )
        if spec.attention.head_dim > MAX_HEAD_DIM:
            raise PlanError(
                "head_dim",
                got=str(spec.attention.head_dim),
                expected=f"at most {MAX_HEAD_DIM}, the widest that flash decode computes right",
                fix="There is no layout for this checkpoint yet.",
            )
        if spec.hidden_size % TILE:
            raise PlanError(
                "hidden_size",
                got=str(spec.hidden_size),
                expected=f"a multiple of {TILE}: a norm over padding would divide by the wrong width",
                fix="There is no layout for this checkpoint yet.",
            )
        heads = plan_heads(spec.attention.num_attention_heads, spec.attention.num_key_value_heads, mesh.num_devices)
        devices = mesh.num_devices
        programs = Programs(mesh)
        plan = cls(
            mesh=mesh,
            spec=spec,
            precision=precision,
            heads=heads,
            head_dim=round_up(spec.attention.head_dim, TILE),
            intermediate_size=programs.spread(-(-spec.mlp.intermediate_size // devices)) * devices,
            vocab_per_device=programs.spread(-(-spec.vocab_size // devices)),
            max_batch_size=max_batch_size,
            max_seq_len=spec.longest_context,
        )
        fits = longest_context(plan, mesh.dram_bytes()[1])
        asked = fits if max_seq_len is None else max_seq_len
        if not 1 <= asked <= fits:
            limit = "the longest context of the model"
            if fits < spec.longest_context:
                limit = f"what fits on {mesh.name} beside the weights for {max_batch_size} users"
            raise PlanError(
                "max_seq_len", got=str(max_seq_len), expected=f"1 to {fits}, {limit}", fix="Ask for a shorter context."
            )
        return attrs.evolve(plan, max_seq_len=asked)

    @property
    def programs(self) -> Programs:
        """The configs of this mesh."""
        return Programs(self.mesh)

    @property
    def prefill_lengths(self) -> tuple[int, ...]:
        """Padded prompt lengths for which programs exist, up to one chunk.

        Whole tiles up to four, then powers of two: few programs to compile, and a prompt is never
        padded by more than itself.
        """
        return tuple(n for shorter, n in zip((0, *LENGTHS), LENGTHS, strict=False) if shorter < self.max_seq_len)

    @property
    def residual_memory(self) -> ttnn.MemoryConfig:
        """Where decode has the residual stream: L1, over the most cores."""
        return self.programs.width_sharded(self.spec.hidden_size, self.programs.cores_of(self.spec.hidden_size))

    @property
    def residual_tiles(self) -> int:
        """Tiles on a core that the residual stream takes in decode, with the hole that its last addition left.

        In a parallel layer another tensor of its size is alive: the shared norm's output, or the other block's.
        """
        tensors = 2 if self.spec.residual == "sequential" else 3
        return tensors * self.programs.shard_tiles(self.spec.hidden_size)

    @property
    def users(self) -> int:
        """Rows of a decode step: ``max_batch_size``, up to what fills a rectangle of cores, one a user."""
        return min(n for n in self.programs.core_counts() if n >= self.max_batch_size)

    @property
    def pages(self) -> int:
        """Blocks that a user of ``max_seq_len`` tokens needs, in whole steps of flash decode."""
        return round_up(self.max_seq_len, PAGE_STEP) // BLOCK_SIZE

    @property
    def num_blocks(self) -> int:
        """Blocks of the KV cache: every user may reach ``max_seq_len``, and one that nobody owns."""
        return self.max_batch_size * self.pages + 1

    def padded_length(self, start: int, tokens: int) -> int:
        """The shortest prefill length for ``tokens`` that begin at ``start``.

        A later chunk attends over a long past in steps of its own length at the most; short steps would
        sum up rounding errors.
        """
        least = LATER_CHUNK if start else 0
        return min(length for length in self.prefill_lengths if length >= max(tokens, least))
