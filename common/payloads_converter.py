"""How values become payloads: pydantic JSON, bounded in size."""

from collections.abc import Sequence

from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import DataConverter

from common.errors import PayloadTooLargeError
from common.payloads import Model

PAYLOAD_LIMIT_BYTES = 1_000_000
"""A payload above this is refused.

The server's own limit of 2 MB would fail the workflow task for ever.
"""


class BoundedPayloadConverter(PydanticPayloadConverter):
    """Pydantic JSON that refuses a value too big to be in history and names the field to blame."""

    def to_payloads(self, values: Sequence[object]) -> list[Payload]:
        """Encode values; raises `PayloadTooLargeError` above `PAYLOAD_LIMIT_BYTES`."""
        payloads = super().to_payloads(values)
        for value, payload in zip(values, payloads, strict=True):
            if len(payload.data) > PAYLOAD_LIMIT_BYTES:
                raise PayloadTooLargeError(
                    f"payload of {type(value).__name__}: expected at most "
                    f"{PAYLOAD_LIMIT_BYTES:,} bytes, got {len(payload.data):,}, "
                    f"most of it in {_largest_field(value)}; pass it by reference"
                )
        return payloads


def data_converter() -> DataConverter:
    """Give the one converter that workers, starters and replayers share."""
    return DataConverter(payload_converter_class=BoundedPayloadConverter)


def _largest_field(value: object) -> str:
    if not isinstance(value, Model):
        return "the value itself"
    sizes = {name: len(value.model_dump_json(include={name})) for name in type(value).model_fields}
    name = max(sizes, key=lambda field: sizes[field])
    return f"field `{name}` ({sizes[name]:,} bytes)"
