import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import PipelineSpecError, UsageError
from pipelines.load import load_pipeline
from tests.unit.pipelines.stream_file import SALES, write

_MISTAKES = [
    (
        "kind: stream",
        "kind: streem",
        "1:7  kind: expected one of stream, etl, got `streem`; did you mean `stream`?",
    ),
    ("kind: stream\n", "", "1:1  kind: expected one of stream, etl, got none"),
    ("name: sales", "name: Sales", "2:7  name: expected a name of small letters"),
    ("name: sales", "name:", "2:1  name: expected a name of small letters"),
    ("name: sales\n", "", "1:1  name: expected this option, got none"),
    ("name: sales", "nam: sales", "2:1  nam: unknown option, expected one of kind, name"),
    (
        "{topic: sales}",
        "{topic: sales, format: avro}",
        "source.kafka.format: expected `json`, got `avro`",
    ),
    ("{topic: sales}", "sales", "source.kafka: expected options (topic, format), got `sales`"),
    ("topic: sales", "topic: sales/x", "source.kafka.topic: expected a topic name"),
    (
        "category: string",
        "category: strng",
        "8:15  source.fields.category: field type `strng`: expected one of",
    ),
    (
        "category: string",
        "category: string\n    category: int64",
        "9:5  source.fields.category: expected each name once",
    ),
    ("    ts: ", "    a-b: string\n    ts: ", "source.fields.a-b: expected a name of letters"),
    ("    ts: ", "    _key: string\n    ts: ", "source.fields._key: expected a name of your own"),
    (
        "{field: ts}",
        "{field: tss}",
        "11:21  event_time.field: no field `tss` in `source.fields`; did you mean `ts`?",
    ),
    (
        "{field: ts}",
        "{field: amount}",
        "event_time.field: expected a field of type timestamp or timestamp_ms",
    ),
    (
        "{field: ts}",
        "{field: ts, out_of_orderness: 2}",
        "event_time.out_of_orderness: expected a duration",
    ),
    (
        "{field: ts}",
        "{field: ts, idle_timeout: 0s}",
        "event_time.idle_timeout: expected a duration of at least 1ms",
    ),
    (
        "where: amount > 0",
        "where: amount",
        "12:8  where: `amount`: expected a condition that is true or false",
    ),
    ("where: amount > 0", "where: euros > 0", "12:8  where: `euros > 0`: no field `euros`"),
    ("amount * 0.92", "dollars * 0.92", "derive.euros: `dollars * 0.92`: no field `dollars`"),
    ("{euros: ", "{late_one: euros + 1, euros: ", "derive.late_one: `euros + 1`: no field `euros`"),
    ("{euros: ", "{amount: ", "derive.amount: expected a new name"),
    (
        "group_by:",
        "transform: [{expand: {one: category}}]\ngroup_by:",
        "transform[0].expand.one: `category`: expected `unnest(list)`, such as `unnest(items)`",
    ),
    (
        "group_by:",
        "transform: [{expand: {one: unnest(category)}}]\ngroup_by:",
        "14:28  transform[0].expand.one: `unnest(category)`: expected a list in `unnest`, got a "
        "value of type `string`; `string_split(text, ',')` makes one of a text",
    ),
    (
        "group_by:",
        "transform: [{expand: {euros: \"unnest(string_split(category, ','))\"}}]\ngroup_by:",
        "transform[0].expand.euros: expected a new name",
    ),
    (
        "group_by:",
        "transform: [{expand: {one: \"unnest(string_split('a', ','))\"}}]\ngroup_by:",
        "expected a list of a field, got only a constant",
    ),
    (
        "group_by:",
        "transform: [{where: one > 1}, {derive: {one: '1'}}]\ngroup_by:",
        "transform[0].where: `one > 1`: no field `one`",
    ),
    ("group_by:", "transform: [{}]\ngroup_by:", "transform[0]: expected exactly one of where"),
    (
        "derive: {euros: amount * 0.92}",
        "derive: {euros: \"string_split(category, '')\"}",
        "expected a separator of a letter or more",
    ),
    (
        "[category]",
        "[categori]",
        "group_by[0]: no field or derived column `categori`; did you mean `category`?",
    ),
    ("[category]", "[category, category]", "group_by[1]: expected each key once"),
    (
        "[category]",
        "[weight]",
        "group_by[0]: expected a type that keys can have, got `weight` of type `float64?`",
    ),
    ("[category]", "category", "group_by: expected a list, got `category`"),
    ("{tumbling: 1m}", "{tumbling: 0s}", "window.tumbling: expected a duration of at least 1ms"),
    (
        "{tumbling: 1m}",
        "{tumbling: 1m, session: 1m}",
        "window: expected exactly one of tumbling, sliding, session",
    ),
    ("{tumbling: 1m}", "{tumbling: 1m, every: 1s}", "window.every: expected only beside `sliding`"),
    ("{tumbling: 1m}", "{sliding: 1m}", "window.every: expected the distance of window starts"),
    (
        "{tumbling: 1m}",
        "{sliding: 1m, every: 2m}",
        "window.every: expected at most the size 1m, got 2m",
    ),
    (
        "{tumbling: 1m}",
        "{sliding: 1m, every: 7ms}",
        "window.every: expected at most 10,000 panes a window, got 60,000",
    ),
    (
        "{tumbling: 1m}",
        "{tumbling: 1m, offset: no}",
        "window.offset: expected a duration such as 250ms, 2s, 1m, 1h or 7d, got `no`",
    ),
    (
        "{tumbling: 1m}",
        "{tumbling: 1m, offset: 1m}",
        "window.offset: expected less than 1m either way, got 1m",
    ),
    (
        "{tumbling: 1m}",
        "{sliding: 1m, every: 10s, offset: -10s}",
        "window.offset: expected less than 10s either way, got -10s",
    ),
    (
        "{tumbling: 1m}",
        "{tumbling: 1m, offset: --1s}",
        "window.offset: expected a duration such as 250ms, 2s, 1m, 1h or 7d, got `-1s`",
    ),
    (
        "{tumbling: 1m}",
        "{session: 1m, offset: 1s}",
        "window.offset: expected only with tumbling or sliding",
    ),
    (
        "{tumbling: 1m}",
        "{tumbling: 1m, max_length: 1h}",
        "window.max_length: expected only beside `session`",
    ),
    (
        "{tumbling: 1m}",
        "{session: 30m, max_length: 20m}",
        "window.max_length: expected at least the gap 30m, got 20m",
    ),
    ("{tumbling: 1m}", "{session: 1m, every: 1s}", "window.every: expected only beside `sliding`"),
    ("{tumbling: 1m}", "{tumbling: 1d, timezone: Mars}", "window.timezone: expected a time zone"),
    (
        "{tumbling: 1m}",
        "{tumbling: 1d, timezone: Europe/Berln}",
        "got `Europe/Berln`; did you mean `Europe/Berlin`?",
    ),
    ("{tumbling: 1m}", "{tumbling: 1d, timezone: ../zones}", "window.timezone: expected a time"),
    (
        "{tumbling: 1m}",
        "{tumbling: 1h, timezone: Europe/Berlin}",
        "window.timezone: expected only with windows of whole days",
    ),
    (
        "{tumbling: 1m}",
        "{sliding: 2d, every: 1d, timezone: Europe/Berlin}",
        "window.timezone: expected only with `tumbling`: sliding windows have one length",
    ),
    (
        "  revenue:",
        "  category:",
        "aggregate.category: expected a name of its own, got the name of a group key",
    ),
    ("  revenue:", "  window_start:", "aggregate.window_start: expected a name of its own"),
    ("sum(amount)", "amount", "aggregate.revenue: `amount`: expected one aggregate"),
    (
        "aggregate:\n  revenue: sum(amount)\n",
        "",
        "aggregate: expected at least one aggregate beside `window`",
    ),
    ("window: {tumbling: 1m}\n", "", "aggregate: expected only with `window`"),
    (
        "clickhouse:",
        "clickhous:",
        "sinks[0].clickhous: unknown option, expected one of "
        "clickhouse, timescaledb, postgres, kafka, lake",
    ),
    ("table: sales_1m", "table: 'a b'", "sinks[0].clickhouse.table: expected a table name"),
    ("table: sales_1m", "table: t, retention: 1d", "sinks[0].clickhouse.retention: unknown option"),
    (
        "  - click",
        "  - clickhouse: {table: sales_1m}\n  - click",
        "sinks[1].clickhouse.table: expected a table and a view of its own",
    ),
    ("  - clickhouse: {table: sales_1m}", "  []", "sinks: expected at least 1, got 0"),
    (
        "sinks:",
        "limits: {parallelism: 65}\nsinks:",
        "limits.parallelism: expected a whole number from 1 to 64, got `65`",
    ),
    (
        "sinks:",
        "trigger: {max_records: 0}\nsinks:",
        "trigger.max_records: expected a whole number from 1 to 2,000,000, got `0`",
    ),
    ("sinks:", "emit: finl\nsinks:", "emit: expected `final` or {updates: …}, got `finl`"),
    (
        "sinks:",
        "late: {allowd: 1s}\nsinks:",
        "late.allowd: unknown option, expected one of allowed, to; did you mean `allowed`?",
    ),
    (
        "sinks:",
        "deduplicate: {by: [custmer], within: 1h}\nsinks:",
        "deduplicate.by[0]: no field or derived column `custmer`; did you mean `customer`?",
    ),
    (
        "sinks:",
        "deduplicate: {by: [customer, weight], within: 1h}\nsinks:",
        "deduplicate.by[1]: expected a type that keys can have, got `weight` of type `float64?`",
    ),
    (
        "sinks:",
        "deduplicate: {by: [euros, customer, euros], within: 1h}\nsinks:",
        "deduplicate.by[2]: expected each column once, got `euros` again",
    ),
    ("sinks:", "deduplicate: {by: [], within: 1h}\nsinks:", "deduplicate.by: expected "),
    ("sinks:", "deduplicate: {by: [customer]}\nsinks:", "deduplicate.within: expected "),
    (
        "sinks:",
        "deduplicate: {by: [customer], within: 0s}\nsinks:",
        "deduplicate.within: expected a duration",
    ),
    ("sinks:", "late: {to: a b}\nsinks:", "late.to: expected a topic name of letters"),
    ("sinks:", "late: {to: ..}\nsinks:", "late.to: expected a topic name of letters"),
    (
        "sinks:",
        "late: {to: sales}\nsinks:",
        "late.to: expected a topic of its own, got `sales`, which is that of the source",
    ),
    (
        "sinks:",
        "late: {to: sales_dlq}\nsinks:",
        "late.to: expected a topic of its own, got `sales_dlq`, which is that of the dead letters",
    ),
    ("sinks:", "late: {to: [a]}\nsinks:", "late.to: expected a topic name of letters"),
    (
        "sinks:",
        "late: {to: {table: late}}\nsinks:",
        "late.to.table: unknown option, expected one of clickhouse, timescaledb, postgres",
    ),
    ("sinks:", "late: {to: {}}\nsinks:", "late.to: expected exactly one of clickhouse"),
    ("sinks:", "late: {to: {postgres: {}}}\nsinks:", "late.to.postgres.table: "),
    ("group_by: [category]", "group_by: [category", "expected YAML, got a mistake"),
]


