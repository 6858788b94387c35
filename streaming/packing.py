"""Partitions of a state in few bytes, so that a topic of thousands fits a payload.

References to objects stay in clear: a sweep looks for them in histories and saved states.
"""

import base64
import json
import zlib
from typing import Any

PLAIN_PARTITIONS = 256
"""Up to so many partitions a state is written in clear."""

_IN_CLEAR = "seen"
"""The one field of a partition that holds references."""

Values = dict[str, Any]


def pack_partitions(values: Values) -> Values:
    """Write the partitions of a dumped state compressed, if they are many.

    Args:
        values: A state as JSON values.
    """
    partitions: dict[str, Values] = values["partitions"]
    if len(partitions) <= PLAIN_PARTITIONS:
        return values
    clear = {n: {_IN_CLEAR: p[_IN_CLEAR]} for n, p in partitions.items() if p.get(_IN_CLEAR)}
    rest = {
        n: {k: v for k, v in p.items() if k != _IN_CLEAR or n not in clear}
        for n, p in partitions.items()
    }
    text = json.dumps(rest, separators=(",", ":"))
    packed = base64.b64encode(zlib.compress(text.encode(), 6)).decode()
    return {**values, "partitions": clear, "packed": packed}


def unpack_partitions(values: Values) -> Values:
    """Undo `pack_partitions`; a state in clear stays as it is."""
    if "packed" not in values:
        return values
    partitions: dict[str, Values] = json.loads(zlib.decompress(base64.b64decode(values["packed"])))
    for number, clear in values["partitions"].items():
        partitions[number].update(clear)
    return {**{n: v for n, v in values.items() if n != "packed"}, "partitions": partitions}
