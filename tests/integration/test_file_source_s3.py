import json
from pathlib import Path

import polars as pl
import pytest

from common.errors import ServiceUnavailableError, SourceRefusedError
from common.settings import ObjectStoreSettings, Settings
from connectors.object_store import ObstoreStore
from pipelines.etl_source import FileSource
from tests.unit.source.source_case import read_all, read_chunk, source_of


@pytest.fixture
def settings(s3_settings: ObjectStoreSettings, tmp_path: Path) -> Settings:
    return Settings(project_dir=tmp_path, data_dir=tmp_path, object_store=s3_settings)


@pytest.fixture
def store(s3_settings: ObjectStoreSettings, tmp_path: Path) -> ObstoreStore:
    return ObstoreStore(f"s3://sluice-test/{tmp_path.name}", s3_settings)


async def test_text_files_of_a_bucket_are_read_by_any_cut(
    store: ObstoreStore, settings: Settings, tmp_path: Path
) -> None:
    rows = [{"n": number, "t": f"é\n{number}" * 3} for number in range(20_000)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    table = pl.DataFrame(rows)
    for name in ("2026/a", "2026/deep/b"):
        await store.create(f"{name}.jsonl", lines)
        await store.create(f"{name}.csv", table.write_csv().encode())
    await store.create("2026/.hidden.csv", b"n,t\n1,x\n")
    for kind in ("csv", "jsonl"):
        url = f"s3://sluice-test/{tmp_path.name}/2026/**/*.{kind}"
        source = FileSource.model_validate({"url": url, "format": kind})
        fields = {"n": "int64", "t": "string"}
        read = await read_all(source_of(tmp_path, source, fields, settings=settings), 3_000)
        assert read.rows == rows + rows
        assert len(read.chunks) >= 8


async def test_parquet_of_a_bucket_is_read_by_row_groups(
    store: ObstoreStore, settings: Settings, tmp_path: Path
) -> None:
    table = pl.DataFrame({"n": range(50_000), "t": [f"text {n}" for n in range(50_000)]})
    table.write_parquet(tmp_path / "x.parquet", row_group_size=10_000)
    await store.create("x.parquet", (tmp_path / "x.parquet").read_bytes())
    url = f"s3://sluice-test/{tmp_path.name}/x.parquet"
    source = source_of(tmp_path, FileSource(url=url, format="parquet"), settings=settings)
    read = await read_all(source, 20_000)
    assert read.rows == table.to_dicts()
    assert [chunk.label for chunk in read.chunks] == [
        "x.parquet 0..2", "x.parquet 2..4", "x.parquet 4..5",
    ]  # fmt: skip


async def test_an_object_that_changed_after_the_plan_is_refused(
    store: ObstoreStore, settings: Settings, tmp_path: Path
) -> None:
    await store.create("x.csv", b"n\n1\n")
    url = f"s3://sluice-test/{tmp_path.name}/x.csv"
    source = source_of(tmp_path, FileSource(url=url, format="csv"), settings=settings)
    read = await read_all(source)
    assert read.rows == [{"n": "1"}]
    await store.delete(["x.csv"])
    with pytest.raises(SourceRefusedError, match="got none; run again"):
        await read_chunk(source, read.shape, read.chunks[0])
    await store.create("x.csv", b"n\n2\n")
    with pytest.raises(SourceRefusedError, match=r"x\.csv`: expected it as it was"):
        await read_chunk(source, read.shape, read.chunks[0])


async def test_nothing_there_is_refused_and_a_server_that_is_away_is_asked_again_later(
    settings: Settings, tmp_path: Path
) -> None:
    for url in ("s3://sluice-test/none/x.csv", "s3://sluice-test/none/*.csv"):
        with pytest.raises(SourceRefusedError, match="got none"):
            await read_all(
                source_of(tmp_path, FileSource(url=url, format="csv"), settings=settings)
            )
    gone = settings.object_store.model_copy(update={"endpoint": "http://127.0.0.1:1"})
    away = settings.model_copy(update={"object_store": gone})
    source = FileSource(url="s3://sluice-test/x.csv", format="csv")
    with pytest.raises(ServiceUnavailableError):
        await read_all(source_of(tmp_path, source, settings=away))
