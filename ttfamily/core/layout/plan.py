"""How one model lies on one mesh: padded shapes, heads, lengths and formats, decided before anything is loaded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import ttnn

from ttfamily.core.layout.budget import PAGE_STEP, longest_context
from ttfamily.core.layout.heads import HeadPlan, plan_heads
from ttfamily.core.layout.programs import Programs
from ttfamily.core.layout.schemes import PHASES, alternatives, choose
from ttfamily.core.mesh.placement import WHOLE, Sharding
from ttfamily.errors import PlanError
from ttfamily.tiles import TILE, round_up, tiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ttfamily.core.config.precision_policy import PrecisionPolicy
    from ttfamily.core.config.spec import ModelSpec
    from ttfamily.core.layout.schemes import Alternative, Phase, Scheme
    from ttfamily.core.mesh.mesh import Mesh

MAX_HEAD_DIM = 256
MAX_BATCH = 32  # users are the rows of one tile
BLOCK_SIZE = 32  # tokens in a block of the KV cache: one tile
LATER_CHUNK = 256
# The residual stream, [1, 1, rows, D], by scheme.
STREAM = {"replicated": WHOLE, "fractured": Sharding(tensor=3), "two_dimensional": Sharding(hidden=3)}
LENGTHS = (32, 64, 96, 128, 256, 512, 1024, 2048)  # of prompts, padded; a longer one goes in chunks of the last


@attrs.frozen(kw_only=True)
class Plan:
    """The layout of a model on a mesh.

    :param heads: which head lives where.
    :param head_dim: padded to whole tiles.
    :param intermediate_size: of all tensor-parallel devices, padded so that each one's part spreads over its cores.
    :param vocab_per_device: padded to whole tiles; the last device holds the padding.
    :param alternatives: the schemes of each phase with what they move, the least first.
    :param schemes: how the residual stream lies over the devices in each phase.
    :param max_batch_size: users of all replicas together.
    :param max_seq_len: prompt and generation together, tokens.
    """

    mesh: Mesh
    spec: ModelSpec
    precision: PrecisionPolicy
    heads: HeadPlan
    head_dim: int
    intermediate_size: int
    vocab_per_device: int
    alternatives: Mapping[Phase, tuple[Alternative, ...]]
    schemes: Mapping[Phase, Scheme]
    max_batch_size: int
    max_seq_len: int

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        mesh: Mesh,
        precision: PrecisionPolicy,
        *,
        max_batch_size: int,
        max_seq_len: int | None,
        scheme: Scheme | None = None,
    ) -> Plan:
        """Lay ``spec`` out on ``mesh``.

        :param max_batch_size: users of all replicas together.
        :param max_seq_len: None for the model's own limit, or what fits beside the weights if that is less.
        :param scheme: how the residual stream lies over the devices, in both phases; by default whatever moves
            the fewest bytes in each.
        :raises PlanError: if a size cannot be laid out, naming it.
        """
        _check(spec, mesh, max_batch_size)
        precision.check_layers(spec.num_hidden_layers)
        devices = mesh.tensor_parallel
        heads = plan_heads(
            spec.attention.num_attention_heads, spec.attention.num_key_value_heads, devices, mesh.spec.arch
        )
        head_dim = round_up(spec.attention.head_dim, TILE)
        programs = Programs(mesh)
        intermediate_size = programs.spread(-(-spec.mlp.intermediate_size // devices)) * devices
        columns_out = heads.fused_per_device * head_dim * devices
        columns_out += intermediate_size * (2 if spec.mlp.kind == "gated" else 1)
        found = {
            phase: alternatives(spec, mesh.spec, TILE if phase == "decode" else LENGTHS[-1], columns_out)
            for phase in PHASES
        }
        plan = cls(
            mesh=mesh,
            spec=spec,
            precision=precision,
            heads=heads,
            head_dim=head_dim,
            intermediate_size=intermediate_size,
            vocab_per_device=programs.spread(-(-spec.vocab_size // (devices * mesh.hidden_parallel))),
            alternatives=found,
            schemes=choose(found, scheme, mesh.spec),
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

    def stream_sharding(self, phase: Phase) -> Sharding:
        """How the residual stream, ``[1, 1, rows, D]``, is cut in a phase."""
        return STREAM[self.schemes[phase]]

    def stream_axis(self, phase: Phase) -> int | None:
        """The mesh axis along which the residual stream is cut in a phase."""
        mesh = self.mesh.spec
        return {"replicated": None, "fractured": mesh.tensor_axis, "two_dimensional": mesh.hidden_axis}[
            self.schemes[phase]
        ]

    def stream_width(self, phase: Phase) -> int:
        """What a device has of the residual stream's width."""
        axis = self.stream_axis(phase)
        return self.spec.hidden_size // (1 if axis is None else self.mesh.shape[axis])

    @property
    def embedding_axis(self) -> int | None:
        """The mesh axis along which the columns of the embedding's table are cut.

        The stream's, where a phase cuts it. A whole stream is gathered from a table cut along the tensor axis, which
        saves each device most of a table at the price of one small collective; None where that is no whole tiles.
        """
        of_streams = [axis for axis in map(self.stream_axis, PHASES) if axis is not None]
        if of_streams:
            return of_streams[0]
        even = self.spec.hidden_size % (TILE * self.mesh.tensor_parallel) == 0
        return self.mesh.spec.tensor_axis if self.mesh.tensor_parallel > 1 and even else None

    @property
    def embedding_width(self) -> int:
        """What a device has of a row of the embedding's table."""
        axis = self.embedding_axis
        return self.spec.hidden_size // (1 if axis is None else self.mesh.shape[axis])

    @property
    def partial_width(self) -> int:
        """What a device has of the hidden size in a row-parallel projection's partial sums, before they are reduced."""
        return self.spec.hidden_size // self.mesh.hidden_parallel

    @property
    def fused_width(self) -> int:
        """What a device has of the fused query, key and value projection's width."""
        return self.heads.fused_per_device * self.head_dim

    @property
    def mlp_width(self) -> int:
        """What a device has of the intermediate size."""
        return self.intermediate_size // self.mesh.tensor_parallel

    @property
    def decode_norm_sharded(self) -> bool:
        """Whether a norm in decode runs on shards of the width: not where a wide one spreads over few cores."""
        return self.programs.norm_fits(self.stream_width("decode"), self.spec.norm.kind)

    @property
    def residual_memory(self) -> ttnn.MemoryConfig:
        """Where decode has a device's part of the residual stream: in L1, width-sharded if a norm fits beside it so."""
        return self.normed_memory if self.decode_norm_sharded else ttnn.L1_MEMORY_CONFIG

    @property
    def normed_memory(self) -> ttnn.MemoryConfig:
        """Where decode has a device's part of the normed stream."""
        return self.programs.spread_out(self.stream_width("decode"))

    @property
    def partial_memory(self) -> ttnn.MemoryConfig:
        """Where decode has the partial sums of a row-parallel projection."""
        return self.programs.spread_out(self.partial_width)

    @property
    def whole_memory(self) -> ttnn.MemoryConfig:
        """Where decode has the whole width of the stream, once it is gathered."""
        return self.programs.spread_out(self.spec.hidden_size)

    @property
    def residual_tiles(self) -> int:
        """Tiles on a core that the residual stream takes in decode, with the hole that its last addition left.

        In a parallel layer another tensor is alive: the shared norm's output, or the other block's partial sums.
        """
        width = self.stream_width("decode")
        sharded = self.programs.shard_tiles(width)
        one = sharded if self.decode_norm_sharded else -(-tiles(width) // math.prod(self.mesh.grid))
        other = 0 if self.spec.residual == "sequential" else max(sharded, self.programs.shard_tiles(self.partial_width))
        return 2 * one + other

    @property
    def users(self) -> int:
        """Rows of a replica's decode step: its slots, up to what fills a rectangle of cores, one a user."""
        return min(n for n in self.programs.core_counts() if n >= self.slots_per_replica)

    @property
    def slots_per_replica(self) -> int:
        """Users of one replica."""
        return -(-self.max_batch_size // self.mesh.replicas)

    @property
    def pages(self) -> int:
        """Blocks that a user of ``max_seq_len`` tokens needs, in whole steps of flash decode."""
        return round_up(self.max_seq_len, PAGE_STEP) // BLOCK_SIZE

    @property
    def num_blocks(self) -> int:
        """Blocks of a replica's KV cache: every user may reach ``max_seq_len``, and one that nobody owns."""
        return self.slots_per_replica * self.pages + 1

    def padded_length(self, start: int, tokens: int) -> int:
        """The shortest prefill length for ``tokens`` that begin at ``start``.

        A later chunk attends over a long past in steps of its own length at the most; short steps would
        sum up rounding errors.
        """
        least = LATER_CHUNK if start else 0
        return min(length for length in self.prefill_lengths if length >= max(tokens, least))


def _check(spec: ModelSpec, mesh: Mesh, max_batch_size: int) -> None:
    """Refuse what no choice of layout could help."""
    if not 1 <= max_batch_size <= MAX_BATCH * mesh.replicas:
        raise PlanError(
            "max_batch_size",
            got=str(max_batch_size),
            expected=f"1 to {MAX_BATCH * mesh.replicas}: the {MAX_BATCH} rows of one tile for each replica",
            fix="Run more users in turns, or on a mesh with replicas, such as t3k/dp4.",
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
