"""How streams look on a screen: the live line, the ledger, the status, the rows of a final view."""

import csv
import sys
from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from starter.output import (
    format_amount,
    format_rate,
    format_seconds,
    format_table,
    iso_time,
    print_json,
    print_table,
    show,
)
from starter.stream_tuning import operation_line
from streaming.ledger import Ledger
from streaming.status import StreamResult, StreamStatus

if TYPE_CHECKING:
    import pyarrow as pa


def live_line(status: StreamStatus) -> str:
    """Describe a running stream in one line."""
    ledger, lag = status.ledger, _lag(status)
    parts = [
        f"{status.pipeline}  {status.state:<9} {ledger.consumed:,} events",
        format_rate(status.events_per_second),
        f"lag {format_amount(lag)}",
        f"watermark {_clock(status.watermark_ms)}",
        f"open windows {status.open_windows:,}",
        f"flushed {status.flushed_rows:,}",
    ]
    if status.bounded and lag and status.events_per_second > 0:
        parts.append(f"ETA {max(1, round(lag / status.events_per_second)):,} s")
    if status.reason:
        parts.append(status.reason)
    return "  ".join(parts)


def ledger_line(ledger: Ledger) -> str:
    """Write the conservation of records as an equation and whether it holds."""
    into = f"consumed {ledger.consumed:,}"
    if ledger.expanded:
        into += f" + expanded {ledger.expanded:,}"
    out = []
    if ledger.aggregated or not ledger.delivered:
        out.append(f"aggregated {ledger.aggregated:,}")
    if ledger.delivered:
        out.append(f"delivered {ledger.delivered:,}")
    out += [
        f"filtered {ledger.filtered:,}",
        f"duplicate {ledger.duplicate:,}",
        f"late {ledger.late:,}",
        *([f"below floor {ledger.below_floor:,}"] if ledger.below_floor else []),
        f"dead-lettered {ledger.dead_lettered:,}",
    ]
    sign, verdict = ("=", "balanced") if ledger.balanced else ("≠", "NOT BALANCED")
    skipped = f"   skipped {ledger.skipped:,} offsets" if ledger.skipped else ""
    return f"{into} {sign} {' + '.join(out)}{skipped}   {verdict}"


def print_result(name: str, result: StreamResult, web_ui: str) -> None:
    """Say how a run ended."""
    seconds = format_seconds(result.elapsed_ms / 1000)
    show(f"{name}  {result.state:<9} {result.events:,} events in {seconds}")
    show(f"  {ledger_line(result.ledger)}")
    show(f"  web UI   {web_ui}")


def print_result_json(name: str, result: StreamResult, web_ui: str) -> None:
    """Write how a run ended as JSON."""
    print_json(
        {
            "pipeline": name,
            "state": result.state,
            "epoch": result.epoch,
            "events": result.events,
            "watermark": iso_time(result.watermark_ms),
            "flushes": result.flush_seq,
            "flushed_rows": result.flushed_rows,
            "elapsed_ms": result.elapsed_ms,
            "ledger": ledger_json(result.ledger),
            "web_ui": web_ui,
        }
    )


def ledger_json(ledger: Ledger) -> dict[str, int | bool]:
    """Give the counts, and whether they balance."""
    return {**ledger.model_dump(), "balanced": ledger.balanced}


def print_status(status: StreamStatus, web_ui: str) -> None:
    """Write the status for people."""
    show(live_line(status.model_copy(update={"reason": ""})))
    if status.reason:
        show(f"  reason   {status.reason}")
    show(f"  {ledger_line(status.ledger)}")
    floor = "" if status.floor_ms is None else f"  floor {iso_time(status.floor_ms)}"
    flushes = f"flushes {status.flush_seq:,}  pending {status.pending_flushes:,}"
    show(f"  epoch {status.epoch}{floor}  {flushes}")
    if status.operation is not None:
        show(f"  options  {operation_line(status.operation)}")
    if status.partitions:
        rows = [
            [p.partition, p.offset, p.end, p.lag, iso_time(p.watermark_ms), p.idle]
            for p in status.partitions
        ]
        columns = ["partition", "offset", "end", "lag", "watermark", "idle"]
        show(_indented(format_table(columns, rows)))
    if status.sinks:
        sinks = [
            [s.sink, s.flush_seq, s.pending, iso_time(s.complete_through_ms), s.error]
            for s in status.sinks
        ]
        columns = ["sink", "flush", "pending", "complete through", "error"]
        show(_indented(format_table(columns, sinks)))
    show(f"  web UI   {web_ui}")


def print_status_json(status: StreamStatus, web_ui: str) -> None:
    """Write the status as JSON."""
    print_json(
        {
            **status.model_dump(mode="json", exclude={"partitions"}),
            "partitions": [p.model_dump(mode="json") for p in status.partitions],
            "watermark": iso_time(status.watermark_ms),
            "floor": iso_time(status.floor_ms),
            "complete_through": iso_time(status.complete_through_ms),
            "flushes": status.flush_seq,
            "ledger": ledger_json(status.ledger),
            "web_ui": web_ui,
        }
    )


def print_rows(rows: "pa.Table", form: str) -> None:
    """Write rows of a final view as `table`, `json` or `csv`; decimals keep their digits."""
    names = rows.column_names
    found = [[_plain(value) for value in row.values()] for row in rows.to_pylist()]
    if form == "json":
        print_json([dict(zip(names, row, strict=True)) for row in found])
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(found)
    else:
        print_table(names, _rounded(found))
        show(f"{len(found):,} rows")


def _rounded(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Shorten floats for people; JSON and CSV keep all digits."""
    return [[round(v, 6) if isinstance(v, float) else v for v in row] for row in rows]


def _plain(value: Any) -> Any:  # noqa: ANN401 - a value of any column type
    if isinstance(value, datetime):
        text = iso_time(round(value.timestamp() * 1000)) or ""
        return text.replace(".000Z", "Z")
    if value is None or isinstance(value, (bool, int, float, str, list)):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)


def _lag(status: StreamStatus) -> int:
    return status.target_lag or (0 if status.bounded else sum(p.lag for p in status.partitions))


def _clock(time_ms: int | None) -> str:
    text = iso_time(time_ms)
    if text is None or text.endswith("inf"):
        return text or "-"
    return text[11:19]


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
