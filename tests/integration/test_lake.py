"""The lake's own promises: names, manifests, and that nothing half-written is ever read."""

import hashlib
import io
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from activities.ports import SinkTable
from common.errors import FatalError, ServiceUnavailableError, SettingsError, SinkRefusedError
from common.settings import ObjectStoreSettings
from connectors.lake import LakeSink
from connectors.object_store import ObstoreStore
from tests.conformance.sink_case import TEXT, SinkCase, chunk_of, row, table_of


async def refuse(statement: str) -> None:
    raise AssertionError(statement)


@pytest.fixture
def case(tmp_path: Path) -> SinkCase:
    return SinkCase("lake", LakeSink(tmp_path.as_uri()), refuse)


TABLE = table_of("shop/sales-1m")


async def two_chunks(case: SinkCase, table: SinkTable) -> None:
    for place in (0, 1):
        chunk = chunk_of(table, 7, epoch=2, chunk=place, count=2)
        await case.write(table, chunk, row(place, "a", place))


async def test_files_are_named_from_the_flush_and_listed_in_its_manifest(
    case: SinkCase, tmp_path: Path
) -> None:
    await case.prepare(TABLE)
    await two_chunks(case, TABLE)
    root = tmp_path / "shop/sales-1m"
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert names == [
        "_owner.json",
        "e000002/f0000000007-c000.parquet",
        "e000002/f0000000007-c001.parquet",
        "e000002/manifest/f0000000007.json",
    ]
    manifest = json.loads((root / names[3]).read_text())
    assert (manifest["rows"], manifest["complete"], manifest["version"]) == (2, True, 2 << 40 | 7)
    assert manifest["columns"]["best"] == "float64?"
    for file in manifest["files"]:
        content = (root / file["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
        assert (len(content), 1) == (file["bytes"], file["rows"])
        stored = pq.read_table(io.BytesIO(content))
        assert stored.schema.names[-3:] == ["_key", "_version", "_deleted"]
        assert stored["_version"].to_pylist() == [manifest["version"]]


async def test_a_flush_without_its_last_chunk_is_not_read(case: SinkCase) -> None:
    await case.prepare(TABLE)
    await case.write(TABLE, chunk_of(TABLE, 1), row(1, "a", 5))
    await case.write(TABLE, chunk_of(TABLE, 2, count=2), row(1, "a", 6))
    assert await case.final(TABLE) == [(1, "a", 5)]
    await case.write(TABLE, chunk_of(TABLE, 2, chunk=1, count=2), row(2, "a", 7))
    assert await case.final(TABLE) == [(2, "a", 7), (1, "a", 6)]


async def test_a_manifest_lost_after_the_last_chunk_is_written_by_the_retry(
    case: SinkCase, tmp_path: Path
) -> None:
    await case.prepare(TABLE)
    await two_chunks(case, TABLE)
    shutil.rmtree(tmp_path / "shop/sales-1m/e000002/manifest")
    assert await case.final(TABLE) == []
    await two_chunks(case, TABLE)
    assert await case.final(TABLE) == [(1, "a", 1), (0, "a", 0)]


async def test_a_last_chunk_without_the_first_is_refused(case: SinkCase) -> None:
    await case.prepare(TABLE)
    with pytest.raises(FatalError, match="expected chunk 0 of flush 7, got no object"):
        await case.write(TABLE, chunk_of(TABLE, 7, chunk=1, count=2), row(1, "a", 5))
    assert await case.final(TABLE) == []


async def test_a_damaged_or_missing_file_is_told(case: SinkCase, tmp_path: Path) -> None:
    await case.prepare(TABLE)
    await case.write(TABLE, chunk_of(TABLE, 1), row(1, "a", 5))
    file = tmp_path / "shop/sales-1m/e000001/f0000000001-c000.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(FatalError, match="as its manifest says, got"):
        await case.final(TABLE)
    file.unlink()
    with pytest.raises(FatalError, match="got no object; restore it"):
        await case.final(TABLE)


async def test_a_path_with_other_objects_is_refused(case: SinkCase, tmp_path: Path) -> None:
    (tmp_path / "shop/sales-1m").mkdir(parents=True)
    (tmp_path / "shop/sales-1m/mine.csv").write_text("1")
    with pytest.raises(SinkRefusedError, match="it belongs to somebody else"):
        await case.prepare(TABLE)


async def test_other_columns_are_refused(case: SinkCase) -> None:
    await case.prepare(TABLE)
    with pytest.raises(SinkRefusedError, match="choose another path for the new one"):
        await case.prepare(table_of(TABLE.name, extra={"category": TEXT}))


async def test_epochs_are_told_apart_by_their_versions(case: SinkCase) -> None:
    await case.prepare(TABLE)
    await case.write(TABLE, chunk_of(TABLE, 1, epoch=2), row(1, "a", 6))
    await case.write(TABLE, chunk_of(TABLE, 9, epoch=1), row(1, "a", 5), row(2, "a", 4))
    assert await case.final(TABLE) == [(2, "a", 4), (1, "a", 6)]
    assert (await case.prepare(TABLE)).highest_epoch == 2


async def test_a_bucket_holds_a_lake_too(s3_settings: ObjectStoreSettings) -> None:
    case = SinkCase("lake", LakeSink("s3://sluice-test/lake", s3_settings), refuse)
    with pytest.raises(SinkRefusedError, match="expected to be prepared"):
        await case.write(TABLE, chunk_of(TABLE, 1), row(1, "a", 5))
    await case.prepare(TABLE)
    for _ in range(2):
        await two_chunks(case, TABLE)
    with pytest.raises(FatalError, match="two runs share one epoch"):
        await case.write(TABLE, chunk_of(TABLE, 7, epoch=2, count=2, content="x"), row(0, "a", 9))
    assert await case.final(TABLE) == [(1, "a", 1), (0, "a", 0)]
    with pytest.raises(SinkRefusedError, match="it belongs to somebody else"):
        await case.prepare(table_of(TABLE.name, stream="theirs"))
    assert len(await ObstoreStore("s3://sluice-test/lake", s3_settings).keys(TABLE.name)) == 4


async def test_a_wrong_address_names_its_setting() -> None:
    with pytest.raises(SettingsError, match=r"`lake\.url`: expected `file:///directory`"):
        LakeSink("http://127.0.0.1:1/lake")


async def test_a_bucket_that_is_not_there_is_unavailable() -> None:
    nowhere = ObjectStoreSettings(endpoint="http://127.0.0.1:1")
    with pytest.raises(ServiceUnavailableError, match="object store"):
        await LakeSink("s3://sluice-test/lake", nowhere).prepare(TABLE)
