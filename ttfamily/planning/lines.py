"""The tables of a report, as rows of text: what the terminal and the HTML page both show."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ttfamily.planning.report import Report

MIB, GIB = 2**20, 2**30
GIGA, MICRO = 1e9, 1e-6
NUMBER = re.compile(r"-?[\d.,]+( (%|ms|[KMG]iB))?")
MOST_OPS = 4  # of a phase, in the table of L1


@attrs.frozen(kw_only=True)
class Lines:
    """A table.

    :param note: a sentence below it, or nothing.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def is_numeric(self, column: int) -> bool:
        """Whether most of a column's cells are numbers, which stand to the right."""
        cells = [row[column] for row in self.rows if row[column]]
        return 2 * sum(NUMBER.fullmatch(cell) is not None for cell in cells) > len(cells)


def size(count: float) -> str:
    """Bytes, readable."""
    if abs(count) >= GIB:
        return f"{count / GIB:.2f} GiB"
    return f"{count / MIB:.1f} MiB" if abs(count) >= MIB else f"{count / 1024:.1f} KiB"


def milliseconds(seconds: float) -> str:
    """Seconds, readable."""
    return f"{1000 * seconds:.2f} ms"


def headline(report: Report) -> list[str]:
    """Return what a reader wants to know first, a line each."""
    users = "1 user" if report.users == 1 else f"{report.users} users"
    running, free = (size(report.memory[name]) for name in ("activations", "free"))
    chips = "the chip" if report.chips == 1 else f"each of {report.chips} chips"
    lines = [
        f"{report.model} ({report.family}) on {report.mesh}, {report.precision}, {users} of {report.context:,} tokens",
        f"DRAM of {chips}: {size(report.loaded_bytes)} loaded, {running} to run it, {free} free",
    ]
    if report.token is not None and report.first_token is not None:
        lines.append(
            f"Predicted: {1 / report.token.seconds:.1f} tokens/s/user (bound by {report.token.bound}), "
            f"{1000 * report.first_token.seconds:.0f} ms to the first token of a {report.prompt}-token prompt "
            f"(bound by {report.first_token.bound})"
        )
    return lines


def tables(report: Report) -> Iterator[Lines]:
    """Go through all tables of a report."""
    yield _cuts(report)
    yield _memory(report)
    yield _core_memory(report)
    yield _contexts(report)
    if report.collectives:
        yield _collectives(report)
    yield _reads(report)
    yield _ops(report)
    if report.token is not None:
        yield _speed(report)
    yield _constants(report)
    if report.comparisons:
        yield _comparisons(report)


def _cuts(report: Report) -> Lines:
    rows = [
        (cut.slot, cut.cut, " ".join(cut.formats), size(cut.share), size(cut.padding), f"{cut.padding_percent:.1f} %")
        for cut in report.cuts
    ]
    share, padding = (sum(getattr(cut, name) for cut in report.cuts) for name in ("share", "padding"))
    rows.append(("all", "", "", size(share), size(padding), f"{100 * padding / (share + padding):.1f} %"))
    return Lines(
        title="Weights: how they are cut, and what a device holds",
        columns=("slot", "cut", "format", "share", "padding", "of it"),
        rows=tuple(rows),
        note="Padding: whole tiles in every DRAM bank, heads and sizes that do not divide, a second copy of norms "
        "in prefill's layout.",
    )


def _memory(report: Report) -> Lines:
    total = report.dram_bytes
    rows = [(name, size(held), f"{100 * held / total:.1f} %") for name, held in report.memory.items()]
    return Lines(title="DRAM of each device", columns=("what", "bytes", "share"), rows=tuple(rows))


def _core_memory(report: Report) -> Lines:
    rows = [
        (
            phase,
            use.op,
            size(use.tensors),
            "" if use.buffers is None else size(use.buffers),
            f"{100 * use.together / report.core_bytes:.1f} %",
        )
        for phase, uses in report.core_memory.items()
        for use in uses[:MOST_OPS]
    ]
    return Lines(
        title=f"L1 of the busiest core, of {size(report.core_bytes)}",
        columns=("phase", "op", "tensors alive", "its buffers", "together"),
        rows=tuple(rows),
        note="The ops that need most. No buffers: ttnn does not say.",
    )


