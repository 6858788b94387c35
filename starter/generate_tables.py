"""Sample tables: those of a made-up shop in PostgreSQL, those of the flights of 2013 as files."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from common.payloads import Model
from connectors.postgres_fill import FilledTable, fill_tables
from devstack.sample.flights import TABLES, table_csv
from devstack.sample.orders import (
    Fault,
    OrdersShape,
    customers_table,
    fault_counts,
    orders_batches,
    products_table,
)

CUSTOMERS = {"customer_id": "bigint NOT NULL", "name": "text NOT NULL", "country": "text NOT NULL"}
PRODUCTS = {
    "product_id": "bigint NOT NULL",
    "name": "text NOT NULL",
    "category": "text NOT NULL",
    "price": "numeric(12,2) NOT NULL",
}
ORDERS = {
    "id": "bigint NOT NULL",
    "order_id": "bigint NOT NULL",
    "customer_id": "bigint",
    "product_id": "bigint NOT NULL",
    "product": "text NOT NULL",
    "quantity": "integer NOT NULL",
    "amount": "numeric(12,2) NOT NULL",
    "country": "text NOT NULL",
    "status": "text NOT NULL",
    "ordered_at": "timestamptz NOT NULL",
    "updated_at": "timestamptz NOT NULL",
}


class TableSummary(Model):
    """What was written.

    Attributes:
        tables: Rows of each table.
        faults: Dirty orders by what is wrong with them.
        first_day, last_day: Days in Europe/Berlin, both included.
    """

    tables: dict[str, int]
    faults: dict[str, int]
    first_day: str
    last_day: str
    seconds: float


async def write_orders(
    dsn: str,
    shape: OrdersShape,
    *,
    fresh: bool,
    progress: Callable[[int], None],
) -> TableSummary:
    """Make the three tables and fill them; all of them are there afterwards, or none.

    Args:
        dsn: Address of PostgreSQL.
        shape: Which orders.
        fresh: Drop tables of these names first.
        progress: Told how many orders were sent.

    Raises:
        UsageError: One of the tables is there already.
    """
    began = time.monotonic()
    tables = [
        FilledTable("customers", CUSTOMERS, customers_table(shape).to_batches(), "customer_id"),
        FilledTable("products", PRODUCTS, products_table(shape).to_batches(), "product_id"),
        FilledTable("orders", ORDERS, _told(shape, progress), "id", ("updated_at",)),
    ]
    counts = await fill_tables(dsn, tables, fresh=fresh)
    return TableSummary(
        tables=counts,
        faults={_words(fault): count for fault, count in fault_counts(shape.rows).items()},
        first_day=shape.first_day.isoformat(),
        last_day=shape.last_day.isoformat(),
        seconds=time.monotonic() - began,
    )


def write_flight_files(data_dir: Path) -> dict[Path, int]:
    """Write the five tables of the flights as CSV files; gives their sizes in bytes.

    Files that are there are replaced, each at once, unless they are the same.
    """
    folder = data_dir / "sample" / "flights"
    folder.mkdir(parents=True, exist_ok=True)
    sizes: dict[Path, int] = {}
    for table in TABLES:
        path, content = folder / f"{table}.csv", table_csv(table)
        if not path.is_file() or path.read_bytes() != content:
            fresh = path.with_suffix(".new")
            fresh.write_bytes(content)
            fresh.replace(path)
        sizes[path] = len(content)
    return sizes


def _told(shape: OrdersShape, progress: Callable[[int], None]) -> Iterator[pa.RecordBatch]:
    done = 0
    for batch in orders_batches(shape):
        yield batch
        done += batch.num_rows
        progress(done)


def _words(fault: Fault) -> str:
    return fault.name.lower().replace("_", " ")
