"""The embedded broker's own choices."""

import uuid

from devstack.kafka import new_cluster_id


def test_a_cluster_id_never_begins_like_an_option() -> None:
    """One start in 64 failed: the format tool took the id for an option."""
    drawn = iter([uuid.UUID(bytes=b"\xf8" + bytes(15)), uuid.UUID(bytes=b"\x00" * 16)])
    assert new_cluster_id(lambda: next(drawn)) == "A" * 22
