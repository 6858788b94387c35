"""An ETL file for tests, checked without the loader of all kinds."""

from pathlib import Path
from typing import Any

from contracts.document import Document, compose, read
from pipelines.etl import EtlSpec
from pipelines.etl_build import build_etl
from pipelines.etl_check import check_etl
from pipelines.etl_shape import ETL

ORDERS = """\
kind: etl
name: orders
source:
  files: {url: orders.csv, format: csv}
  fields:
    order_id: int64
    amount: decimal(12,2)
    country: string?
    changed: timestamp(6)
    tags: list<string>?
"""
TARGETS = """\
targets:
  - clickhouse: {table: orders, mode: append}
"""


def check(
    folder: Path, *parts: str, head: str = ORDERS, targets: str = TARGETS
) -> tuple[dict[str, Any], list[str]]:
    """Read and check a file of a head, some parts and targets; gives `line path: text`."""
    path = folder / "orders.yaml"
    path.write_text("".join((head, *parts, targets)), encoding="utf-8")
    document = Document(str(path))
    node = compose(path, document, "a pipeline")
    assert node is not None
    values = read(document, node, ETL)
    check_etl(document, values)
    return values, [f"{one.line} {one.path}: {one.text}" for one in document.problems]


def build(folder: Path, *parts: str, head: str = ORDERS) -> EtlSpec:
    """Read a file that has no problem."""
    values, problems = check(folder, *parts, head=head)
    assert problems == []
    return build_etl(values)
