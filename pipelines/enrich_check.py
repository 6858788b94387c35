"""What must hold for an `enrich` step: its names, its types and the content of its file."""

from pathlib import Path as FilePath
from typing import Any

from common.errors import PipelineSpecError
from common.near_miss import near_miss
from contracts.document import MISSING, Document
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from contracts.problem import Path
from pipelines.reference_file import build_enrich, check_content
from pipelines.reference_table import KEY_TYPES, TAKEN_TYPES
from pipelines.transform import Enrich

Values = dict[str, Any]


def check_enrich(
    document: Document, path: Path, values: Values, known: dict[str, FieldType]
) -> Enrich | None:
    """Check a look-up and pin it to the content of its file; None when something is wrong."""
    wrong = len(document.problems)
    on, take = values.get("on", MISSING), values.get("take", MISSING)
    if values.get("file", MISSING) is MISSING or not _is_whole(on) or not _is_whole(take):
        return None
    for name in [on] if isinstance(on, str) else on:
        here = (*path, "on") if isinstance(on, str) else (*path, "on", name)
        if name not in known:
            hint = near_miss(name, known) or f", expected one of {', '.join(known)}"
            document.report(here, f"no field or derived column `{name}`{hint}")
        elif known[name].base not in KEY_TYPES:
            document.report(
                here, f"expected a type that keys can have, got `{name}` of type `{known[name]}`"
            )
    if isinstance(take, dict):
        for name, text in take.items():
            if parse_field_type(text).base not in TAKEN_TYPES:
                document.report(
                    (*path, "take", name),
                    f"expected one of {', '.join(TAKEN_TYPES)}, got `{text}`",
                )
    if len(document.problems) > wrong:
        return None
    folder = FilePath(document.file).parent
    try:
        enrich = build_enrich(folder, values)
        check_content(folder, enrich, known)
    except PipelineSpecError as error:
        document.report((*path, "file"), str(error))
        return None
    return enrich


def _is_whole(part: object) -> bool:
    if isinstance(part, dict | list):
        values = part.values() if isinstance(part, dict) else part
        return all(value is not MISSING for value in values)
    return part is not MISSING
