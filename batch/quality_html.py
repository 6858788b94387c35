"""A gate's report as one HTML page: no script, nothing loaded, every value escaped."""

from collections.abc import Sequence
from html import escape

from batch.gate_report import CheckResult, GateReport
from batch.html_page import html_page, marked_up
from batch.quality_trend import HistoryEntry
from pipelines.data_interval import DataInterval

_EVEN = 'vector-effect="non-scaling-stroke"'
"""Keeps lines as wide as they are however a drawing is stretched."""


def quality_page(report: GateReport, history: Sequence[HistoryEntry] = ()) -> str:
    """Write a report as a page that stands by itself; equal reports give equal pages.

    Args:
        report: What the gate found.
        history: Past runs, oldest first, for the line of scores.
    """
    title = f"{report.pipeline} {DataInterval.short(report.interval)}".strip()
    counts = ", ".join(
        f"{report.count(outcome)} {outcome}" for outcome in ("passed", "failed", "error", "skipped")
    )
    ordered = sorted(report.checks, key=_urgency)
    body = [
        f'<p class="soft">Quality report{_told(" of run ", report.run_id)}</p>',
        f'<div class="head"><h1>{escape(title)}</h1>',
        f'<strong class="{report.outcome}">{report.outcome}</strong></div>',
        f'<section class="card"><div class="head"><span>Score</span>'
        f"<strong>{report.score:.2f} of 100</strong></div>{_bar(report)}{_rows(report)}</section>",
        _scores(report, history),
        f"<h2>Checks <span class=soft>{counts}</span></h2>",
        *(_check(one) for one in ordered),
    ]
    return html_page(f"{title}: {report.outcome}", "".join(body))


def _urgency(result: CheckResult) -> int:
    if result.blocks:
        return 0
    return {"failed": 1, "passed": 2}.get(result.outcome, 3)


def _told(before: str, text: str) -> str:
    return f"{before}{escape(text)}" if text else ""


def _bar(report: GateReport) -> str:
    color = {"passed": "good", "warned": "warn", "blocked": "bad"}[report.outcome]
    return (
        '<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" role="img" '
        f'aria-label="score {report.score:.2f} of 100">'
        '<rect width="100" height="4" fill="var(--line)"/>'
        f'<rect width="{report.score:.2f}" height="4" fill="var(--{color})"/></svg>'
    )


def _rows(report: GateReport) -> str:
    ledger = report.ledger.model_dump()
    names = [name for name, rows in ledger.items() if rows or name in {"extracted", "loaded"}]
    pairs = "".join(f"<div><dt>{name}</dt><dd>{ledger[name]:,}</dd></div>" for name in names)
    balance = "balanced" if report.ledger.balanced else "not balanced"
    return f'<dl>{pairs}</dl><p class="soft">{balance}</p>'


def _scores(report: GateReport, history: Sequence[HistoryEntry]) -> str:
    """Draw the scores of past runs and of this one."""
    past = [one for one in history if one.run_id != report.run_id][-29:]
    if not past:
        return ""
    scores = [*(one.score for one in past), report.score]
    width = 300 / (len(scores) - 1)
    points = " ".join(f"{n * width:.1f},{64 - score * 0.6:.1f}" for n, score in enumerate(scores))
    return (
        f'<section class="card"><div class="head"><span>Scores of the last {len(scores)} runs'
        '</span><span class="soft">0 to 100</span></div>'
        '<svg class="scores" viewBox="-4 0 308 68" preserveAspectRatio="none" role="img" '
        f'aria-label="scores from {scores[0]:.2f} to {scores[-1]:.2f}">'
        f'<path d="M0 64H300M0 4H300" stroke="var(--line)" {_EVEN}/>'
        f'<polyline points="{points}" fill="none" stroke="var(--good)" stroke-width="2" {_EVEN}/>'
        f'<path d="M300 {64 - report.score * 0.6:.1f}h0" stroke="var(--text)" stroke-width="8" '
        f'stroke-linecap="round" {_EVEN}/></svg>'
        "</section>"
    )


def _shown_rows(result: CheckResult) -> str:
    shown = len(result.samples)
    return f"{shown} of {result.failed_rows:,} rows" if result.failed_rows else f"{shown} rows"


def _check(result: CheckResult) -> str:
    parts = [
        f'<section class="card"><div class="head"><strong>{escape(result.title)}</strong>'
        f'<span class="{"blocked" if result.blocks else result.outcome}">{result.outcome}'
        f' <span class="soft">{result.severity}</span></span></div>'
    ]
    if result.message:
        parts.append(f"<div>{marked_up(result.message)}</div>")
    told = [f"{name} {text}" for name, text in (
        ("expected", result.expected), ("measured", result.measured),
    ) if text]  # fmt: skip
    if told:
        parts.append(f'<div class="soft">{marked_up("; ".join(told))}</div>')
    if result.samples:
        rows = "".join(
            f"<tr><td>{one.chunk}</td><td>{one.row:,}</td><td>{marked_up(one.reason)}</td></tr>"
            for one in result.samples
        )
        parts.append(
            f"<details><summary>{_shown_rows(result)}</summary>"
            f"<table><tr><th>chunk</th><th>row</th><th>reason</th></tr>{rows}</table></details>"
        )
    return "".join([*parts, "</section>"])
