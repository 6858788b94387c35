"""Column types of the engine, as `contracts.field_dtype` has them."""

from contracts.field_dtype import INSTANT, polars_type

__all__ = ["INSTANT", "polars_type"]
