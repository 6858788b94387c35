"""Column types of the engine, as `contracts.field_dtype` has them."""

from contracts.field_dtype import INSTANT, INSTANT_US, polars_type

__all__ = ["INSTANT", "INSTANT_US", "polars_type"]
