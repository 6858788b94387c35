"""Sources that change between two runs, and what a dry run says of it, from the command line."""

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Any

import pytest

from common.settings import Settings
from connectors.batch_targets import clickhouse_settings
from connectors.clickhouse_client import ClickHouseConnection
from tests.e2e.command import Sluice
from tests.e2e.etl_project import ask_clickhouse, execute, query, seen, write_etl

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SHADOW = "shadow"
PIPELINE = """
source:
  postgres: {{table: changing_{source}, key: id}}
on_schema_change: {mode}
targets:
  - postgres: {{table: changed_{name}, mode: merge, key: [id]}}
"""
IN_CLICKHOUSE = "  - clickhouse: {table: changed_evolve, mode: merge, key: [id]}\n"
BEFORE = (
    "CREATE TABLE changing_rows (id bigint PRIMARY KEY, old integer, note text)",
    "INSERT INTO changing_rows SELECT n, n, 'note ' || n FROM generate_series(1, 10) n",
    "CREATE TABLE changing_size (id bigint PRIMARY KEY, size integer NOT NULL)",
    "INSERT INTO changing_size SELECT n, n FROM generate_series(1, 10) n",
    "CREATE TABLE changing_kind (id bigint PRIMARY KEY, amount integer)",
    "INSERT INTO changing_kind SELECT n, n FROM generate_series(1, 10) n",
)
AFTER = (
    "ALTER TABLE changing_rows DROP COLUMN old, ADD COLUMN extra numeric(10,2)",
    "UPDATE changing_rows SET extra = id / 4.0 WHERE id > 8",
    "INSERT INTO changing_rows VALUES (11, 'new', 1.5)",
    "ALTER TABLE changing_size ALTER size TYPE bigint",
    "UPDATE changing_size SET size = 5000000000 WHERE id = 10",
    "ALTER TABLE changing_kind ALTER amount TYPE text, ADD COLUMN extra text",
    "UPDATE changing_kind SET amount = 'many' WHERE id = 3",
    "UPDATE changing_kind SET extra = 'more' WHERE id = 4",
    "UPDATE changing_kind SET amount = '50' WHERE id = 5",
)
SOURCES = {
    "evolve": ("rows", "evolve"), "wide": ("size", "evolve"), "freeze": ("rows", "freeze"),
    "row": ("kind", "discard_row"), "value": ("kind", "discard_value"),
}  # fmt: skip
CATALOG = """
SELECT c.relname, c.relkind::text, obj_description(c.oid, 'pg_class') AS comment,
  (SELECT array_agg(format('%s %s %s %s', attname, format_type(atttypid, atttypmod), attnotnull,
     pg_get_expr(d.adbin, d.adrelid)) ORDER BY attnum)
   FROM pg_attribute LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum
   WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) AS columns,
  (SELECT array_agg(regexp_replace(pg_get_indexdef(indexrelid), 'INDEX .* ON', 'INDEX ON'))
   FROM pg_index WHERE indrelid = c.oid) AS indexes,
  CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END AS definition
FROM pg_class c WHERE relnamespace = '{schema}'::regnamespace AND relkind IN ('r', 'v')
  AND relname ~ '^changed_' ORDER BY 1
"""


def all_at_once(sluice: Sluice, names: Sequence[str], *options: str) -> dict[str, Any]:
    """Run pipelines; gives the answer of each, or the message of one that failed."""
    running = {
        name: sluice.start("etl", "run", f"changing-{name}", *options, "-o", "json")
        for name in names
    }
    found = {}
    for name, process in running.items():
        out, err = process.communicate()
        assert "Traceback" not in err, err
        assert (process.returncode == 0) == bool(out), (name, err)
        found[name] = json.loads(out) if process.returncode == 0 else err
    return found


def do_in_shadow(settings: Settings, said: dict[str, Any]) -> None:
    """Execute what a dry run said in another schema, and in another database."""
    for name, target in said["targets"].items():
        if name.startswith("postgres"):
            statements = [text.replace('"public"', f'"{SHADOW}"') for text in target["statements"]]
            execute(settings, *statements)
        else:
            asyncio.run(_do_in_clickhouse(settings, target["statements"]))


async def _do_in_clickhouse(settings: Settings, statements: list[str]) -> None:
    shadow = clickhouse_settings(None, settings).model_copy(update={"database": SHADOW})
    connection = ClickHouseConnection(shadow)
    for statement in statements:
        await (await connection.client()).command(statement)
    await connection.close()


