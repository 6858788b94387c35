"""The shape of a `kind: etl` file."""

from contracts.shape import NAME_PATTERN, Choice, Duration, Options, Text, Whole
from pipelines.etl import MOST_CHUNK_ROWS, MOST_CHUNKS_AT_ONCE
from pipelines.etl_gate_shape import GATE
from pipelines.etl_source_shape import SOURCE
from pipelines.etl_target_shape import TARGETS
from pipelines.etl_transform_shape import ETL_TRANSFORM

ETL = Options(
    {
        "kind": Choice(("etl",)),
        "name": Text(
            "a name of small letters, digits and - that begins with a letter, at most 63 long",
            NAME_PATTERN,
            "Name of the pipeline",
        ),
        "description": Text(doc="What the pipeline gives, in one sentence"),
        "owner": Text(doc="Who answers for it"),
        "interval": Duration(1, "Length of a data interval, such as 1d"),
        "timezone": Text("a time zone such as Europe/Berlin", doc="Zone of the intervals"),
        "source": SOURCE,
        "contract": Text("the name of a contract", NAME_PATTERN, "Data contract of the rows"),
        "on_schema_change": Choice(
            ("evolve", "freeze", "discard_row", "discard_value"),
            "What happens when the source has other columns than before",
        ),
        "transform": ETL_TRANSFORM,
        "gate": GATE,
        "quality_threshold": Whole(0, 100, "Score below which an alert is raised"),
        "targets": TARGETS,
        "report": Text("the name of a report", NAME_PATTERN, "Report written at the end"),
        "limits": Options(
            {
                "parallelism": Whole(1, MOST_CHUNKS_AT_ONCE, "Chunks in flight"),
                "chunk_rows": Whole(1, MOST_CHUNK_ROWS, "About how many rows a chunk has"),
            }
        ),
    },
    required=("kind", "name", "source", "targets"),
)
