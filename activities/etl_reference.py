"""Values that `referential` checks allow: pinned when a run is opened."""

import io
from collections.abc import Mapping

import polars as pl

from activities.etl_io import PinnedRun
from activities.etl_ports import BatchSource
from activities.etl_prepare import SourceOpener
from batch.chunk import CursorWindow
from batch.row_check import reference_values
from common.errors import FatalError
from common.names import etl_run_prefix
from common.payloads import ObjectStore, Ref
from contracts.field_type import FieldType
from pipelines.etl import Check, EtlSpec
from pipelines.etl_source import PostgresSource

_BLOCK_BYTES = 4 * 1024 * 1024
_CHUNK_ROWS = 1_000_000


async def pin_references(
    spec: EtlSpec, run: int, store: ObjectStore, open_source: SourceOpener
) -> dict[int, Ref]:
    """Store the allowed values of every check that names a table; those of files are stored.

    They are in the folder of the run, and go with it.

    Raises:
        SourceRefusedError: There is no such table or column.
    """
    found: dict[int, Ref] = {}
    for place, check in enumerate(spec.gate):
        reference = check.reference
        if check.check != "referential" or reference is None:
            continue
        if reference.content is not None:
            found[place] = reference.content
            continue
        asked = PostgresSource(
            connection=reference.connection, table=reference.table, key=reference.field
        )
        source = open_source(spec.model_copy(update={"source": asked}), None)
        try:
            values = await _values(source, reference.field)
        finally:
            await source.close()
        buffer = io.BytesIO()
        values.write_parquet(buffer)
        prefix = f"{etl_run_prefix(spec.name, run)}/references/{place}"
        found[place] = await store.put(prefix, buffer.getvalue(), "parquet")
    return found


async def _values(source: BatchSource, field: str) -> pl.DataFrame:
    shape = await source.describe()
    if field not in shape.columns:
        raise FatalError(
            f"reference `{field}`: expected a column of that name, got {', '.join(shape.columns)}; "
            "correct `reference.field`"
        )
    shape = shape.model_copy(update={"columns": {field: shape.columns[field]}})
    window = CursorWindow()
    parts: list[pl.DataFrame] = []
    for chunk in await source.plan(shape, window, _CHUNK_ROWS):
        async for block in source.read(shape, window, chunk, _BLOCK_BYTES):
            rows = pl.from_arrow(block.rows)
            if isinstance(rows, pl.DataFrame):
                parts.append(rows.unique())
    return pl.concat(parts).unique() if parts else pl.DataFrame({field: []})


async def read_references(
    store: ObjectStore, run: PinnedRun, types: Mapping[str, FieldType]
) -> dict[int, pl.Series]:
    """Read the allowed values in the types of the columns that they are allowed in.

    Raises:
        PipelineSpecError: Some value is not of the column's type.
    """
    found: dict[int, pl.Series] = {}
    for place, ref in run.references.items():
        check: Check = run.spec.gate[place]
        reference = check.reference
        if reference is None or check.fields[0] not in types:
            continue
        file = reference.file or f"{reference.table}.parquet"
        content = await store.get(ref)
        found[place] = reference_values(file, content, reference.field, types[check.fields[0]])
    return found