@pytest.mark.parametrize(("old", "new", "expected"), _MISTAKES)
def test_mistake_is_told_with_its_place(old: str, new: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(PipelineSpecError, match="1 problem, nothing started") as caught:
        load_pipeline(write(tmp_path, (old, new)))
    first = str(caught.value).splitlines()[0]
    assert re.search(r":\d+:\d+  ", first)
    assert expected in first


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("revenue: sum", "closed_by_clock: sum", "aggregate.closed_by_clock"),
        ("category", "closed_by_clock", r"group_by\[0\]"),
    ],
)
def test_column_that_marks_what_the_clock_closed_is_reserved(
    old: str, new: str, path: str, tmp_path: Path
) -> None:
    load_pipeline(write(tmp_path, (old, new)))
    closes = ("{field: ts}", "{field: ts, close_after: 1m}")
    with pytest.raises(PipelineSpecError, match=rf"  {path}: expected another name"):
        load_pipeline(write(tmp_path, (old, new), closes))


def test_close_after_needs_windows(tmp_path: Path) -> None:
    raw = "group_by: [category]\nwindow: {tumbling: 1m}\naggregate:\n  revenue: sum(amount)\n"
    closes = ("{field: ts}", "{field: ts, close_after: 1m}")
    with pytest.raises(PipelineSpecError, match=r"close_after: expected only with `window`"):
        load_pipeline(write(tmp_path, (raw, ""), closes))


