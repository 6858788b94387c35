"""A stream file for tests, and changes to it."""

from pathlib import Path

SALES = """\
kind: stream
name: sales
source:
  kafka: {topic: sales}
  fields:
    ts: timestamp_ms
    amount: decimal(12,2)
    category: string
    customer: int64?
    weight: float64?
event_time: {field: ts}
where: amount > 0
derive: {euros: amount * 0.92}
group_by: [category]
window: {tumbling: 1m}
aggregate:
  revenue: sum(amount)
sinks:
  - clickhouse: {table: sales_1m}
"""


def write(folder: Path, *changes: tuple[str, str]) -> Path:
    """Write the file with some of its text replaced; every replaced text must be there."""
    text = SALES
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "sales.yaml"
    path.write_text(text, encoding="utf-8")
    return path
