"""How one model lies on one mesh: padded shapes, heads, lengths and formats, decided before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ttfamily.core.config.checks import shown
from ttfamily.core.layout.heads import HeadPlan, plan_heads
from ttfamily.core.layout.programs import Programs
from ttfamily.core.layout.schemes import PHASES, alternatives, choose
from ttfamily.core.layout.stream import StreamLayout
from ttfamily.errors import PlanError
from ttfamily.tiles import TILE, round_up

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ttfamily.core.config.precision_policy import PrecisionPolicy
    from ttfamily.core.config.spec import ModelSpec
    from ttfamily.core.layout.schemes import Alternative, Phase, Scheme
    from ttfamily.core.mesh.mesh import Mesh

MAX_HEAD_DIM = 256
MAX_BATCH = 32  # users are the rows of one tile
PAGE_STEP = 128  # tokens: flash decode takes so many at once, and with fewer would be all overhead
BLOCK_SIZES = (32, 64, 128)  # tokens in a block of the KV cache: whole tiles that divide flash decode's steps
LATER_CHUNK = 256
LENGTHS = (32, 64, 96, 128, 256, 512, 1024, 2048)  # of prompts, padded; a longer one goes in chunks of the last


@attrs.frozen(kw_only=True)
class Plan:
    """The layout of a model on a mesh.

    :param heads: which head lives where.
    :param head_dim: padded to whole tiles.
    :param intermediate_size: of all tensor-parallel devices, padded so that each one's part spreads over its cores.
    :param vocab_per_device: padded to whole tiles; the last device holds the padding.
    :param alternatives: the schemes of each phase with what they move, the least first.
    :param decode: where decode has the residual stream.
    :param prefill: where prefill has it.
    :param max_batch_size: users of all replicas together.
    :param max_seq_len: prompt and generation together, tokens.
    :param block_size: tokens in a block of the KV cache.
    """

    mesh: Mesh
    spec: ModelSpec
    precision: PrecisionPolicy
    heads: HeadPlan
    head_dim: int
    intermediate_size: int
    vocab_per_device: int
    alternatives: Mapping[Phase, tuple[Alternative, ...]]
    decode: StreamLayout
    prefill: StreamLayout
    max_batch_size: int
    max_seq_len: int
    block_size: int = BLOCK_SIZES[0]

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        mesh: Mesh,
        precision: PrecisionPolicy,
        *,
        max_batch_size: int,
        scheme: Scheme | None = None,
        block_size: int = BLOCK_SIZES[0],
    ) -> Plan:
        """Lay ``spec`` out on ``mesh``, for the longest context of the model, whether it fits in DRAM or not.

        :param max_batch_size: users of all replicas together.
        :param scheme: how the residual stream lies over the devices, in both phases; by default whatever moves
            the fewest bytes in each.
        :param block_size: tokens in a block of the KV cache: 32, 64 or 128.
        :raises PlanError: if a size cannot be laid out, naming it.
        """
        _check(spec, mesh, max_batch_size, block_size)
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
        schemes = choose(found, scheme, mesh.spec)
        return cls(
            mesh=mesh,
            spec=spec,
            precision=precision,
            heads=heads,
            head_dim=head_dim,
            intermediate_size=intermediate_size,
            vocab_per_device=programs.spread(-(-spec.vocab_size // (devices * mesh.hidden_parallel))),
            alternatives=found,
            **{phase: StreamLayout.of(spec, mesh, programs, phase, schemes[phase]) for phase in PHASES},
            max_batch_size=max_batch_size,
            max_seq_len=spec.longest_context,
            block_size=block_size,
        )

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
    def padded_seq_len(self) -> int:
        """``max_seq_len`` with room for the padding of a prompt's last chunk."""
        return round_up(self.max_seq_len, self.prefill_lengths[-1])

    def stream(self, phase: Phase) -> StreamLayout:
        """Where a phase has the residual stream."""
        return self.decode if phase == "decode" else self.prefill

    def rows(self, phase: Phase) -> tuple[int, ...]:
        """How many rows a pass of a phase may have."""
        return (self.users,) if phase == "decode" else self.prefill_lengths

    @property
    def embedding_axis(self) -> int | None:
        """The mesh axis along which the columns of the embedding's table are cut.

        The stream's, where a phase cuts it. A whole stream is gathered from a table cut along the tensor axis, which
        saves each device most of a table at the price of one small collective; None where that is no whole tiles.
        """
        of_streams = [axis for axis in (self.decode.axis, self.prefill.axis) if axis is not None]
        if of_streams:
            return of_streams[0]
        even = self.spec.hidden_size % (TILE * self.mesh.tensor_parallel) == 0
        return self.mesh.spec.tensor_axis if self.mesh.tensor_parallel > 1 and even else None

    @property
    def partial_width(self) -> int:
        """What a device has of the hidden size in a row-parallel projection's partial sums, before they are reduced."""
        return self.spec.hidden_size // self.mesh.hidden_parallel

    @property
    def fused_width(self) -> int:
        """What a device has of the fused query, key and value projection's width."""
        return self.heads.fused_per_device * self.head_dim

    @property
    def query_width(self) -> int:
        """What a device has of the width of all query heads."""
        return self.heads.query_per_device * self.head_dim

    @property
    def mlp_width(self) -> int:
        """What a device has of the intermediate size."""
        return self.intermediate_size // self.mesh.tensor_parallel

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
        return round_up(self.max_seq_len, PAGE_STEP) // self.block_size

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


def _check(spec: ModelSpec, mesh: Mesh, max_batch_size: int, block_size: int) -> None:
    """Refuse what no choice of layout could help."""
    if not 1 <= max_batch_size <= MAX_BATCH * mesh.replicas:
        raise PlanError(
            "max_batch_size",
            got=str(max_batch_size),
            expected=f"1 to {MAX_BATCH * mesh.replicas}: the {MAX_BATCH} rows of one tile for each replica",
            fix="Ask for at least one user."
            if max_batch_size < 1
            else "Run more users in turns, or on a mesh with replicas, such as t3k/dp4.",
        )
    if type(block_size) is not int or block_size not in BLOCK_SIZES:
        raise PlanError(
            "block_size",
            got=shown(block_size),
            expected=f"one of {', '.join(map(str, BLOCK_SIZES))}: whole tiles that divide flash decode's steps",
            fix="Choose one.",
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
