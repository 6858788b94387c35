"""Files, APIs and topics into targets from the command line, against polars over the same rows."""

import asyncio
import gzip
import json
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from aiokafka import AIOKafkaProducer
from backports import zstd
from polars.testing import assert_frame_equal

from common.errors import FatalError
from common.names import ETL_COMPUTE_QUEUE, ETL_QUEUE
from common.settings import ObjectStoreSettings, Settings
from connectors.kafka_admin import KafkaAdmin
from connectors.object_store import ObstoreStore
from connectors.temporal import connect
from starter.temporal_call import ACTIVITY_QUEUE, WORKFLOW_QUEUE, check_workers
from tests.e2e.command import PROGRAM, Sluice
from tests.e2e.conftest import make_namespace
from tests.e2e.etl_api import Api, serving
from tests.e2e.etl_project import seen, write_etl

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NAMESPACE = "etl-sources"
DAY, NEXT = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 5, 2, tzinfo=UTC)
TOKEN = "open-sesame"
SOLD = pl.DataFrame(
    {
        "id": range(1, 401),
        "country": [["DE", "AT", "CH", None][n % 4] for n in range(400)],
        "amount": [Decimal(n * 37 % 5000).scaleb(-2) for n in range(400)],
        "sold_at": [DAY + timedelta(seconds=n * 400, microseconds=n) for n in range(400)],
        "note": [f'"{n}", naïve;\nline {n % 3}' if n % 5 else "" for n in range(400)],
    },
    schema={
        "id": pl.Int64, "country": pl.String, "amount": pl.Decimal(12, 2),
        "sold_at": pl.Datetime("us", "UTC"), "note": pl.String,
    },
)  # fmt: skip
OF_DAY = SOLD.filter(pl.col("sold_at") < NEXT)
REGIONS = pl.DataFrame({"country": ["DE", "AT", "CH"], "region": ["north", "south", "south"]})
FIELDS = (
    "fields: {id: int64, country: string?, amount: 'decimal(12,2)', sold_at: timestamp(6), "
    "note: string?}"
)
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: sold
version: 2.1.0
status: active
schema:
  - name: sold
    properties:
      - {name: id, logicalType: integer, primaryKey: true, required: true}
      - {name: country, logicalType: string, required: true}
      - name: amount
        logicalType: number
        physicalType: decimal(12,2)
        logicalTypeOptions: {minimum: 1}
        required: true
      - {name: sold_at, logicalType: timestamp, physicalType: timestamp(6), required: true}
      - {name: note, logicalType: string}
    quality:
      - {metric: rowCount, mustBeGreaterThan: 100}
"""
SCORING = """
import polars as pl


def score(amount, country):
    return amount.cast(pl.Float64) * pl.Series([2.0]).item() + (country == "DE").cast(pl.Float64)
"""
FILES = """
interval: 1d
contract: sold
source:
  files: {url: "sold/{date}/part-*.csv.gz", format: csv, delimiter: ";", "null": [NA]}
transform:
  - derive:
      score: {python: soldshop.scoring.score, args: [amount, country], returns: float64}
  - join: {file: sold-regions.csv, on: country, take: [region]}
gate:
  - {check: range, field: amount, max: "49.50", severity: quarantine}
targets:
  - postgres: {table: sold_files, mode: merge, key: [id]}
  - clickhouse: {table: sold_files, mode: merge, key: [id]}
limits: {chunk_rows: 100, parallelism: 4}
"""
GROUPED = f"""
source:
  files: {{url: "s3://sluice-test/sold/**/*.jsonl.zst", format: jsonl}}
  {FIELDS}
transform:
  - where: country is not null
  - join: {{file: sold-regions.csv, on: country, take: [region], required: true}}
  - aggregate:
      group_by: [region]
      columns: {{sales: count(*), revenue: sum(amount), last: max(sold_at)}}
targets:
  - clickhouse: {{table: sold_grouped, mode: replace}}
"""
PARQUET = """
source:
  files: {url: "s3://sluice-test/sold/p?.parquet", format: parquet}
targets:
  - lake: {path: sold/days, mode: replace, partition_by: sold_at}
"""
API = f"""
interval: 1d
source:
  http:
    connection: shop
    path: {{kind}}
    params: {{{{day: "{{{{date}}}}"}}}}
    headers: {{{{Authorization: "Bearer ${{{{SHOP_TOKEN}}}}"}}}}
    records: data.items
    rate: 50/s
    paging: {{paging}}
  {FIELDS.replace("{", "{{").replace("}", "}}")}
targets:
  - postgres: {{{{table: sold_{{kind}}, mode: append}}}}
