"""Everything that a plan says of a model on a mesh, as one frozen value."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from ttfamily.planning.core_memory import CoreUse
    from ttfamily.planning.traffic import Traffic


@attrs.frozen(kw_only=True)
class SlotCut:
    """How the weights of one slot lie on the mesh, all layers together.

    :param cut: ``column``, ``row`` or ``replicated``, as the family has it; ``width`` of what the residual stream's
        width cuts.
    :param formats: of its elements; several where layers differ.
    :param share: bytes of a device's share, unpadded.
    :param held: bytes of DRAM that it takes on each device.
    """

    slot: str
    cut: str
    formats: tuple[str, ...]
    share: int
    held: int

    @property
    def padding(self) -> int:
        """Bytes that are no weights."""
        return self.held - self.share

    @property
    def padding_percent(self) -> float:
        """Padding in percent of what is held."""
        return 100 * self.padding / self.held if self.held else 0.0


@attrs.frozen(kw_only=True)
class Collective:
    """A collective of one phase.

    :param count: in a pass through the whole model.
    :param per_layer: of those, in each layer.
    :param bytes: of its largest tensor on a device.
    :param link_bytes: that one of them sends past the busiest place between two chips, one way.
    """

    phase: str
    op: str
    axis: int
    devices: int
    topology: str
    links: int
    count: int
    per_layer: int
    bytes: int
    link_bytes: int


@attrs.frozen(kw_only=True)
class Context:
    """The longest context for so many users; ``tokens`` is None where not even one block fits."""

    users: int
    tokens: int | None


@attrs.frozen(kw_only=True)
class Reads:
    """DRAM traffic of a decode step on one device.

    :param position: of every user's token.
    :param floor: bytes: each weight once and unpadded, each live block of the cache once.
    :param padded_floor: the same with the weights as they lie in DRAM.
    """

    users: int
    position: int
    traffic: Traffic
    floor: int
    padded_floor: int

    @property
    def ratio(self) -> float:
        """Bytes read over the floor."""
        return self.traffic.read / self.floor

    @property
    def padded_ratio(self) -> float:
        """Bytes read over the padded floor: 1 if nothing is read twice, and nothing beside."""
        return self.traffic.read / self.padded_floor


@attrs.frozen(kw_only=True)
class Speed:
    """A predicted time.

    :param bound: what most of it is spent waiting for.
    :param split: seconds by bound.
    :param by_op: seconds by op.
    """

    seconds: float
    bound: str
    split: dict[str, float]
    by_op: dict[str, float]


@attrs.frozen(kw_only=True)
class Comparison:
    """A published figure beside the prediction for this plan.

    :param precision: the policy's name there.
    :param formats: that it was measured with.
    """

    precision: str
    formats: str
    published_tokens_per_s: float
    published_ttft_ms: float
    tokens_per_s_ratio: float
    ttft_ratio: float


@attrs.frozen(kw_only=True)
class Constant:
    """A constant of the prediction.

    :param measured: whether it was measured on this mesh; else it is published.
    """

    name: str
    value: float
    unit: str
    measured: bool


@attrs.frozen(kw_only=True)
class Report:
    """A plan, with what it costs.

    :param model: as it was asked for.
    :param precision: as it was asked for.
    :param sizes: of the model, by their names in its config.
    :param memory: bytes of each device's DRAM by what lies there; adds up to ``dram_bytes``.
    :param loaded_bytes: of DRAM, as ttnn's allocator has it when weights and cache are in.
    :param decode_ops: of a decode step, by name.
    :param decode_programs: that a decode step dispatches.
    :param core_memory: by phase: L1 of the busiest core while each op runs, the most first.
    :param core_bytes: of a core's L1 that tensors and programs may have.
    :param prompt: tokens of the prompt that time to first token is for.
    :param first_token: None on chips whose figures no source gives.
    :param constants: that the prediction was made with; none where there is none.
    """

    model: str
    family: str
    mesh: str
    chips: int
    precision: str
    users: int
    context: int
    sizes: dict[str, int]
    schemes: dict[str, str]
    cuts: tuple[SlotCut, ...]
    memory: dict[str, int]
    loaded_bytes: int
    dram_bytes: int
    contexts: tuple[Context, ...]
    collectives: tuple[Collective, ...]
    decode_ops: dict[str, int]
    decode_programs: int
    prefill_ops: dict[str, int]
    core_memory: dict[str, tuple[CoreUse, ...]]
    core_bytes: int
    reads: tuple[Reads, ...]
    prompt: int
    first_token: Speed | None
    token: Speed | None
    token_at_context: Speed | None
    comparisons: tuple[Comparison, ...]
    constants: tuple[Constant, ...] = ()

    @property
    def tokens_per_s_user(self) -> float | None:
        """Just after the prompt."""
        return None if self.token is None else 1 / self.token.seconds

    @property
    def layers(self) -> int:
        """Of the model."""
        return self.sizes["num_hidden_layers"]

    @property
    def ops_per_layer(self) -> dict[str, int]:
        """Ops of a decode step that stand in every layer."""
        return {name: count // self.layers for name, count in self.decode_ops.items() if count >= self.layers}

    def to_json(self) -> str:
        """Return everything, with what follows from it, as JSON; bytes, seconds and tokens are the units."""
        values: dict[str, Any] = attrs.asdict(self)
        for cut, value in zip(self.cuts, values["cuts"], strict=True):
            value |= {"padding": cut.padding, "padding_percent": round(cut.padding_percent, 2)}
        for reads, value in zip(self.reads, values["reads"], strict=True):
            value |= {"read": reads.traffic.read, "ratio": round(reads.ratio, 4)}
            value["padded_ratio"] = round(reads.padded_ratio, 4)
        values |= {"tokens_per_s_user": self.tokens_per_s_user, "ops_per_layer": self.ops_per_layer}
        return json.dumps(values, indent=2)
