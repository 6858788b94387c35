"""Functions that look into texts and lists: how long, what they hold, one element."""

from collections.abc import Callable

from sqlglot import exp

from common.errors import PipelineSpecError
from contracts.field_type import FieldType
from pipelines.conversion import BOOL, INT64, STRING, UNORDERED, convert, family, is_null, nullable
from pipelines.operation import Operation, OperationName

Read = Callable[[exp.Expr], Operation]

SEARCH_WORDS = (
    "len", "contains", "starts_with", "ends_with", "replace", "string_split", "list_contains",
)  # fmt: skip


def _text(node: exp.Expr, operand: exp.Expr, read: Read) -> Operation:
    value = read(operand)
    if value.type.base != "string" or is_null(value):
        raise PipelineSpecError(
            f"`{node.sql('duckdb')}`: expected a string, got `{value.type}`; cast it to varchar"
        )
    return value


def _written(node: exp.Expr, operand: exp.Expr, what: str, *, empty: bool = False) -> str:
    if not isinstance(operand, exp.Literal) or not operand.is_string:
        raise PipelineSpecError(f"`{node.sql('duckdb')}`: expected {what} written out, such as ','")
    if not operand.this and not empty:
        raise PipelineSpecError(f"`{node.sql('duckdb')}`: expected {what} of a letter or more")
    return str(operand.this)


def _length(node: exp.Expr, read: Read) -> Operation:
    value = read(node.this)
    if value.type.base == "list":
        kind = nullable(INT64, when=value.type.nullable)
        return Operation("list_length", kind, (value,))
    if value.type.base != "string":
        raise PipelineSpecError(
            f"`{node.sql('duckdb')}`: expected a string or a list, got `{value.type}`"
        )
    return Operation("length", nullable(INT64, when=value.type.nullable), (value,))


def _test(name: OperationName) -> Callable[[exp.Expr, Read], Operation]:
    def build(node: exp.Expr, read: Read) -> Operation:
        parts = (_text(node, node.this, read), _text(node, node.expression, read))
        missing = any(part.type.nullable for part in parts)
        return Operation(name, nullable(BOOL, when=missing), parts)

    return build


def _contains(node: exp.Expr, read: Read) -> Operation:
    if read(node.this).type.base == "list":
        return _list_contains(node, read)
    return _test("contains")(node, read)


def _replace(node: exp.Expr, read: Read) -> Operation:
    value = _text(node, node.this, read)
    old = _written(node, node.expression, "a text to replace")
    new = _written(node, node.args["replacement"], "a replacement", empty=True)
    texts = tuple(Operation("literal", STRING, constant=text) for text in (old, new))
    return Operation("replace", value.type, (value, *texts))


def _split(node: exp.Expr, read: Read) -> Operation:
    value = _text(node, node.this, read)
    separator = _written(node, node.expression, "a separator")
    kind = nullable(FieldType("list", element=STRING), when=value.type.nullable)
    return Operation("string_split", kind, (value,), separator)


def _list(node: exp.Expr, read: Read) -> tuple[Operation, FieldType]:
    value = read(node.this)
    if value.type.base != "list" or value.type.element is None:
        raise PipelineSpecError(f"`{node.sql('duckdb')}`: expected a list, got `{value.type}`")
    return value, value.type.element


def _list_contains(node: exp.Expr, read: Read) -> Operation:
    value, element = _list(node, read)
    wanted = read(node.expression)
    if element.base in UNORDERED | {"float64"} or family(element) != family(wanted.type):
        raise PipelineSpecError(
            f"`{node.sql('duckdb')}`: expected a value of the list's type `{element}`, not a "
            f"float64, json or list, got `{wanted.type}`"
        )
    same = convert(wanted, element)
    if same.name == "cast":
        raise PipelineSpecError(
            f"`{node.sql('duckdb')}`: expected a value of type `{element}`, got `{wanted.type}`; "
            "cast it"
        )
    missing = value.type.nullable or same.type.nullable
    return Operation("list_contains", nullable(BOOL, when=missing), (value, same))


def _element(node: exp.Expr, read: Read) -> Operation:
    value, element = _list(node, read)
    place = node.expressions[0] if len(node.expressions) == 1 else None
    # The parser counts from 0.
    if not isinstance(place, exp.Literal) or place.is_string or not place.name.isdigit():
        raise PipelineSpecError(
            f"`{node.sql('duckdb')}`: expected a written place of 1 or more, such as `items[1]`"
        )
    return Operation("element", nullable(element), (value,), int(place.name))


SEARCHES: dict[type[exp.Expr], Callable[[exp.Expr, Read], Operation]] = {
    exp.Length: _length,
    exp.Contains: _contains,
    exp.StartsWith: _test("starts_with"),
    exp.EndsWith: _test("ends_with"),
    exp.Replace: _replace,
    exp.Split: _split,
    exp.ArrayContains: _list_contains,
    exp.Bracket: _element,
}
