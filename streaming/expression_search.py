"""Functions that look into texts and lists, compiled to polars."""

from collections.abc import Callable

import polars as pl

from pipelines.operation import Operation


def _list_contains(_node: Operation, parts: list[pl.Expr]) -> pl.Expr:
    values, wanted = parts
    # A null is in no list, and asking for it gives null.
    held = values.list.contains(wanted, nulls_equal=False)
    return pl.when(values.is_not_null() & wanted.is_not_null()).then(held)


SEARCH_COMPILERS: dict[str, Callable[[Operation, list[pl.Expr]], pl.Expr]] = {
    "string_split": lambda node, parts: parts[0].str.split(str(node.constant)),
    "contains": lambda _, parts: parts[0].str.contains(parts[1], literal=True),
    "starts_with": lambda _, parts: parts[0].str.starts_with(parts[1]),
    "ends_with": lambda _, parts: parts[0].str.ends_with(parts[1]),
    "replace": lambda node, parts: parts[0].str.replace_all(
        str(node.arguments[1].constant), str(node.arguments[2].constant), literal=True
    ),
    "list_length": lambda _, parts: parts[0].list.len().cast(pl.Int64),
    "list_contains": _list_contains,
    "element": lambda node, parts: parts[0].list.get(int(str(node.constant)), null_on_oob=True),
}