def _contexts(report: Report) -> Lines:
    rows = [(str(each.users), "none" if each.tokens is None else f"{each.tokens:,}") for each in report.contexts]
    replicas = " (of each replica)" if "/dp" in report.mesh else ""
    return Lines(
        title="The longest context that fits", columns=(f"users{replicas}", "tokens for each"), rows=tuple(rows)
    )


def _collectives(report: Report) -> Lines:
    rows = [
        (
            each.phase,
            each.op,
            f"{each.devices} chips, {each.topology}, {each.links} link{'s' if each.links > 1 else ''}",
            str(each.count),
            str(each.per_layer),
            size(each.bytes),
            size(each.link_bytes),
        )
        for each in report.collectives
    ]
    columns = ("phase", "op", "along", "count", "a layer", "tensor", "over the busiest link")
    return Lines(title="Collectives", columns=columns, rows=tuple(rows))


def _reads(report: Report) -> Lines:
    rows = [
        (
            f"{each.position:,}",
            size(each.traffic.weights),
            size(each.traffic.cache),
            size(each.traffic.activations),
            size(each.traffic.written),
            size(each.floor),
            f"{each.ratio:.3f}",
            f"{each.padded_ratio:.3f}",
        )
        for each in report.reads
    ]
    return Lines(
        title="DRAM traffic of a decode step, on each device",
        columns=("position", "weights", "cache", "other", "written", "floor", "read / floor", "read / padded floor"),
        rows=tuple(rows),
        note="The floor: each weight once and unpadded, each live block of the cache once. The padded floor: the same "
        "with the weights as they lie in DRAM.",
    )


def _ops(report: Report) -> Lines:
    layer = report.ops_per_layer
    rows = [(name, str(count), str(layer.get(name, ""))) for name, count in report.decode_ops.items()]
    rows.append(("all", str(sum(report.decode_ops.values())), str(sum(layer.values()))))
    return Lines(
        title="Ops of a decode step",
        columns=("op", "count", "in every layer"),
        rows=tuple(rows),
        note=f"They dispatch {report.decode_programs} programs.",
    )


def _speed(report: Report) -> Lines:
    columns = {
        f"first token, prompt of {report.prompt}": report.first_token,
        f"token at {report.reads[0].position:,}": report.token,
        f"token at {report.reads[1].position:,}": report.token_at_context,
    }
    known = {name: speed for name, speed in columns.items() if speed is not None}
    rates = [f"{1 / speed.seconds:.1f}" if name.startswith("token") else "" for name, speed in known.items()]
    bounds = next(iter(known.values())).split
    rows = [
        ("time", *(milliseconds(speed.seconds) for speed in known.values())),
        ("tokens/s/user", *rates),
        ("bound by", *(speed.bound for speed in known.values())),
        *(
            (f"waiting for {bound}", *(milliseconds(speed.split[bound]) for speed in known.values()))
            for bound in bounds
        ),
    ]
    return Lines(
        title="Predicted time, and what it waits for",
        columns=("", *known),
        rows=tuple(rows),
        note="A roofline (docs/planning.md): the time at the rates that its sources give, not a measurement.",
    )


def _constants(report: Report) -> Lines:
    rows = [
        (each.name, quantity(each.value, each.unit), "measured" if each.measured else "published")
        for each in report.constants
    ]
    note = "Published: ttfamily/planning/hardware.py has the sources. Measured: on this mesh, by ttfamily verify."
    if report.token is None:
        note += " Times are predicted once the rest is measured: --measured report.json."
    return Lines(
        title="What a prediction is made with", columns=("constant", "value", "is"), rows=tuple(rows), note=note
    )


def quantity(value: float, unit: str) -> str:
    """Return a constant, readable: seconds as microseconds, rates in units of 10**9."""
    return f"{value / MICRO:.2f} us" if unit == "s" else f"{value / GIGA:,.1f} G{unit}"


def _comparisons(report: Report) -> Lines:
    rows = [
        (
            each.precision,
            each.formats,
            f"{each.published_tokens_per_s:g}",
            f"{each.tokens_per_s_ratio:.2f}",
            f"{each.published_ttft_ms:g} ms",
            f"{each.ttft_ratio:.2f}",
        )
        for each in report.comparisons
    ]
    columns = ("its policy", "measured with", "tokens/s/user", "predicted / it", "first token", "predicted / it")
    return Lines(
        title="Against tt_transformers' published figures for this shape",
        columns=columns,
        rows=tuple(rows),
    )
