"""Files of reports: found by name beside a pipeline or in the catalog, read and checked."""

from pathlib import Path
from typing import Any

from common.errors import PipelineSpecError, UnknownNameError
from common.near_miss import near_miss
from contracts.document import MISSING, Document, compose, read
from contracts.problem import refuse
from contracts.shape import (
    COLUMN_PATTERN,
    NAME_PATTERN,
    Choice,
    Expression,
    Listing,
    Options,
    Table,
    Text,
    Whole,
)
from pipelines.report import ReportSpec

FOLDER = "reports"
CATALOG_DIR = Path(__file__).parent / "catalog"

_COLUMN = Text("a name of letters, digits and _", COLUMN_PATTERN)
_TITLE = Text("a title", r"^.+$")

REPORT = Options(
    {
        "kind": Choice(("report",)),
        "name": Text("the name of a report", NAME_PATTERN),
        "title": _TITLE,
        "description": Text(doc="What the report shows, in one sentence"),
        "derive": Table(Expression("Row expression"), 0, "New columns, for what follows"),
        "totals": Table(Expression("Aggregate"), 0, "Numbers over all rows"),
        "charts": Listing(
            Options(
                {"title": _TITLE, "over": _COLUMN, "measure": Expression("Aggregate")},
                required=("title", "over", "measure"),
            ),
            0,
            "A bar for each value of a column, in its order",
        ),
        "rankings": Listing(
            Options(
                {
                    "title": _TITLE,
                    "group_by": Listing(_COLUMN, 1),
                    "measures": Table(Expression("Aggregate"), 1, "The first one ranks"),
                    "limit": Whole(1, 1_000, "Lines"),
                },
                required=("title", "group_by", "measures"),
            ),
            0,
            "Groups with the greatest value of a measure",
        ),
    },
    required=("kind", "name", "title"),
)


def report_files(folder: Path) -> dict[str, Path]:
    """List the reports that a pipeline in a folder may name.

    They are in `reports/` beside the pipeline's file, then in the shipped catalog.
    """
    found: dict[str, Path] = {}
    for place in (folder / FOLDER, CATALOG_DIR / FOLDER):
        for path in sorted([*place.glob("*.yaml"), *place.glob("*.yml")]):
            found.setdefault(path.stem, path)
    return found


def load_report(name: str, folder: Path) -> ReportSpec:
    """Read and check the report that a pipeline names.

    Args:
        name: Of the report, and of its file.
        folder: Of the pipeline's file.

    Raises:
        UnknownNameError: There is none.
        PipelineSpecError: With all problems of its file.
    """
    known = report_files(folder)
    if name not in known:
        hint = near_miss(name, known) or f"; known are {', '.join(known) or 'none'}"
        raise UnknownNameError(
            f"report `{name}`: expected a file {FOLDER}/{name}.yaml beside the pipeline's file, "
            f"got none{hint}"
        )
    return read_report(known[name])


def read_report(path: Path) -> ReportSpec:
    """Read and check the file of a report; raises `PipelineSpecError` with all its problems."""
    document = Document(str(path))
    node = compose(path, document, "a report that begins with `kind:` and `name:`")
    values: Any = MISSING if node is None else read(document, node, REPORT)
    if values is not MISSING and values.get("name") not in (path.stem, MISSING):
        document.report(
            ("name",), f"expected `{path.stem}`, the name of its file, got `{values['name']}`"
        )
    refuse(document.problems)
    if values is MISSING:
        raise PipelineSpecError(f"report file {path}: expected a report, got none")
    return ReportSpec.model_validate({name: one for name, one in values.items() if name != "kind"})
