"""A report as one HTML page that needs nothing else: tables, the memory map and the split of the time drawn."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ttfamily.planning.lines import headline, milliseconds, size, tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ttfamily.planning.lines import Lines
    from ttfamily.planning.report import Report

WIDTH, HEIGHT = 1000, 60  # of a bar, in units of its own
COLOURS = 14
EMPTY = "free"

STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1d2430; --dim: #5b6472; --line: #d8dde5; --empty: #eceff3;
  --c0: #3565b5; --c1: #c8642b; --c2: #2f8f6b; --c3: #8a56b0; --c4: #b8912a; --c5: #2a93ab; --c6: #b94a63;
  --c7: #6b7f2e; --c8: #7b6a58; --c9: #54708c; --c10: #a33f8f; --c11: #1f6f5c;
  --c12: #9c5a1e; --c13: #4a4fa0; }
@media (prefers-color-scheme: dark) { :root { --page: #14181f; --ink: #e4e8ee; --dim: #9aa4b2; --line: #343c48;
  --empty: #262d37; --c0: #6f9be8; --c1: #ec9560; --c2: #5fc49c; --c3: #b98be0; --c4: #dcb95c; --c5: #5fc0d6;
  --c6: #e8839a; --c7: #a3b962; --c8: #b8a48f; --c9: #8fabc6; --c10: #dd86cb;
  --c11: #6fcab4; --c12: #e0a871; --c13: #9aa0ee; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; line-height: 1.25; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { margin: .4rem 0; } .note { color: var(--dim); font-size: .9rem; }
svg { display: block; width: 100%; height: 2.5rem; border-radius: .3rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
th { color: var(--dim); font-weight: 600; } .number { text-align: right; }
ul.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; padding: 0; margin: .4rem 0 1rem; list-style: none;
  font-size: .85rem; }
.legend i { display: inline-block; width: .8em; height: .8em; margin-right: .35em; border-radius: .15em; }
"""


def page(report: Report) -> str:
    """Return the whole page."""
    first, *others = headline(report)
    drawn = [_figure(f"DRAM of each device, {size(report.dram_bytes)}", _parts(report.memory, size))]
    speeds = {
        f"Time to first token, {report.prompt}-token prompt": report.first_token,
        f"A decode step at position {report.reads[0].position:,}": report.token,
        f"A decode step at position {report.reads[1].position:,}": report.token_at_context,
    }
    for title, speed in speeds.items():
        if speed is not None:
            split = _parts(speed.split, milliseconds)
            drawn.append(_figure(f"{title}: {milliseconds(speed.seconds)}, bound by {speed.bound}", split))
    body = [f"<h1>{escape(first)}</h1>", *(f"<p>{escape(line)}</p>" for line in others), *drawn]
    body += [_table(lines) for lines in tables(report)]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.model)} on {escape(report.mesh)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{chr(10).join(body)}\n</body>\n</html>\n"
    )


def _parts(values: Mapping[str, float], shown: object) -> list[tuple[str, float, str]]:
    return [(name, value, shown(value)) for name, value in values.items() if value > 0]  # type: ignore[operator]


def _figure(title: str, parts: list[tuple[str, float, str]]) -> str:
    """Draw a bar that is cut in proportion, with a legend below it."""
    total = sum(value for _, value, _ in parts)
    rectangles, legend, start = [], [], 0.0
    for number, (name, value, shown) in enumerate(parts):
        colour = "var(--empty)" if name == EMPTY else f"var(--c{number % COLOURS})"
        width = WIDTH * value / total
        label = f"{escape(name)}: {escape(shown)}, {100 * value / total:.1f} %"
        rectangles.append(
            f'<rect x="{start:.2f}" width="{width:.2f}" height="{HEIGHT}" style="fill:{colour}">'
            f"<title>{label}</title></rect>"
        )
        legend.append(f'<li><i style="background:{colour}"></i>{label}</li>')
        start += width
    return (
        f'<h2>{escape(title)}</h2>\n<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(title)}">{"".join(rectangles)}</svg>\n<ul class="legend">{"".join(legend)}</ul>'
    )


def _table(lines: Lines) -> str:
    kinds = [' class="number"' if n and lines.is_numeric(n) else "" for n in range(len(lines.columns))]

    def cells(tag: str, row: tuple[str, ...]) -> str:
        return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True))

    head = cells("th", lines.columns)
    rows = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in lines.rows)
    note = f'\n<p class="note">{escape(lines.note)}</p>' if lines.note else ""
    return (
        f"<h2>{escape(lines.title)}</h2>\n"
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>{note}'
    )
