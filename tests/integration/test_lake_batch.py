"""The lake as a target of batches: where its files lie, and who may still publish."""

import dataclasses
import datetime as dt
from pathlib import Path

import pytest

from activities.etl_ports import BatchTable
from activities.ports import SinkColumn
from common.errors import FatalError, SinkRefusedError
from common.settings import ObjectStoreSettings
from connectors.lake_batch import LakeBatchTarget
from connectors.object_store import ObstoreStore
from contracts.field_type_parse import parse_field_type
from tests.conformance.batch_case import Row, laid_out, once

COLUMNS = {"id": "int64", "changed": "timestamp(6)?"}
ROWS: list[Row] = [
    {"id": 1, "changed": dt.datetime(2026, 5, 1, 23, 59, 59, 999_999, tzinfo=dt.UTC)},
    {"id": 2, "changed": dt.datetime(2026, 5, 2, tzinfo=dt.UTC)},
    {"id": 3, "changed": None},
    {"id": 4, "changed": dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC)},
]
TABLE = BatchTable(
    pipeline="orders",
    slot="2026-05-01",
    run=7,
    run_id="orders/7",
    name="shop/orders",
    columns=tuple(SinkColumn(name, parse_field_type(kind)) for name, kind in COLUMNS.items()),
    mode="merge",
    key=("id",),
    partition_by="changed",
)


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.fixture
def target(tmp_path: Path) -> LakeBatchTarget:
    return LakeBatchTarget(ObstoreStore(tmp_path.as_uri()))


async def staged(target: LakeBatchTarget) -> None:
    await target.open(TABLE)
    assert await target.stage(TABLE, 0, "first", once(laid_out(TABLE, ROWS))) == len(ROWS)


async def test_files_lie_by_the_day_in_utc_and_one_manifest_names_them(
    target: LakeBatchTarget, tmp_path: Path
) -> None:
    await staged(target)
    await target.publish(TABLE, {0: "first"})
    await target.discard(TABLE)
    found = files(tmp_path / "shop/orders")
    days = [name.split("/")[0] for name in found]
    assert days == ["1969-12-31", "2026-05-01", "2026-05-02", "_manifest", "no-day"]
    assert found[0].startswith("1969-12-31/r0000000007-c000000-")
    assert (await target.final_rows("shop/orders")).to_pylist() == ROWS


async def test_a_run_that_was_killed_while_publishing_is_given_up_by_cleaning(
    target: LakeBatchTarget, tmp_path: Path
) -> None:
    class Slow(ObstoreStore):
        """Cleans up before the manifest is made, as if the publisher had slept."""

        async def create(self, key: str, content: bytes) -> bool:
            if "_manifest" in key:
                await target.discard(TABLE)
            return await super().create(key, content)

    await staged(target)
    with pytest.raises(SinkRefusedError, match="cleaned up"):
        await LakeBatchTarget(Slow(tmp_path.as_uri())).publish(TABLE, {0: "first"})
    assert files(tmp_path / "shop/orders") == ["_manifest/0000000001.json"]
    with pytest.raises(SinkRefusedError, match="expected a manifest"):
        await target.final_rows("shop/orders")
    assert (await target.preflight(TABLE)).statements != []


async def test_two_runs_that_publish_at_once_are_both_there(
    target: LakeBatchTarget, tmp_path: Path
) -> None:
    other = dataclasses.replace(TABLE, slot="2026-05-02", run=8, run_id="orders/8")

    class Overtaken(ObstoreStore):
        """Lets the other run publish before its own manifest is made."""

        async def create(self, key: str, content: bytes) -> bool:
            if key.endswith("0000000001.json"):
                await target.publish(other, {0: "second"})
            return await super().create(key, content)

    await staged(target)
    await target.open(other)
    moved = [{**ROWS[0], "id": 9}]
    await target.stage(other, 0, "second", once(laid_out(other, moved)))
    await LakeBatchTarget(Overtaken(tmp_path.as_uri())).publish(TABLE, {0: "first"})
    found = (await target.final_rows("shop/orders"))["id"].to_pylist()
    assert found == [1, 2, 3, 4, 9]


async def test_a_published_file_that_was_changed_is_not_read(
    target: LakeBatchTarget, tmp_path: Path
) -> None:
    await staged(target)
    await target.publish(TABLE, {0: "first"})
    name = next(name for name in files(tmp_path / "shop/orders") if name.endswith("parquet"))
    (tmp_path / "shop/orders" / name).write_bytes(b"other")
    with pytest.raises(FatalError, match="sha256"):
        await target.final_rows("shop/orders")


async def test_a_path_that_holds_other_objects_is_refused(
    target: LakeBatchTarget, tmp_path: Path
) -> None:
    (tmp_path / "shop/orders").mkdir(parents=True)
    (tmp_path / "shop/orders/_owner.json").write_text("{}")
    with pytest.raises(SinkRefusedError, match="somebody else"):
        await target.preflight(TABLE)


async def test_a_bucket_holds_batches_too(s3_settings: ObjectStoreSettings) -> None:
    store = ObstoreStore("s3://sluice-test/batches", s3_settings)
    target = LakeBatchTarget(store)
    await staged(target)
    await target.publish(TABLE, {0: "first"})
    await target.publish(TABLE, {0: "first"})
    await target.discard(TABLE)
    published = await store.listing(TABLE.name)
    assert len(published) == 5
    older = dataclasses.replace(TABLE, slot="2026-05-02", run=8, run_id="orders/8")
    newer = dataclasses.replace(older, run=9, run_id="orders/9")
    await target.open(older)
    await target.stage(older, 0, "old", once(laid_out(older, ROWS[:1])))
    await target.open(newer)
    with pytest.raises(SinkRefusedError, match="staging"):
        await target.publish(older, {0: "old"})
    await target.stage(newer, 0, "new", once(laid_out(newer, ROWS[1:2])))
    await target.discard(newer)
    assert [one.key for one in await store.listing(TABLE.name)] == [one.key for one in published]
    assert (await target.final_rows(TABLE.name)).to_pylist() == ROWS
