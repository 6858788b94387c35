"""Reference files become typed tables, or are refused with the row."""

import datetime as dt
import io
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

import pipelines.reference_file
from common.errors import PipelineSpecError
from contracts.field_type_parse import parse_field_type
from contracts.problem import report
from pipelines.load import check_pipeline
from pipelines.reference_table import look_up_table
from pipelines.stream import StreamSpec
from pipelines.stream_render import render_stream
from tests.unit.pipelines.stream_file import write

CSV = b"code,region,vat,population,since,euro,at\n"
DE = b"DE,Europe,0.19,83,1949-05-23,true,2026-01-02T03:04:05+02:00\n"
US = b"US,,0.0,340,1776-07-04,false,\n"


def table_of(content: bytes, key: str = "string", file: str = "c.csv", **take: str) -> pl.DataFrame:
    kinds = {name: parse_field_type(text) for name, text in take.items()}
    return look_up_table(file, content, {"code": parse_field_type(key)}, kinds)


def test_texts_of_a_csv_file_are_read_by_their_declared_types() -> None:
    table = table_of(
        CSV + DE, region="string", vat="decimal(4,2)", population="int32", since="date",
        euro="bool", at="timestamp",
    )  # fmt: skip
    at = dt.datetime(2026, 1, 2, 1, 4, 5, tzinfo=dt.UTC)
    assert table.rows() == [("DE", "Europe", Decimal("0.19"), 83, dt.date(1949, 5, 23), True, at)]
    assert table["vat"].dtype == pl.Decimal(4, 2)


@pytest.mark.parametrize(
    ("content", "take", "text"),
    [
        (DE + US, {"region": "string"}, "`string` in column `region`, got nothing in row 2"),
        (DE, {"vat": "decimal(4,1)"}, r"`decimal\(4,1\)` in column `vat`, got `0.19` in row 1"),
        (DE, {"vat": "int64"}, "expected `int64` in column `vat`, got `0.19` in row 1"),
        (DE, {"region": "float64"}, "expected `float64` in column `region`, got `Europe`"),
        (DE, {"region": "bool"}, "expected `bool` in column `region`"),
        (DE, {"region": "date"}, "expected `date` in column `region`"),
        (DE, {"since": "timestamp"}, "expected `timestamp` in column `since`"),
        (US, {"since": "date"}, "expected `date` in column `since`, got `1776-07-04`"),
        (DE, {"regio": "string"}, "no column `regio`; did you mean `region`"),
        (DE + US + DE, {"vat": "float64"}, "each key once, got `DE` in 2 rows, the first is row 1"),
        (DE + b",x,0,1,,,\n", {"vat": "float64"}, "column `code`, got nothing in row 2"),
        (DE + b"X,x,0\n" + b"a,b,c,d,e,f,g,h\n", {"vat": "float64"}, "expected CSV with a line of"),
    ],
)
def test_what_is_not_as_declared_is_refused_with_its_row(
    content: bytes, take: dict[str, str], text: str
) -> None:
    with pytest.raises(PipelineSpecError, match=text):
        table_of(CSV + content, **take)


def test_an_empty_field_is_null_where_the_type_allows_it() -> None:
    assert table_of(CSV + US, region="string?").rows() == [("US", None)]


def test_keys_have_the_type_of_what_is_looked_up() -> None:
    assert table_of(b"code,x\n7,a\n08,b\n", "int64", x="string").rows() == [(7, "a"), (8, "b")]
    with pytest.raises(PipelineSpecError, match="each key once, got `7` in 2 rows"):
        table_of(b"code,x\n7,a\n07,b\n", "int64", x="string")


def parquet(**columns: pl.Series) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer)
    return buffer.getvalue()


def test_a_parquet_file_keeps_its_types_and_none_is_narrowed_with_loss() -> None:
    content = parquet(code=pl.Series(["a", "b"]), n=pl.Series([1, 2**40]), f=pl.Series([0.5, 2.0]))
    assert table_of(content, file="c.parquet", n="int64").rows() == [("a", 1), ("b", 2**40)]
    with pytest.raises(PipelineSpecError, match=r"expected `int32` in column `n`, got `1099511"):
        table_of(content, file="c.parquet", n="int32")
    with pytest.raises(PipelineSpecError, match=r"expected `int64` in column `f`, got `0.5`"):
        table_of(content, file="c.parquet", f="int64")
    with pytest.raises(PipelineSpecError, match="expected Parquet, got a mistake"):
        table_of(b"code,x\n", file="c.parquet", x="string")


ENRICH = "transform: [{{enrich: {{file: {file}, on: {on}, take: {take}}}}}]\ngroup_by:"


def checked(
    folder: Path, *, file: str = "c.csv", on: str = "{category: code}", take: str = "[region]"
) -> str:
    (folder / "c.csv").write_bytes(CSV + DE)
    change = ENRICH.format(file=file, on=on, take=take)
    return report(check_pipeline(write(folder, ("group_by:", change)))[1])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"file": "no.csv"},
            "14:29  transform[0].enrich.file: reference file `no.csv`: expected",
        ),
        ({"file": "c.txt"}, "enrich.file: expected a path that ends in .csv or .parquet"),
        ({"on": "{categori: code}"}, "enrich.on.categori: no field or derived column `categori`"),
        ({"on": "{category: cod}"}, "reference file `c.csv`: no column `cod`; did you mean `code`"),
        ({"on": "{weight: code}"}, "expected a type that keys can have, got `weight` of type"),
        ({"take": "[amount]"}, "enrich.take: expected a new name, got one of a field"),
        ({"take": "[nothing]"}, "no column `nothing`"),
        ({"take": "{region: json}"}, "enrich.take.region: expected one of string, int32"),
        ({"take": "{region: int64}"}, "expected `int64` in column `region`, got `Europe` in row 1"),
        ({"take": "[]"}, "enrich.take: expected at least 1, got 0"),
    ],
)
def test_a_wrong_look_up_is_told_with_its_place(
    tmp_path: Path, change: dict[str, str], text: str
) -> None:
    assert text in checked(tmp_path, **change)


def test_a_look_up_is_pinned_to_the_content_of_its_file(tmp_path: Path) -> None:
    assert checked(tmp_path).startswith("0 problems")
    path = tmp_path / "sales.yaml"
    first, _ = check_pipeline(path)
    assert isinstance(first, StreamSpec)
    [step] = first.transform
    assert step.enrich is not None
    assert step.enrich.take == {"region": "string"}
    assert render_stream(first)["transform"] == [
        {"enrich": {"file": "c.csv", "on": {"category": "code"}, "take": {"region": "string"}}}
    ]
    (tmp_path / "c.csv").write_bytes(CSV + DE + DE.replace(b"DE", b"FR"))
    second, _ = check_pipeline(path)
    assert second is not None
    assert second.result_hash() != first.result_hash()


def test_a_file_beyond_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines.reference_file, "MAX_BYTES", 100)
    assert "reference file `c.csv`: expected at most" in checked(tmp_path)
