"""Mistakes that are easily made in an ETL file, as `sluice pipelines validate` tells them."""

from pathlib import Path

import pytest

from starter.main import run

FILE = """\
kind: etl
name: orders
interval: 1d
timezone: Europe/Berlin
source:
  files: {url: "in/*.csv", format: csv}
  fields: {id: int64, amount: "decimal(12,2)", country: string?, changed: timestamp(6)}
on_schema_change: evolve
transform:
  - where: amount > 0
  - derive: {year: extract(year from changed)}
gate:
  - {check: range, field: amount, min: 0, max: 10}
targets:
  - clickhouse: {table: orders, mode: merge, key: [id]}
  - lake: {path: orders, mode: append, partition_by: changed}
limits: {chunk_rows: 1000, parallelism: 4}
"""
FILES = 'files: {url: "in/*.csv", format: csv}'
CHECK = "{check: range, field: amount, min: 0, max: 10}"
ONE_OF_TYPES = (
    "expected one of string int32 int64 float64 bool decimal(p,s) timestamp_ms timestamp "
    "timestamp(6) date uuid json list<T>, with `?` behind it where null is allowed"
)
MISTAKES = [
    ("kind: etl", "kind: elt",
     "1:7  kind: expected one of stream, etl, got `elt`; did you mean `etl`?"),
    ("name: orders", "name: order",
     "2:7  name: expected `orders`, the name of its file, got `order`"),
    ("interval: 1d", "interval: 1 day",
     "3:11  interval: expected a duration such as 250ms, 2s, 1m, 1h or 7d, got `1 day`"),
    ("interval: 1d", "interval: 5h",
     "3:11  interval: expected a part of a day that divides it, 1d or 7d (from Monday on), got "
     "`5h`"),
    ("Europe/Berlin", "Europe/Berln",
     "4:11  timezone: expected a time zone such as Europe/Berlin, got `Europe/Berln`; did you mean "
     "`Europe/Berlin`?"),
    ("files: {", "file: {",
     "6:3  source.file: unknown option, expected one of postgres, files, http, kafka; did you mean "
     "`files`?"),
    ('url: "in/*.csv", ', "", "6:10  source.files.url: expected this option, got none"),
    ("in/*.csv", "ftp://in/a.csv",
     "6:16  source.files.url: expected a path, `file:///path` or `s3://bucket/path`, got "
     "`ftp://in/a.csv`"),
    ("format: csv", "format: excel",
     "6:36  source.files.format: expected one of csv, jsonl, parquet, got `excel`"),
    ("format: csv", "format: csv, compression: zip",
     "6:54  source.files.compression: expected one of auto, none, gzip, zstd, got `zip`; did you "
     "mean `gzip`?"),
    ("format: csv", "format: parquet, compression: zstd",
     "6:58  source.files.compression: expected only with csv or jsonl, got format parquet"),
    ("format: csv", "format: jsonl, delimiter: ;",
     "6:54  source.files.delimiter: expected only with csv, got format jsonl"),
    (FILES, "postgres: {table: a, cursr: b}",
     "6:24  source.postgres.cursr: unknown option, expected one of connection, table, query, key, "
     "cursor, consistency, timezone; did you mean `cursor`?"),
    (FILES, "postgres: {query: select 1}",
     "6:13  source.postgres.key: expected the column by which a query is cut into chunks, got "
     "none"),
    (FILES, "http: {connection: api, paging: {cursor: {param: after}}}",
     "6:44  source.http.paging.cursor.token: expected this option, got none"),
    (FILES, "http: {connection: api, rate: 5}",
     "6:33  source.http.rate: expected requests a second such as 5/s, got `5`"),
    (FILES, "kafka: {topic: a, format: avro}",
     "6:29  source.kafka.format: expected `json`, got `avro`"),
    ("id: int64", "id: bigint",
     f"7:16  source.fields.id: field type `bigint`: {ONE_OF_TYPES}; did you mean `int64`?"),
    ("decimal(12,2)", "decimal(12,14)",
     "7:31  source.fields.amount: field type `decimal(12,14)`: expected decimal(p,s) with p of 1 "
     "to 38 and s of 0 to p"),
    ("evolve", "evole",
     "8:19  on_schema_change: expected one of evolve, freeze, discard_row, discard_value, got "
     "`evole`; did you mean `evolve`?"),
    ("where: amount", "where: amout",
     "10:12  transform[0].where: `amout > 0`: no column `amout`; did you mean `amount`?"),
    ("where: amount > 0", "where: amount >",
     "10:12  transform[0].where: `amount >`: expected one SQL expression, got a mistake at `>`: "
     "something is missing beside it"),
    ("where: amount > 0", "where: amount > 'x'",
     "10:12  transform[0].where: `amount > 'x'`: expected values of one type, got `decimal(12,2)` "
     "and `string`; cast one of them"),
    ("where: amount > 0", "where: amount",
     "10:12  transform[0].where: `amount`: expected a condition that is true or false, got a value "
     "of type `decimal(12,2)`"),
    ("where: amount > 0", "filter: amount > 0",
     "10:5  transform[0].filter: unknown option, expected one of where, derive, expand, join, "
     "select, drop, rename, cast, aggregate"),
    ("where: amount > 0", "join: {file: no.csv, on: country, take: [region]}",
     "10:18  transform[0].join.file: reference file `no.csv`: expected a file no.csv, got No such "
     "file or directory; the path is taken from the folder of the pipeline's file"),
    ("where: amount > 0", "join: {file: regions.csv, on: country, take: [regin]}",
     "10:18  transform[0].join.file: reference file `regions.csv`: no column `regin`; did you mean "
     "`region`?"),
    ("where: amount > 0", "join: {file: regions.csv, on: land, take: [region]}",
     "10:35  transform[0].join.on: no field or derived column `land`, expected one of id, amount, "
     "country, changed"),
    ("where: amount > 0", "drop: [amout]",
     "10:12  transform[0].drop[0]: no column `amout` at this step; did you mean `amount`?"),
    ("check: range", "check: rnage",
     "13:13  gate[0].check: expected one of not_null, unique, range, length, pattern, enum, row, "
     "referential, freshness, volume, metric, reconciliation, sql, got `rnage`; did you mean "
     "`range`?"),
    ("field: amount", "field: amout",
     "13:27  gate[0].field: no column `amout` after the steps; did you mean `amount`?"),
    ("min: 0", "min: zero",
     "13:40  gate[0].min: expected a number that decimal(12,2) holds, got `zero`"),
    (CHECK, "{check: volume, min: 1, severity: quarantine}",
     "13:39  gate[0].severity: expected block or warn, as `volume` does not tell which rows to set "
     "aside, got `quarantine`"),
    (CHECK, "{check: pattern, field: country, pattern: '(['}",
     "13:47  gate[0].pattern: expected a pattern in the syntax of Rust's regex, got `([`: unclosed "
     "character class"),
    (", key: [id]", "",
     "15:17  targets[0].clickhouse.key: expected the columns of the key beside `merge`, got none"),
    ("mode: merge", "mode: upsert",
     "15:39  targets[0].clickhouse.mode: expected one of append, replace, merge, insert_only, "
     "scd2, got `upsert`"),
    ("mode: merge", "mode: append",
     "15:52  targets[0].clickhouse.key: expected only with the modes insert_only, merge, scd2, got "
     "mode append"),
    ("key: [id]", "key: [idd]",
     "15:52  targets[0].clickhouse.key[0]: no column `idd` after the steps; did you mean `id`?"),
    ("partition_by: changed", "partition_by: country",
     "16:54  targets[1].lake.partition_by: expected a column of a type among timestamp, "
     "timestamp_ms, date, got `country` of type `string?`"),
    ("path: orders", "path: /orders",
     "16:18  targets[1].lake.path: expected a path of segments of letters, digits and . _ -, at "
     "most 200 long, got `/orders`"),
    ("chunk_rows: 1000", "chunk_rows: 0",
     "17:22  limits.chunk_rows: expected a whole number from 1 to 5,000,000, got `0`"),
    ("interval: 1d", "report: monthly",
     "3:9  report: report `monthly`: expected a file reports/monthly.yaml beside the pipeline's "
     "file, got none; known are daily-sales"),
    ("interval: 1d", "contract: nope",
     "3:11  contract: contract `nope`: expected a file contracts/nope.yaml of the project, or a "
     "name from `sluice contract list`, got neither; known are orders, sales"),
    ("transform:", "transform",
     "10:10  expected YAML, got a mistake: could not find expected ':'"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def pipelines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sluice.toml").write_text("", encoding="utf-8")
    folder = tmp_path / "pipelines"
    folder.mkdir()
    (folder / "regions.csv").write_text("country,region\nDE,north\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return folder


def told(folder: Path, text: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    path = folder / "orders.yaml"
    path.write_text(text, encoding="utf-8")
    assert run(["pipelines", "validate", "orders"]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    *problems, last = found.err.splitlines()
    assert last == f"{len(problems)} problem{'s' if len(problems) > 1 else ''}, nothing started"
    return [problem.removeprefix(f"{path}:").replace(f"{folder}/", "") for problem in problems]


def test_the_file_without_mistake_passes(
    pipelines: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pipelines / "orders.yaml").write_text(FILE, encoding="utf-8")
    assert run(["pipelines", "validate", "orders"]) == 0
    assert capsys.readouterr().out == "1 pipeline ok\n"


@pytest.mark.parametrize(("right", "wrong", "problem"), MISTAKES, ids=[m[1] for m in MISTAKES])
def test_mistake_is_told_once_with_its_place_and_what_to_do(
    pipelines: Path, capsys: pytest.CaptureFixture[str], right: str, wrong: str, problem: str
) -> None:
    # A wrong type took its column away from steps, checks and targets, which complained, too;
    # options of another format were taken and did nothing.
    assert FILE.count(right) >= 1
    assert told(pipelines, FILE.replace(right, wrong, 1), capsys) == [problem]


def test_words_for_an_interval_need_one(
    pipelines: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # They passed, and the run could not begin.
    text = FILE.replace("interval: 1d\n", "")
    found = told(pipelines, text.replace("in/*.csv", "in/{date}.csv"), capsys)
    said = "expected `interval` in the file for `{}`, got none; add it, such as `interval: 1d`"
    assert found == ["5:16  source.files.url: " + said.format("{date}")]
    http = 'http: {connection: api, path: "of/{date}", params: {since: "{start}"}}'
    assert [
        one.partition("  ")[2] for one in told(pipelines, text.replace(FILES, http), capsys)
    ] == [
        "source.http.path: " + said.format("{date}"),
        "source.http.params.since: " + said.format("{start}"),
    ]


def test_a_column_of_a_reserved_name_is_refused_at_the_targets(
    pipelines: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = FILE.replace(FILES, "kafka: {topic: a}").replace(
        "{id: int64", "{_offset: int64, id: int64"
    )
    assert told(pipelines, text, capsys)[0].endswith(
        "targets: expected no columns that begin with `_`, got _offset after the steps; "
        "`rename` or `drop` them"
    )
