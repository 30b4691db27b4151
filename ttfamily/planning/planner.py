"""From a config to a report: lay the model out on a dry mesh, record its phases, count, predict."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs

from ttfamily.builder import Limits, build
from ttfamily.core.blocks.kv_cache import CACHE
from ttfamily.core.config.precision_policy import policy
from ttfamily.core.layout.schemes import PHASES
from ttfamily.core.mesh.mesh import TRACE_REGION_BYTES
from ttfamily.errors import PlanError
from ttfamily.planning.floor import decode_floor, padded_floor, shares
from ttfamily.planning.hardware import chip_of
from ttfamily.planning.inventory import held_tensors
from ttfamily.planning.layout import laid_out
from ttfamily.planning.measured import CONSTANTS, constants_of
from ttfamily.planning.measured import published as published_constants
from ttfamily.planning.published import PROMPT, published
from ttfamily.planning.report import Collective, Comparison, Constant, Context, Reads, Report, SlotCut, Speed
from ttfamily.planning.roofline import decode_time, link_bytes, prefill_time
from ttfamily.planning.traffic import Roles, stream_traffic
from ttfamily.sim.row import DecodePoint
from ttfamily.sim.table import row_of
from ttfamily.tiles import BF16_BYTES, TILE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from ttfamily.core.config.hf_config import HfConfig
    from ttfamily.core.config.precision_policy import PrecisionPolicy
    from ttfamily.core.layout.plan import Plan
    from ttfamily.core.mesh.boards import Board
    from ttfamily.core.mesh.mesh import Mesh
    from ttfamily.family import Family
    from ttfamily.planning.floor import Share
    from ttfamily.planning.hardware import Chip
    from ttfamily.planning.inventory import Held
    from ttfamily.planning.layout import Layout
    from ttfamily.planning.measured import Measured
    from ttfamily.planning.roofline import PhaseTime
    from ttfamily.planning.stream import Stream

BATCHES = (1, 2, 4, 8, 16, 32)
LOGIT_ROWS = 32  # that a device sends to the host: a tile's
TRACE = "trace region"


def plan_model(
    config: HfConfig,
    family: Family,
    *,
    name: str,
    mesh: str,
    boards: Collection[Board] = (),
    precision: str | Path | PrecisionPolicy = "accuracy",
    users: int = 1,
    context: int | None = None,
    measured: Measured | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Report:
    """Plan a model on a mesh, from its config alone.

    :param name: of the model, for the reader.
    :param boards: meshes that plugins add.
    :param users: slots; all of them decode.
    :param context: tokens for each user; by default the model's own limit, or what fits if that is less.
    :param measured: constants that were measured on this mesh; published ones by default.
    :raises TtfamilyError: if the model cannot be laid out, or does not fit; if the constants are another mesh's.
    """
    with laid_out(
        config,
        family,
        mesh=mesh,
        precision=policy(precision),
        limits=Limits(max_batch_size=users, max_seq_len=context),
        boards=boards,
        progress=progress,
    ) as layout:
        return _report(layout, family, name=name, precision=str(precision), measured=measured)


def _report(layout: Layout, family: Family, *, name: str, precision: str, measured: Measured | None) -> Report:
    plan, mesh = layout.plan, layout.mesh
    chip = measured.chip(mesh) if measured else chip_of(mesh)
    total = mesh.dram_bytes()[1]
    held = held_tensors(layout.transformer, mesh.dram_banks)
    roles, weights = Roles(held), shares(layout.weights.taken, held)
    prompt = max(1, min(PROMPT, plan.max_seq_len - 1))
    here = DecodePoint(users=plan.slots_per_replica, position=prompt)
    far = attrs.evolve(here, position=plan.max_seq_len - 1)
    longest = layout.prefill(min(plan.max_seq_len, 2 * plan.prefill_lengths[-1]))
    prefill, decode = layout.prefill(prompt), layout.decode()
    reads = [
        Reads(
            users=step.users,
            position=step.position,
            traffic=stream_traffic(decode, roles, step),
            floor=decode_floor(weights, decode, roles, step),
            padded_floor=padded_floor(decode, roles, step),
        )
        for step in (here, far)
    ]
    speeds = _speeds(layout, chip, roles, decode, prefill, reads)
    return Report(
        model=name,
        family=family.name,
        mesh=mesh.name,
        chips=mesh.shape[0] * mesh.shape[1],
        precision=precision,
        users=plan.max_batch_size,
        context=plan.max_seq_len,
        sizes=_sizes(plan),
        schemes={phase: plan.stream(phase).scheme for phase in PHASES},
        cuts=_cuts(layout, weights, held),
        memory=_memory(held, layout.loaded_bytes, total, running=max(longest.dram_span, decode.dram_span)),
        loaded_bytes=layout.loaded_bytes,
        dram_bytes=total + TRACE_REGION_BYTES,
        contexts=tuple(Context(users=users, tokens=_longest(plan, family, users)) for users in BATCHES),
        collectives=(*_collectives(plan, "decode", decode), *_collectives(plan, "prefill", prefill)),
        decode_ops=decode.counts(),
        decode_programs=sum(len(op.programs) for op in decode.ops),
        prefill_ops=prefill.counts(),
        core_memory={"decode": decode.core_memory, "prefill": longest.core_memory},
        core_bytes=len(mesh.l1),
        reads=tuple(reads),
        prompt=prompt,
        first_token=speeds.get("first_token"),
        token=speeds.get("token"),
        token_at_context=speeds.get("token_at_context"),
        comparisons=_comparisons(plan, precision, speeds),
        constants=_constants(mesh, chip, measured),
    )


def _sizes(plan: Plan) -> dict[str, int]:
    spec = plan.spec
    return {
        "hidden_size": spec.hidden_size,
        "num_hidden_layers": spec.num_hidden_layers,
        "num_attention_heads": spec.attention.num_attention_heads,
        "num_key_value_heads": spec.attention.num_key_value_heads,
        "head_dim": spec.attention.head_dim,
        "intermediate_size": spec.mlp.intermediate_size,
        "vocab_size": spec.vocab_size,
    }


def _longest(plan: Plan, family: Family, users: int) -> int | None:
    limits = Limits(max_batch_size=users * plan.mesh.replicas)
    try:
        return build(plan.spec, family.blocks, plan.mesh, plan.precision, limits).plan.max_seq_len
    except PlanError:
        return None


# ---- memory


def _cuts(layout: Layout, weights: list[Share], held: list[Held]) -> tuple[SlotCut, ...]:
    by_slot = _by_slot(held)
    rows: dict[str, SlotCut] = {}
    for taken, share in zip(layout.weights.taken, weights, strict=True):
        before = rows.get(taken.slot)
        formats = {*(before.formats if before else ()), *([share.held.format] if share.held else [])}
        rows[taken.slot] = SlotCut(
            slot=taken.slot,
            cut=_cut(taken.cut, share.held),
            formats=tuple(sorted(formats, key=TILE_BYTES.__getitem__)),
            share=round(share.bytes) + (before.share if before else 0),
            held=by_slot.get(taken.slot, 0),
        )
    return tuple(rows.values())


def _cut(cut: str, held: Held | None) -> str:
    """What a device has of it: a rule may say either of what is cut as the stream is, where that is cut at all."""
    if cut not in ("width", "replicated"):
        return cut
    return "width" if held is not None and held.parts > 1 else "replicated"


def _by_slot(held: list[Held]) -> dict[str, int]:
    sizes: Counter[str] = Counter()
    for each in held:
        sizes[each.slot] += each.tensor.held
    return sizes


def _memory(held: list[Held], loaded: int, total: int, *, running: int) -> dict[str, int]:
    """:param running: bytes that running the model takes beside what is loaded."""
    sizes = _by_slot(held)
    cache = sizes.pop(CACHE, 0)
    weights = {slot.removeprefix("layer."): size for slot, size in sorted(sizes.items(), key=lambda item: -item[1])}
    other = {"other": loaded - cache - sum(weights.values())}
    return {
        **weights,
        **{name: size for name, size in other.items() if size},
        CACHE: cache,
        "activations": running,
        TRACE: TRACE_REGION_BYTES,
        "free": total - loaded - running,
    }


# ---- collectives


def _collectives(plan: Plan, phase: str, stream: Stream) -> list[Collective]:
    found: dict[tuple[str, int, int], int] = {}
    for op in stream.ops:
        if op.axis is not None:
            size = max(tensor.bytes for tensor in (*op.inputs.values(), *op.outputs))
            key = (op.name, op.axis, size)
            found[key] = found.get(key, 0) + 1
    rows = []
    for (name, number, size), count in found.items():
        axis = plan.mesh.spec.axes[number]
        rows.append(
            Collective(
                phase=phase,
                op=name,
                axis=number,
                devices=axis.devices,
                topology=axis.topology,
                links=axis.links,
                count=count,
                per_layer=count // plan.spec.num_hidden_layers,
                bytes=size,
                link_bytes=round(link_bytes(size, axis) * row_of(name).link_phases),
            )
        )
    return rows


# ---- speed


def _speeds(
    layout: Layout, chip: Chip | None, roles: Roles, decode: Stream, prefill: Stream, reads: list[Reads]
) -> Mapping[str, Speed]:
    axes = layout.mesh.spec.axes
    if chip is None:
        return {}
    logits = layout.plan.vocab_per_device * LOGIT_ROWS * BF16_BYTES
    steps = [DecodePoint(users=each.users, position=each.position) for each in reads]
    here, far = (decode_time(decode, chip, axes, roles, step, logits_bytes=logits) for step in steps)
    for time, each in zip((here, far), reads, strict=True):
        _not_faster_than_dram(time, each, chip)
    first = prefill_time(prefill, chip, axes, roles, logits_bytes=logits)
    return {"first_token": _speed(first), "token": _speed(here), "token_at_context": _speed(far)}


def _constants(mesh: Mesh, chip: Chip | None, measured: Measured | None) -> tuple[Constant, ...]:
    """What the speeds are predicted with, and where each comes from."""
    found = measured.constants if measured else {}
    return tuple(
        Constant(name=name, value=value, unit=CONSTANTS[name].unit, measured=name in found)
        for name, value in (constants_of(chip) if chip else published_constants(mesh)).items()
        if mesh.has_collectives or not CONSTANTS[name].links
    )


def _speed(time: PhaseTime) -> Speed:
    split = {str(bound): seconds for bound, seconds in time.split.items()}
    return Speed(seconds=time.seconds, bound=time.bound, split=split, by_op=time.by_op)


def _not_faster_than_dram(time: PhaseTime, reads: Reads, chip: Chip) -> None:
    least = reads.floor / chip.dram_peak
    if time.seconds < least:
        raise AssertionError(f"a step of {time.seconds} s was predicted; DRAM alone takes {least} s: an op is missing")


def _comparisons(plan: Plan, precision: str, speeds: Mapping[str, Speed]) -> tuple[Comparison, ...]:
    if not speeds or plan.max_batch_size != 1 or plan.max_seq_len <= PROMPT:
        return ()
    rows = published(plan.spec, plan.mesh.name)
    own = tuple(row for row in rows if row.precision == precision)
    return tuple(
        Comparison(
            precision=row.precision,
            formats=f"bfp8, gate and up {row.gate_up}",
            published_tokens_per_s=row.tokens_per_s,
            published_ttft_ms=row.ttft_ms,
            tokens_per_s_ratio=1 / speeds["token"].seconds / row.tokens_per_s,
            ttft_ratio=1000 * speeds["first_token"].seconds / row.ttft_ms,
        )
        for row in own or rows
    )
