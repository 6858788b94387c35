"""A report as one HTML page: charts drawn in place, every value escaped."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from html import escape

import polars as pl

from batch.html_page import html_page
from batch.report import MEASURE, ReportResult
from common.time_zone import time_zone
from pipelines.data_interval import DataInterval
from pipelines.report import Chart, Ranking, ReportSpec

_HEIGHT = 100
_AXIS_LABELS = 5
_MOST_NAMES = 40
_FLOAT_DIGITS = 6


@dataclass(frozen=True)
class ReportSubject:
    """What a report is about.

    Attributes:
        pipeline: Name of the pipeline.
        slot: Label of its interval, or of the run.
        run: Number of the run.
        zone: Time zone in which moments are shown.
        written_us: When the report was made, in microseconds since the epoch.
    """

    pipeline: str
    slot: str
    run: int
    zone: str
    written_us: int


def report_page(spec: ReportSpec, result: ReportResult, subject: ReportSubject) -> str:
    """Write a report as a page that stands by itself."""
    shown = _Shown(subject.zone)
    written = shown.text(datetime.fromtimestamp(subject.written_us // 1_000_000, UTC))
    left_out = (
        f", {result.failed_rows:,} left out, whose derived columns cannot be computed"
        if result.failed_rows
        else ""
    )
    slot = DataInterval.short(subject.slot)
    body = [
        f'<div class="head"><h1>{escape(spec.title)}</h1><strong>{escape(slot)}</strong>'
        f'</div><p class="soft">{escape(spec.description)}</p>',
        _totals(result.totals, shown),
        *(_chart(one, rows, shown) for one, rows in zip(spec.charts, result.charts, strict=True)),
        *(
            _rank(one, rows, shown)
            for one, rows in zip(spec.rankings, result.rankings, strict=True)
        ),
        f'<p class="soft">{result.row_count:,} rows{left_out}. Pipeline '
        f"{escape(subject.pipeline)}, run {subject.run}, written {escape(written)}; times are of "
        f"{escape(subject.zone)}.</p>",
    ]
    return html_page(f"{spec.title} {slot}", "".join(body))


class _Shown:
    """Values as text; moments on the wall of one time zone."""

    def __init__(self, zone: str) -> None:
        self._zone = time_zone(zone)

    def text(self, value: object) -> str:
        """Write a value as people read it; nothing is rounded but floats."""
        if value is None:
            return "none"
        if isinstance(value, Decimal):
            return _decimal(value)
        if isinstance(value, float):
            return f"{value:,.{_FLOAT_DIGITS}g}"
        if isinstance(value, bool | str):
            return str(value)
        if isinstance(value, int):
            return f"{value:,}"
        if isinstance(value, datetime):
            return f"{value.astimezone(self._zone):%Y-%m-%d %H:%M:%S}".removesuffix(":00")
        return str(value)

    def label(self, value: object) -> str:
        """Write a value of a column that groups: numbers of things have no thousands' commas."""
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return self.text(value)

    def axis(self, values: list[object]) -> Callable[[object], str]:
        """Choose how moments are written along an axis: on one day, by their time alone."""
        moments = [one.astimezone(self._zone) for one in values if isinstance(one, datetime)]
        if moments and len({one.date() for one in moments}) == 1:
            return lambda value: (
                f"{value.astimezone(self._zone):%H:%M}"
                if isinstance(value, datetime)
                else self.label(value)
            )
        return self.label


def _decimal(value: Decimal) -> str:
    """Write a decimal exactly, without zeros beyond its second place.

    >>> _decimal(Decimal("1234.500000")), _decimal(Decimal("7")), _decimal(Decimal("0.12340"))
    ('1,234.50', '7', '0.1234')
    """
    text = f"{value:,f}"
    whole, point, places = text.partition(".")
    return f"{whole}.{places.rstrip('0').ljust(2, '0')}" if point else whole


def _title(name: str) -> str:
    return escape(name.replace("_", " "))


def _totals(totals: pl.DataFrame, shown: _Shown) -> str:
    if totals.is_empty():
        return ""
    pairs = "".join(
        f"<div><dt>{_title(name)}</dt><dd>{escape(shown.text(value))}</dd></div>"
        for name, value in totals.row(0, named=True).items()
    )
    return f'<section class="card"><dl>{pairs}</dl></section>'


