"""A report in words and numbers: what the terminal and the page both show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ttfamily.planning.lines import MICRO, quantity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ttfamily.verify.report import Constant, Report

    Rows = list[tuple[str, ...]]

SLOWEST = 40  # ops that are shown


def headline(report: Report) -> str:
    """One line: what was verified on what."""
    device = report.environment["device"] if report.environment else report.asked["device"]
    verdict = "everything is as planned" if report.passed else "not everything is as planned"
    return f"{report.asked['mesh']}, {device}: {verdict}"


def facts(report: Report) -> Iterator[tuple[str, str]]:
    """Mesh and machine, a line each."""
    yield "asked for", ", ".join(f"{key} {_listed(value)}" for key, value in report.asked.items())
    yield "models", ", ".join(report.compared) or "none"
    if report.unfinished:
        yield "unfinished", ", ".join(report.unfinished)
    here = report.environment
    if here is None:
        return
    yield "mesh", f"{here['shape'][0]} x {here['shape'][1]} {here['arch']} chips, grid {here['grid']}"
    yield "DRAM", f"{here['dram_bytes'] / 2**30:.1f} GiB on each chip, {here['dram_banks']} banks"
    yield "packages", ", ".join(f"{name} {version}" for name, version in here["packages"].items())
    yield "host", f"{here['cpu']}, {here['system']}, Python {here['python']}"
    yield "driver", here["driver"] or "none"
    for card in here["cards"]:
        yield "card", ", ".join(f"{fact.removeprefix('tt_')} {value}" for fact, value in card.items())


def _listed(value: object) -> str:
    return " and ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def error(units: float | None) -> str:
    """An error in units of the last place; a value that is not finite, or an integer that differs, is off by all."""
    if units is None:
        return "infinite"
    return "0" if units == 0 else f"{units:.3g}"


def constant_rows(report: Report) -> tuple[str, tuple[str, ...], Rows]:
    """The constants of a prediction, measured beside planned."""
    rows: Rows = [
        (each.name, _value(each, each.measured), _value(each, each.planned), _ratio(each), each.how)
        for each in report.constants
    ]
    return "Constants of predictions", ("constant", "measured", "planned with", "measured / it", "by"), rows


def op_time_rows(report: Report) -> tuple[str, tuple[str, ...], Rows]:
    """The slowest ops, one row for each formats and shapes."""
    timed = [each for each in report.op_times if each.median is not None]
    timed.sort(key=lambda each: -(each.median or 0.0))
    rows: Rows = [
        (each.op, _micro(each.median), _micro(each.p90), _micro(each.traced), each.stage, each.arguments)
        for each in timed[:SLOWEST]
    ]
    columns = ("op", "called, median", "90 %", "in a trace", "in", "on")
    return f"Ops: the {len(rows)} that take longest", columns, rows


def _value(constant: Constant, value: float | None) -> str:
    if value is None:
        return "not measured" if value is constant.measured else "no source"
    return quantity(value, constant.unit)


def _ratio(constant: Constant) -> str:
    if constant.measured is None or not constant.planned:
        return ""
    return f"{constant.measured / constant.planned:.2f}"


def _micro(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / MICRO:,.1f} us"