"""
PAGINGS = {
    "page": "{page: {param: at, first: 1}}",
    "offset": "{offset: {param: at}}",
    "cursor": "{cursor: {param: at, token: meta.next}}",
    "link": "{link: {}}",
}
KAFKA = """
interval: 1d
source:
  kafka: {topic: etl-sold}
  fields: {id: int64, country: string?, amount: 'decimal(12,2)', sold_at: timestamp(6),
    note: string?, _partition: int32}
transform:
  - rename: {_partition: at}
targets:
  - postgres: {table: sold_topic, mode: append}
"""
INTERVAL = "2026-05-01/2026-05-02"


def json_rows(rows: pl.DataFrame) -> list[str]:
    """Write rows as JSON, decimals as the numbers that they are."""
    texts = []
    for row in rows.iter_rows(named=True):
        amount, sold_at = row.pop("amount"), row.pop("sold_at").isoformat()
        text = json.dumps({**row, "sold_at": sold_at}, ensure_ascii=False)
        texts.append(f'{text[:-1]}, "amount": {amount}}}')
    return texts


@pytest.fixture(scope="module")
def apart(stack: Settings, s3_settings: ObjectStoreSettings) -> Iterator[Sluice]:
    """Give the program with workers of its own, which know an API and a bucket."""
    secrets = (s3_settings.access_key, s3_settings.secret_key)
    access, secret = (one.get_secret_value() if one else "" for one in secrets)
    with serving(json_rows(OF_DAY), f"Bearer {TOKEN}") as address:
        known = {
            "SLUICE_TEMPORAL__NAMESPACE": NAMESPACE,
            "SLUICE_OBJECT_STORE__ENDPOINT": s3_settings.endpoint or "",
            "SLUICE_OBJECT_STORE__ACCESS_KEY": access,
            "SLUICE_OBJECT_STORE__SECRET_KEY": secret,
            "SLUICE_CONNECTIONS__SHOP__KIND": "http",
            "SLUICE_CONNECTIONS__SHOP__DSN": address,
            "SHOP_TOKEN": TOKEN,
        }
        program = Sluice(stack, known)
        asyncio.run(make_namespace(stack, NAMESPACE))
        command = [str(PROGRAM), "worker", "--queues", "etl,etl-compute", "--processes", "1"]
        with subprocess.Popen(  # a pipe that nobody reads would stop them once it is full
            command, env=program.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as workers:
            try:
                asyncio.run(_until_polled(stack))
                yield program
            finally:
                workers.send_signal(signal.SIGTERM)
                workers.wait()


async def _until_polled(settings: Settings) -> None:
    temporal = settings.temporal.model_copy(update={"namespace": NAMESPACE})
    mine = settings.model_copy(update={"temporal": temporal})
    queues = {ETL_QUEUE: WORKFLOW_QUEUE, ETL_COMPUTE_QUEUE: ACTIVITY_QUEUE}
    client = await connect(temporal)
    while True:
        try:
            await check_workers(client, mine, queues)
        except FatalError:
            await asyncio.sleep(0.2)
        else:
            return


async def fill(settings: Settings, bucket: ObjectStoreSettings, folder: Path) -> None:
    """Put the rows where the sources are."""
    (folder / "sold" / "2026-05-01").mkdir(parents=True)
    (folder / "sold-regions.csv").write_text(REGIONS.write_csv())
    store = ObstoreStore("s3://sluice-test/sold", bucket)
    for number, part in enumerate(OF_DAY.iter_slices(80)):
        text = part.write_csv(separator=";", null_value="NA", datetime_format="%+")
        path = folder / "sold" / "2026-05-01" / f"part-{number}.csv.gz"
        path.write_bytes(gzip.compress(text.encode()))
        lines = "".join(f"{row}\n" for row in json_rows(part))
        await store.create(f"of/{number}/x.jsonl.zst", zstd.compress(lines.encode()))
        part.write_parquet(folder / "part.parquet", row_group_size=30)
        await store.create(f"p{number}.parquet", (folder / "part.parquet").read_bytes())
    admin = KafkaAdmin(settings.kafka)
    await admin.create_topic("etl-sold", 3, config={"retention.ms": "-1"})
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers)
    await producer.start()
    for row, text in zip(SOLD.iter_rows(named=True), json_rows(SOLD), strict=True):
        at_ms = round(row["sold_at"].timestamp() * 1000)
        await producer.send("etl-sold", text.encode(), partition=row["id"] % 3, timestamp_ms=at_ms)
    await producer.stop()


@pytest.fixture(scope="module")
def results(
    apart: Sluice, stack: Settings, s3_settings: ObjectStoreSettings
) -> dict[str, dict[str, Any]]:
    """Run every pipeline once, all at once; gives how each ended."""
    texts = {"files": FILES, "grouped": GROUPED, "parquet": PARQUET, "topic": KAFKA}
    texts |= {kind: API.format(kind=kind, paging=text) for kind, text in PAGINGS.items()}
    for name, text in texts.items():
        path = write_etl(apart, f"sold-{name}", text)
    (stack.project_dir / "contracts").mkdir(exist_ok=True)
    (stack.project_dir / "contracts" / "sold.yaml").write_text(CONTRACT)
    (stack.project_dir / "soldshop").mkdir()
    (stack.project_dir / "soldshop" / "scoring.py").write_text(SCORING)
    asyncio.run(fill(stack, s3_settings, path.parent))
    apart.ok("pipelines", "validate", *(f"sold-{name}" for name in texts))
    running = {}
    for name, text in texts.items():
        span = ("--interval", INTERVAL) if "interval: 1d" in text else ()
        command = ("etl", "run", f"sold-{name}", *span, "--wait", "-o", "json")
        running[name] = apart.start(*command)
    ended = {name: (process.communicate(), process.returncode) for name, process in running.items()}
    found = {}
    for name, ((out, err), code) in ended.items():
        assert code == 0, (name, err)
        found[name] = json.loads(out)
        assert found[name]["ledger"]["balanced"]
    return found


def require_seen(settings: Settings, kind: str, table: str, wanted: pl.DataFrame) -> None:
    """Compare what readers see, row for row."""
    found = seen(settings, kind, table)
    schema: Any = dict(wanted.schema)
    by = wanted.columns[0]
    assert_frame_equal(
        found.select(wanted.columns).cast(schema).sort(by), wanted.sort(by), abs_tol=1e-12
    )


def test_files_pass_their_contract_and_gate(
    apart: Sluice, stack: Settings, results: dict[str, dict[str, Any]]
) -> None:
    amount, country = pl.col("amount"), pl.col("country")
    good = OF_DAY.filter(country.is_not_null(), amount >= 1, amount <= Decimal("49.50"))
    assert results["files"]["ledger"]["loaded"] == good.height
    assert results["files"]["ledger"]["quarantined"] == OF_DAY.height - good.height
    wanted = good.join(REGIONS, on="country", how="left").with_columns(
        score=amount.cast(pl.Float64) * 2.0 + (country == "DE").cast(pl.Float64)
    )
    for kind in ("postgres", "clickhouse"):
        require_seen(stack, kind, "sold_files", wanted)
    report = apart.json("quality", "report", "sold-files")
    assert "sold 2.1.0" in {one["contract"] for one in report["checks"]}
    rows = apart.json("quarantine", "show", "sold-files", "--limit", "0")
    assert sorted(int(row["content"]["id"]) for row in rows) == sorted(
        set(OF_DAY["id"]) - set(good["id"])
    )


def test_rows_of_a_bucket_are_grouped_and_joined(
    stack: Settings, results: dict[str, dict[str, Any]]
) -> None:
    kept = OF_DAY.filter(pl.col("country").is_not_null()).join(REGIONS, on="country")
    wanted = kept.group_by("region").agg(
        sales=pl.len().cast(pl.Int64), revenue=pl.col("amount").sum(), last=pl.col("sold_at").max()
    )
    assert results["grouped"]["ledger"]["grouped"] == kept.height - wanted.height
    require_seen(stack, "clickhouse", "sold_grouped", wanted)


def test_parquet_of_a_bucket_keeps_its_types(
    stack: Settings, results: dict[str, dict[str, Any]]
) -> None:
    assert results["parquet"]["ledger"]["loaded"] == OF_DAY.height
    require_seen(stack, "lake", "sold/days", OF_DAY)


@pytest.mark.parametrize("kind", PAGINGS)
def test_every_page_of_an_api_is_loaded_once(
    stack: Settings, results: dict[str, dict[str, Any]], kind: str
) -> None:
    assert results[kind]["ledger"]["loaded"] == OF_DAY.height
    require_seen(stack, "postgres", f"sold_{kind}", OF_DAY)
    states = [status for asked, _, status in Api.asked if asked == kind]
    assert states.count(429) == 1
    assert set(states) == {200, 429}


def test_the_records_of_a_day_of_a_topic_are_loaded(
    stack: Settings, results: dict[str, dict[str, Any]]
) -> None:
    assert results["topic"]["ledger"]["loaded"] == OF_DAY.height < SOLD.height
    wanted = OF_DAY.with_columns(at=(pl.col("id") % 3).cast(pl.Int32))
    require_seen(stack, "postgres", "sold_topic", wanted)
