"""What a publication executes around the rows: tables, columns, keys and the view of readers."""

from activities.etl_ports import BatchTable
from connectors.postgres_batch_table import (
    Server,
    alterations,
    create_final,
    create_key,
    create_ledger,
    create_slot_index,
    create_target,
    mark_target,
    view_name,
)
from connectors.postgres_table import literal


def whole(table: BatchTable, server: Server) -> bool:
    """Tell whether the staged rows can become the target: it is new, or replaced as a whole.

    The versions of `scd2` have dates of their own, and replicas would look for the table by the
    name that it had when the rows were written.
    """
    if table.mode == "scd2" or server.replicated:
        return False
    replaced = table.mode == "replace" and not table.slot and server.plain
    return server.target is None or replaced


def before_rows(
    table: BatchTable, server: Server, shape: list[str], *, adopted: bool = False
) -> list[str]:
    """List what is executed before the rows come in.

    Args:
        table: The target.
        server: What is there.
        shape: What shapes a new table.
        adopted: The staged rows become the target, so that it is not made.
    """
    statements = [] if server.ledger else [create_ledger(server.schema)]
    if server.target is None:
        return statements if adopted else [*statements, create_target(table, server.schema), *shape]
    widened, added = alterations(table, server.target, server.schema)
    if widened and server.view is not None:
        statements.append(f"DROP VIEW {view_name(table, server.schema)}")
    return [*statements, *widened, *added, *create_slot_index(table, server)]


def after_rows(table: BatchTable, server: Server, *, adopted: bool = False) -> list[str]:
    """List what is executed once the rows are in."""
    statements = []
    if server.target is None or adopted:
        statements += create_key(table, server.schema)
    if server.target is None or adopted or not server.target.comment:
        statements.append(mark_target(table, server.schema))
    view = view_name(table, server.schema)
    query, digest = create_final(table, server.target, server.schema)
    widened = server.target and alterations(table, server.target, server.schema)[0]
    if adopted or widened or server.view != digest:
        statements += [
            f"CREATE OR REPLACE VIEW {view} AS {query}",
            f"COMMENT ON VIEW {view} IS {literal(digest)}",
        ]
    if widened:
        statements += server.grants
    return statements