def _chart(chart: Chart, rows: pl.DataFrame, shown: _Shown) -> str:
    """Draw a bar for each value; those below zero hang from the line of zero."""
    keys, values = rows[chart.over].to_list(), rows[MEASURE].to_list()
    head = f'<section class="card"><div class="head"><span>{escape(chart.title)}</span>'
    numbers = [float(value) if value is not None else 0.0 for value in values]
    if not numbers:
        return f'{head}</div><p class="soft">no rows</p></section>'
    if rows.schema[chart.over] == pl.String() and rows.height <= _MOST_NAMES:
        return f"{head}</div>{_named_bars(keys, values, numbers, shown)}</section>"
    top, bottom = max(*numbers, 0.0), min(*numbers, 0.0)
    room = (top - bottom) or 1.0
    bars = []
    for place, (key, value, number) in enumerate(zip(keys, values, numbers, strict=True)):
        upper = (top - max(number, 0.0)) / room * _HEIGHT
        height = abs(number) / room * _HEIGHT
        told = f"{shown.label(key)}: {shown.text(value)}"
        bars.append(
            f'<rect x="{place + 0.08:.2f}" y="{upper:.2f}" width="0.84" height="{height:.2f}" '
            f'fill="var(--good)"><title>{escape(told)}</title></rect>'
        )
    greatest = shown.text(values[numbers.index(max(numbers))])
    step = max(-(-len(keys) // _AXIS_LABELS), 1)
    write = shown.axis(keys)
    labels = "".join(
        f'<span style="flex:{len(keys[place : place + step])} 1 0">{escape(write(key))}</span>'
        for place, key in list(enumerate(keys))[::step]
    )
    kind = "axis each" if step == 1 else "axis"
    return (
        f'{head}<span class="soft">up to {escape(greatest)}</span></div>'
        f'<svg class="chart" viewBox="0 0 {len(bars)} {_HEIGHT}" preserveAspectRatio="none" '
        f'role="img" aria-label="{escape(chart.title)}, {len(bars)} bars up to {escape(greatest)}">'
        f'{"".join(bars)}</svg><div class="{kind}">{labels}</div></section>'
    )


def _named_bars(
    keys: list[object], values: list[object], numbers: list[float], shown: _Shown
) -> str:
    """Draw a line for each name, with its bar and its value; below zero to the left."""
    start = min(*numbers, 0.0)
    room = (max(*numbers, 0.0) - start) or 1.0
    lines = []
    for key, value, number in zip(keys, values, numbers, strict=True):
        left, width = (min(number, 0.0) - start) / room * 100, abs(number) / room * 100
        lines.append(
            f"<tr><td>{escape(shown.label(key))}</td>"
            '<td class="drawn"><svg viewBox="0 0 100 1" preserveAspectRatio="none" '
            'aria-hidden="true">'
            f'<rect x="{left:.2f}" width="{width:.2f}" height="1" fill="var(--good)"/></svg></td>'
            f'<td class="number">{escape(shown.text(value))}</td></tr>'
        )
    return f'<table class="bars">{"".join(lines)}</table>'


def _rank(ranking: Ranking, rows: pl.DataFrame, shown: _Shown) -> str:
    names = "".join(f"<th>{_title(name)}</th>" for name in ranking.group_by)
    measures = "".join(f'<th class="number">{_title(name)}</th>' for name in ranking.measures)
    lines = []
    for place, row in enumerate(rows.iter_rows(named=True), 1):
        groups = "".join(f"<td>{escape(shown.label(row[name]))}</td>" for name in ranking.group_by)
        values = "".join(
            f'<td class="number">{escape(shown.text(row[name]))}</td>' for name in ranking.measures
        )
        lines.append(f'<tr><td class="number">{place}</td>{groups}{values}</tr>')
    return (
        f'<section class="card"><span>{escape(ranking.title)}</span><div class="scroll"><table>'
        f'<tr><th class="number">#</th>{names}{measures}</tr>{"".join(lines)}</table></div>'
        "</section>"
    )
