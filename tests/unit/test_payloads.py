"""What travels through Temporal: bytes, limits, and errors that say whether a retry helps."""

import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload

from common import errors
from common.errors import FatalError, PayloadTooLargeError, RetryableError, non_retryable_types
from common.payloads import Model, Ref, ref_for
from common.payloads_converter import PAYLOAD_LIMIT_BYTES, data_converter
from streaming.segment import Blob, Segment
from workflows import policies

ROOT = Path(__file__).parents[2]


class Parcel(Model):
    """A payload with a small and a big field."""

    label: str = ""
    content: bytes = b""
    parts: list[Blob] = []


def encode(value: object) -> Payload:
    return data_converter().payload_converter.to_payloads([value])[0]


T = TypeVar("T")


def decode(payload: Payload, kind: type[T]) -> T:
    [value] = data_converter().payload_converter.from_payloads([payload], [kind])
    assert isinstance(value, kind)
    return value


@given(content=st.binary(max_size=300), label=st.text(max_size=20))
def test_models_with_bytes_survive_the_data_converter(content: bytes, label: str) -> None:
    blob = Blob(row_count=1, size_bytes=len(content), inline=content)
    parcel = Parcel(label=label, content=content, parts=[blob])
    assert decode(encode(parcel), Parcel) == parcel


def test_bytes_travel_as_base64_with_its_padding() -> None:
    parcel = Parcel(content=bytes(range(256)))
    assert decode(encode(parcel), Parcel).content == bytes(range(256))
    assert b"AAECAwQF" in encode(parcel).data


def test_unknown_fields_are_passed_over_and_missing_ones_get_defaults() -> None:
    payload = encode(Parcel(label="x"))
    payload.data = b'{"label": "y", "later": 1}'
    assert decode(payload, Parcel) == Parcel(label="y")


def test_payload_above_the_limit_is_refused_and_the_field_named() -> None:
    parcel = Parcel(label="a" * 1_000, content=b"x" * PAYLOAD_LIMIT_BYTES)
    with pytest.raises(PayloadTooLargeError) as caught:
        encode(parcel)
    text = str(caught.value)
    assert text.startswith("payload of Parcel: expected at most 1,000,000 bytes, got 1,33")
    assert "most of it in field `content`" in text
    assert text.endswith("pass it by reference")


def test_payload_at_the_limit_passes() -> None:
    empty = len(encode(Parcel()).data)
    at_limit = Parcel(label="a" * (PAYLOAD_LIMIT_BYTES - empty))
    assert len(encode(at_limit).data) == PAYLOAD_LIMIT_BYTES
    with pytest.raises(PayloadTooLargeError, match="`label`"):
        encode(Parcel(label=at_limit.label + "a"))


def test_payload_that_is_no_model_is_refused_as_a_whole() -> None:
    with pytest.raises(PayloadTooLargeError, match="most of it in the value itself"):
        encode("a" * PAYLOAD_LIMIT_BYTES)


def test_reference_is_named_after_its_content() -> None:
    ref = ref_for("streams/s/e000001/range", b"rows")
    assert ref == ref_for("streams/s/e000001/range", b"rows")
    assert ref.key == f"streams/s/e000001/range-{ref.sha256[:16]}.arrow"
    assert ref.size_bytes == 4
    assert ref_for("streams/s/e000001/range", b"other").key != ref.key


def test_segment_by_reference_is_small_whatever_it_refers_to() -> None:
    ref = Ref(key="k" * 100, sha256="0" * 64, size_bytes=10**9)
    blob = Blob(row_count=10**6, size_bytes=10**9, ref=ref)
    segment = Segment(blob=blob, first_pane_ms=0, last_pane_ms=1)
    assert len(encode(segment).data) < 500


# --- final errors --------------------------------------------------------------------------------


def test_final_errors_are_listed_by_class_name_and_others_are_not() -> None:
    named = set(non_retryable_types())
    for name, one in vars(errors).items():
        if isinstance(one, type) and issubclass(one, errors.SluiceError):
            assert (name in named) == issubclass(one, FatalError)
    assert not named & {kind.__name__ for kind in RetryableError.__subclasses__()}


def test_every_policy_of_the_workflows_knows_all_final_errors() -> None:
    found = [one for one in vars(policies).values() if isinstance(one, policies.Policy)]
    assert len(found) >= 4
    for policy in found:
        assert set(policy.retry.non_retryable_error_types or ()) >= {
            name
            for name, one in vars(errors).items()
            if isinstance(one, type) and issubclass(one, FatalError)
        }


def test_final_errors_of_a_workflow_do_not_depend_on_what_else_was_imported() -> None:
    workflow = "import workflows.stream"
    worker = "import workers.queue, workers.wiring, workflows.stream"
    assert final_errors_after(workflow) == final_errors_after(worker)


def final_errors_after(statement: str) -> str:
    code = (
        f"{statement}\nfrom common.errors import non_retryable_types\nprint(non_retryable_types())"
    )
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
