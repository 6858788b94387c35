"""Steps that change rows between decoding and grouping, as a stream's file lists them."""

from common.payloads import Model, Ref
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from pipelines.conversion import nullable


class PythonCall(Model):
    """A call of a user's own function.

    Attributes:
        python: Where the function is, `package.module.function`.
        args: Expressions of the arguments, in order.
        returns: Type of the result.
        code: Hash of the function's package when the file was read.
    """

    python: str
    args: list[str]
    returns: str = "bool?"
    code: str = ""


class Enrich(Model):
    """A look-up in a reference file, pinned to the content that it had when the file was read.

    Attributes:
        file: Path of a `.csv` or `.parquet` file, from the folder of the pipeline's file.
        on: Columns of the rows, each with the column of the file that it is equal to.
        take: Columns of the file that are added, with their types in the file.
        required: Whether a row without a match is a dead letter; else the columns are null.
        content: Name, hash and size of the content in the object store.
    """

    file: str
    on: dict[str, str]
    take: dict[str, str]
    required: bool = False
    content: Ref | None = None


class Step(Model):
    """One step; exactly one of its parts is given.

    Attributes:
        where: Condition of the rows that go on.
        derive: New columns; each may use the earlier ones.
        expand: New columns from `unnest(list)`: one row becomes one for each element.
        enrich: New columns from a reference file.
    """

    where: str | PythonCall | None = None
    derive: dict[str, str | PythonCall] = {}
    expand: dict[str, str] = {}
    enrich: Enrich | None = None


def taken_types(enrich: Enrich) -> dict[str, FieldType]:
    """Type the columns that a look-up adds; null where there is no match, unless it must be."""
    kinds = {name: parse_field_type(text) for name, text in enrich.take.items()}
    return kinds if enrich.required else {n: nullable(kind) for n, kind in kinds.items()}