def test_wrong_field_is_reported_once_and_not_where_it_is_used(tmp_path: Path) -> None:
    with pytest.raises(PipelineSpecError, match="1 problem") as caught:
        load_pipeline(write(tmp_path, ("amount: decimal(12,2)", "amount: money")))
    assert "source.fields.amount" in str(caught.value)


def test_view_of_one_sink_is_no_table_of_another(tmp_path: Path) -> None:
    path = write(tmp_path, ("  - click", "  - clickhouse: {table: Sales_1m_final}\n  - click"))
    with pytest.raises(PipelineSpecError, match="`sales_1m` beside `Sales_1m_final`"):
        load_pipeline(path)


def test_file_that_is_found_by_its_name_says_that_name(tmp_path: Path) -> None:
    folder = tmp_path / "pipelines"
    folder.mkdir()
    assert load_pipeline(write(folder)).name == "sales"
    with pytest.raises(
        PipelineSpecError, match="name: expected `sales`, the name of its file, got `other`"
    ):
        load_pipeline(write(folder, ("name: sales", "name: other")))


@settings(max_examples=300, deadline=None)
@given(
    start=st.integers(0, len(SALES)),
    length=st.integers(0, 30),
    text=st.sampled_from(
        [
            "",
            ":",
            "\n",
            "  ",
            "- ",
            "{",
            "]",
            "null",
            "*a",
            "&a ",
            "'",
            "?",
            "!!int ",
            "#",
            "\t",
            "0",
            "%",
        ]
    ),
)
def test_damaged_file_loads_or_is_refused_but_never_breaks(
    start: int, length: int, text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.yaml"
    path.write_text(SALES[:start] + text + SALES[start + length :], encoding="utf-8")
    with suppress(UsageError):
        load_pipeline(path)
