"""Steps that call a user's own functions.

A function gets one Series for each argument and gives one Series of the same length. It must
compute each row by itself: records are cut into batches in any way, and a batch in which it fails
is halved until the failing rows stand alone.
"""

from dataclasses import dataclass, replace

import polars as pl
from polars.exceptions import ComputeError, PolarsError

from common.errors import UserFunctionError
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from pipelines.expression import ScalarExpression, parse_scalar
from pipelines.transform import PythonCall
from streaming.expression import to_polars
from streaming.field_dtype import polars_type
from streaming.resource import Function, Resources

_OF_THE_CODE = (ImportError, NameError, SyntaxError, NotImplementedError, UserFunctionError)
"""Exceptions that are no matter of a row."""
_INSTANT_BASES = frozenset({"timestamp", "timestamp_ms", "date"})
_EARLIEST, _LATEST = 1901, 2298
"""Years that every sink can hold."""


@dataclass(frozen=True)
class CompiledCall:
    """A call of an own function over columns.

    Attributes:
        parsed: The arguments as typed expressions.
        function: None until it is bound.
    """

    call: PythonCall
    arguments: tuple[pl.Expr, ...]
    reads: frozenset[str]
    type: FieldType
    parsed: tuple[ScalarExpression, ...] = ()
    function: Function | None = None

    @classmethod
    def of(cls, call: PythonCall, types: dict[str, FieldType]) -> "CompiledCall":
        """Compile a call; nothing is imported."""
        parsed = [parse_scalar(text, types) for text in call.args]
        return cls(
            call=call,
            arguments=tuple(to_polars(argument) for argument in parsed),
            reads=frozenset(column for argument in parsed for column in argument.columns),
            type=parse_field_type(call.returns),
            parsed=tuple(parsed),
        )

    def bind(self, resources: Resources) -> "CompiledCall":
        """Give the call its function."""
        return replace(self, function=resources.functions[self.call.python])

    def compute(self, rows: pl.DataFrame) -> pl.Series:
        """Call the function.

        Raises:
            PolarsError: It fails on some row.
            UserFunctionError: It is not what it was declared to be.
        """
        if self.function is None:
            raise UserFunctionError(f"function `{self.call.python}`: expected to be loaded by now")
        named = [value.alias(f"_{place}") for place, value in enumerate(self.arguments)]
        # With the first column, so that a constant has as many rows as there are.
        arguments = rows.select(pl.nth(0).alias("_rows"), *named).get_columns()[1:]
        if rows.is_empty():
            return pl.Series(dtype=polars_type(self.type))
        try:
            result = self.function(*(value.rename("") for value in arguments))
        except _OF_THE_CODE as error:
            raise UserFunctionError(self._failure(error)) from error
        except PolarsError as error:
            raise ComputeError(self._failure(error)) from error
        except Exception as error:  # a user's function may raise anything
            raise ComputeError(self._failure(error)) from error
        return self._checked(result, rows.height)

    def _failure(self, error: Exception) -> str:
        reason = (str(error).splitlines() or [""])[0]
        return f"function `{self.call.python}`: {type(error).__name__}: {reason}"

    def _checked(self, result: object, height: int) -> pl.Series:
        kind = polars_type(self.type)
        wanted = f"function `{self.call.python}`: expected a polars Series of type {kind} "
        if not isinstance(result, pl.Series):
            raise UserFunctionError(
                f"{wanted}(`returns: {self.type}`), got a {type(result).__name__}"
            )
        if result.dtype != kind:
            raise UserFunctionError(
                f"{wanted}(`returns: {self.type}`), got one of type {result.dtype}; "
                "cast it in the function"
            )
        if len(result) != height:
            raise UserFunctionError(
                f"{wanted}with one value for each of {height} rows, got {len(result)} values"
            )
        if not self.type.nullable and result.null_count():
            raise ComputeError(
                f"function `{self.call.python}`: expected a value (`returns: {self.type}`), got "
                f"null; declare `{self.type}?` where null is right"
            )
        self._check_storable(result)
        return result

    def _check_storable(self, result: pl.Series) -> None:
        """Refuse what no sink could store; the decoder does so for fields."""
        kind, values = self.type, result.alias("value")
        if kind.element is not None:
            kind, values = kind.element, values.explode()
        wrong = pl.lit(value=False)
        if kind.base == "string":
            wrong = pl.col("value").str.contains("\0", literal=True)
        elif kind.base in _INSTANT_BASES:
            wrong = ~pl.col("value").dt.year().is_between(_EARLIEST, _LATEST)
        if values.to_frame().select(wrong.any()).item():
            raise ComputeError(
                f"function `{self.call.python}`: expected values that sinks can store, got "
                f"a text with NUL or a time outside the years {_EARLIEST} to {_LATEST}"
            )
