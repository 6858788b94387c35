"""What must hold for the columns that events are de-duplicated by."""

from typing import Any

from common.near_miss import near_miss
from contracts.document import MISSING, Document
from contracts.field_type import UNGROUPABLE, FieldType
from pipelines.expansion import made_columns


def check_deduplicate(
    document: Document, values: dict[str, Any], known: dict[str, FieldType], broken: set[str]
) -> None:
    """Check that each column is there, of a type with one value for one thing, and named once.

    Args:
        document: Takes the problems.
        values: The file's content.
        known: Fields and derived columns with their types.
        broken: Names of those that have a problem already.
    """
    options = values.get("deduplicate")
    names = options.get("by") if isinstance(options, dict) else None
    if not isinstance(names, list):
        return
    made = made_columns(values) or set()
    for index, name in enumerate(names):
        path = ("deduplicate", "by", index)
        if name is MISSING or name in broken:
            continue
        if name not in known:
            document.report(path, f"no field or derived column `{name}`{near_miss(name, known)}")
        elif name in made:
            document.report(
                path,
                f"expected a column that the record has before `expand`, got `{name}`: records are "
                "compared, and all rows of one count or none does; count elements once with "
                "`count(distinct …)`, or show them once with `identity` in a stream without "
                "`window`",
            )
        elif known[name].base in UNGROUPABLE:
            document.report(
                path, f"expected a type that keys can have, got `{name}` of type `{known[name]}`"
            )
        elif name in names[:index]:
            document.report(path, f"expected each column once, got `{name}` again")