def require_same_catalogs(settings: Settings) -> None:
    """Compare what was said with what was done."""
    mine, said = (query(settings, CATALOG.format(schema=schema)) for schema in ("public", SHADOW))
    text = json.dumps(said).replace(f"{SHADOW}.", "").replace(f'"{SHADOW}".', "")
    kept = [row for row in mine if row["relname"] in {one["relname"] for one in said}]
    assert json.loads(json.dumps(kept).replace("public.", "")) == json.loads(text)
    tables = [
        [re.sub(rf"\b({SHADOW}|default)\.", "", str(made)) for (made,) in ask_clickhouse(
            settings,
            f"SELECT create_table_query FROM system.tables WHERE database = '{database}' "
            "AND name LIKE 'changed_%' ORDER BY name",
        )]
        for database in ("default", SHADOW)
    ]  # fmt: skip
    assert tables[0] == tables[1] != []


def rows(settings: Settings, name: str) -> dict[int, dict[str, Any]]:
    found = seen(settings, "postgres", f"changed_{name}").to_dicts()
    return {row["id"]: row for row in found}


def test_a_source_that_changes_is_told_before_and_taken_by_the_mode(
    sluice: Sluice, stack: Settings
) -> None:
    execute(stack, *BEFORE, f"CREATE SCHEMA {SHADOW}")
    ask = f"CREATE DATABASE {SHADOW}"
    asyncio.run(_do_in_default(stack, ask))
    for name, (source, mode) in SOURCES.items():
        text = PIPELINE.format(source=source, mode=mode, name=name)
        write_etl(sluice, f"changing-{name}", text + (IN_CLICKHOUSE if name == "evolve" else ""))
    said = all_at_once(sluice, ["evolve", "wide"], "--dry-run")
    for dry in said.values():
        assert dry["schema_changes"] == []
        do_in_shadow(stack, dry)
    first = all_at_once(sluice, list(SOURCES), "--wait")
    assert {name: one["ledger"]["loaded"] for name, one in first.items()} == dict.fromkeys(
        SOURCES, 10
    )
    require_same_catalogs(stack)

    execute(stack, *AFTER)
    frozen = query(stack, "SELECT ctid, xmin, * FROM changed_freeze ORDER BY id")
    said = all_at_once(sluice, list(SOURCES), "--dry-run")
    assert said["evolve"]["schema_changes"] == [
        "new column `extra` of type decimal(10,2)?", "column `old` is gone",
    ]  # fmt: skip
    assert said["wide"]["schema_changes"] == ["column `size` is int64 instead of int32"]
    assert said["row"]["schema_changes"] == said["value"]["schema_changes"] == [
        "new column `extra` of type string?", "column `amount` is string? instead of int32?",
    ]  # fmt: skip
    for name in ("row", "value"):
        assert said[name]["targets"][f"postgres:changed_{name}"]["statements"] == []
    for name in ("evolve", "wide"):
        do_in_shadow(stack, said[name])
    second = all_at_once(sluice, list(SOURCES), "--wait")
    require_same_catalogs(stack)
    for name in ("evolve", "wide", "row", "value"):
        assert second[name]["changes"] == said[name]["schema_changes"]

    for told in (said["freeze"], second["freeze"]):
        assert "expected the columns of the last run (`on_schema_change: freeze`), got new" in told
        assert "take them into the file, or choose another mode" in told
    assert query(stack, "SELECT ctid, xmin, * FROM changed_freeze ORDER BY id") == frozen

    for kind in ("postgres", "clickhouse"):
        found = seen(stack, kind, "changed_evolve").sort("id")
        assert found["note"].to_list() == [f"note {n}" for n in range(1, 11)] + ["new"]
        assert [str(value) for value in found["extra"]] == ["None"] * 8 + ["2.25", "2.50", "1.50"]
        assert found["old"].to_list() == [None] * 11
    assert rows(stack, "wide")[10]["size"] == 5_000_000_000

    left = rows(stack, "row")
    assert {n: row["amount"] for n, row in left.items()} == {**{n: n for n in range(1, 11)}, 5: 50}
    assert (second["row"]["ledger"]["loaded"], second["row"]["ledger"]["quarantined"]) == (8, 2)
    shown = sluice.json("quarantine", "show", "changing-row")
    assert {(row["check"], row["field"], int(row["content"]["id"])) for row in shown} == {
        ("schema", "amount", 3), ("schema", "extra", 4),
    }  # fmt: skip
    held = rows(stack, "value")
    assert {n: row["amount"] for n, row in held.items()} == {
        **{n: n for n in range(1, 11)}, 3: None, 5: 50,
    }  # fmt: skip
    assert set(held[1]) == {"id", "amount"} == set(left[1])


async def _do_in_default(settings: Settings, statement: str) -> None:
    connection = ClickHouseConnection(clickhouse_settings(None, settings))
    await (await connection.client()).command(statement)
    await connection.close()
