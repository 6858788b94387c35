"""Reference files beside a pipeline's file: read, typed, and checked."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import PipelineSpecError
from common.payloads import Ref, ref_for
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from pipelines.reference_table import MAX_BYTES, column_of, look_up_table, own_type, read_table
from pipelines.transform import Enrich

_URL = r"[A-Za-z][A-Za-z0-9+.-]*://"

PREFIX = "references/content"
"""Where contents are in the object store."""


def read_content(folder: Path, file: str) -> bytes:
    """Read a reference file; `PipelineSpecError` when that is not possible or it is too large."""
    if re.match(_URL, file):
        raise PipelineSpecError(
            f"reference file: expected a path from the folder of the pipeline's file, got the URL "
            f"`{file}`, behind which the content may change; put the file into that folder, and "
            "what it holds is pinned"
        )
    path = folder / file
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise PipelineSpecError(
                f"reference file `{file}`: expected at most {MAX_BYTES // 1024**2} MB, got "
                f"{size / 1024**2:,.0f} MB; keep only the rows and columns that are taken"
            )
        return path.read_bytes()
    except OSError as error:
        raise PipelineSpecError(
            f"reference file `{file}`: expected a file {path.resolve()}, got "
            f"{error.strerror or error}; the path is taken from the folder of the pipeline's file"
        ) from error


def ref_of(file: str, content: bytes) -> Ref:
    """Name a content in the object store."""
    return ref_for(PREFIX, content, file.rpartition(".")[2])


def build_enrich(folder: Path, values: Mapping[str, Any]) -> Enrich:
    """Build a look-up out of a file's values: types filled in, pinned to the content of now.

    Raises:
        PipelineSpecError: The file cannot be read.
    """
    file, on, take = values["file"], values["on"], values["take"]
    content = read_content(folder, file)
    if isinstance(take, list):
        table = read_table(file, content)
        take = {name: str(own_type(file, column_of(file, table, name))) for name in take}
    return Enrich(
        file=file,
        on={on: on} if isinstance(on, str) else on,
        take=take,
        required=values.get("required", "false") == "true",
        content=ref_of(file, content),
    )


def check_content(folder: Path, enrich: Enrich, columns: Mapping[str, FieldType]) -> None:
    """Check that rows can be looked up; raises `PipelineSpecError`."""
    look_up_table(
        enrich.file,
        read_content(folder, enrich.file),
        {theirs: columns[ours] for ours, theirs in enrich.on.items()},
        {name: parse_field_type(text) for name, text in enrich.take.items()},
    )
