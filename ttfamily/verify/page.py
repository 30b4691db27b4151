"""A report as one HTML page that needs nothing else."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ttfamily.planning.html import STYLE
from ttfamily.verify.advice import SEND
from ttfamily.verify.lines import constant_rows, error, facts, headline, op_time_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ttfamily.verify.report import Check, OpRow, Problem, Report

GOOD, BAD, NEUTRAL = "good", "bad", "neutral"
COLOURS = {"as planned": GOOD, "timed": GOOD, "not as planned": BAD}

OWN_STYLE = """
:root { --good: #1d7a4a; --good-back: #e2f3e9; --bad: #b3261e; --bad-back: #fbe5e3; --neutral: #5b6472;
  --neutral-back: #eceff3; }
@media (prefers-color-scheme: dark) { :root { --good: #7fd6a6; --good-back: #16342a; --bad: #ff9c94;
  --bad-back: #43201f; --neutral: #aab4c2; --neutral-back: #262d37; } }
.badge { display: inline-block; padding: .05rem .55rem; border-radius: 1rem; font-size: .85rem; font-weight: 600;
  white-space: nowrap; }
.good { color: var(--good); background: var(--good-back); } .bad { color: var(--bad); background: var(--bad-back); }
.neutral { color: var(--neutral); background: var(--neutral-back); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: .75rem; margin: 1.2rem 0; }
.card { border: 1px solid var(--line); border-radius: .6rem; padding: .7rem .9rem; }
.card b { display: block; font-size: .9rem; font-weight: 600; margin-bottom: .35rem; }
.problem { border-left: .25rem solid var(--neutral); padding: .5rem .9rem; margin: .8rem 0;
  background: var(--neutral-back); border-radius: 0 .4rem .4rem 0; overflow-wrap: anywhere; }
.problem.bad { border-color: var(--bad); background: var(--bad-back); color: var(--ink); }
.problem pre { white-space: pre-wrap; font-size: .8rem; margin: .4rem 0; }
td.wide { white-space: normal; min-width: 16rem; overflow-wrap: anywhere; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; font-size: .9rem; margin: 0; }
dt { color: var(--dim); } dd { margin: 0; }
code { font-size: .92em; }
"""


def page(report: Report) -> str:
    """Return the whole page."""
    title = headline(report)
    cards = "".join(
        f'<div class="card"><b>{escape(name)}</b>{_badge(status, COLOURS.get(status, NEUTRAL))}</div>'
        for name, status in report.summary.items()
    )
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{_badge('passed', GOOD) if report.passed else _badge('failed', BAD)}</p>",
        f'<div class="cards">{cards}</div>',
        *_problems(report.problems),
        _ops(report.ops),
        _checks(
            "Invariants", report.invariants, "Bit for bit, but for prefill against decode steps, which round apart."
        ),
        _checks("Soak", report.soak, "The same tokens at the same positions, round after round, bit for bit."),
        *_times(report),
        "<h2>What to send us</h2>",
        f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in SEND)}</ul>",
        "<h2>Where this comes from</h2>",
        f'<dl class="facts">{"".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts(report))}</dl>',
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{OWN_STYLE}</style>\n</head>\n"
        f"<body>\n{chr(10).join(body)}\n</body>\n</html>\n"
    )


def _badge(text: str, colour: str) -> str:
    return f'<span class="badge {colour}">{escape(text)}</span>'


def _problems(problems: Sequence[Problem]) -> Iterable[str]:
    for problem in sorted(problems, key=lambda each: not each.fatal):
        first, _, rest = problem.what.partition(". ") if problem.kind == "crash" else (problem.what, "", "")
        log = f"<pre>{escape(rest)}</pre>" if rest else ""
        colour = BAD if problem.fatal else NEUTRAL
        yield (
            f'<div class="problem {colour}"><b>{escape(problem.kind)}: {escape(problem.where)}</b>'
            f"<p>{escape(first)}</p>{log}<p>{escape(problem.todo)}</p></div>"
        )


def _ops(ops: Sequence[OpRow]) -> str:
    rows = []
    for op in sorted(ops, key=lambda each: each.right):
        status = _badge("as planned", GOOD) if op.right else _badge(f"{op.wrong} wrong", BAD)
        families = ", ".join(dict.fromkeys(subject.split()[0] for subject in op.subjects))
        numbers = (str(op.calls), error(op.together), f"{op.bound[0]:g}", error(op.worst), f"{op.bound[1]:g}")
        cells = "".join(f'<td class="number">{escape(cell)}</td>' for cell in numbers)
        name = f'<code>{escape(op.op.removeprefix("ttnn."))}</code><br><span class="note">{escape(families)}</span>'
        rows.append(f"<tr><td>{name}</td><td>{status}</td>{cells}</tr>")
        if op.detail:
            rows.append(f'<tr><td colspan="7" class="wide">{escape(op.detail)}</td></tr>')
    note = (
        "Each call was given the simulator's inputs. Errors are in units of the last place of the output's format: of "
        "all elements together, by the norm of their difference, and of the worst; the bounds are those of the call "
        "that came closest to its own, and ttfamily/verify/compare.py says where they come from."
    )
    columns = ("op", "", "calls", "error", "bound", "worst", "bound")
    return _table("Ops against the simulator", columns, rows, note, numeric=(2, 3, 4, 5, 6))


def _checks(title: str, checks: Sequence[Check], note: str) -> str:
    rows = [
        f"<tr><td>{escape(each.name)}</td><td>{escape(each.subject)}</td>"
        f"<td>{_badge('as planned', GOOD) if each.right else _badge('not as planned', BAD)}</td>"
        f'<td class="wide">{escape(each.detail)}</td></tr>'
        for each in sorted(checks, key=lambda each: each.right)
    ]
    return _table(title, ("what", "model", "", ""), rows, note)


def _times(report: Report) -> Iterable[str]:
    if report.summary["timings"] != "timed":
        yield f'<h2>Timings</h2><p class="note">{escape(report.summary["timings"])}</p>'
        return
    for title, columns, rows in (constant_rows(report), op_time_rows(report)):
        lines = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
        yield _table(title, columns, [f"<tr>{line}</tr>" for line in lines], "")


def _table(title: str, columns: Sequence[str], rows: Sequence[str], note: str, numeric: Sequence[int] = ()) -> str:
    if not rows:
        return f'<h2>{escape(title)}</h2><p class="note">not run</p>'
    head = "".join(
        f"<th{' class=' + chr(34) + 'number' + chr(34) if n in numeric else ''}>{escape(column)}</th>"
        for n, column in enumerate(columns)
    )
    below = f'\n<p class="note">{escape(note)}</p>' if note else ""
    return (
        f'<h2>{escape(title)}</h2>\n<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{chr(10).join(rows)}\n</tbody>\n</table></div>{below}"
    )
