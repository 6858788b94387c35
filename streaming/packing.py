"""Big values in few bytes: columns of integers, and a state of many partitions.

References to objects stay in clear: a sweep looks for their keys in histories and saved states.
"""

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

PACKED_VERSION = 2
"""Version of a packed state's envelope; the state in it has a version of its own."""

PLAIN_BYTES = 64 * 1024
"""Up to so many bytes a state is written in clear."""

_NONE = -(2**63)
_LEVEL = 6
_REF = {"key", "sha256", "size_bytes", "codec"}
_MARK = "@"
_SAME = "@seen"
"""Stands for what the partition remembers, in a range that is planned for it."""

_PAIRS = ("stale", "passed")
_COUNTS = ("rows_from", "written_to")
"""What came after states had been packed; what no partition has is left out."""

_OFFSETS = ("planned", "end", "until")
"""Written as distances from the cursor, which are small."""

_NUMBERS = ("cursor", *_OFFSETS, "max_event_ms", "silent_since_ms", "cut_ms")

Values = dict[str, Any]
Column = Sequence[int | None]


def pack_columns(columns: Sequence[Column]) -> str:
    """Write columns of 64-bit integers of one length as text without quotes or backslashes.

    The bytes of a column stand by significance, so that those which are all alike cost nothing.
    """
    table = np.array([[_NONE if v is None else v for v in column] for column in columns], "<i8")
    planes = table.view(np.uint8).reshape(*table.shape, 8).transpose(0, 2, 1)
    return _text(planes.tobytes())


def unpack_columns(text: str, count: int) -> list[list[int | None]]:
    """Read `count` columns that `pack_columns` wrote."""
    content = _bytes(text)
    planes = np.frombuffer(content, np.uint8).reshape(count, 8, len(content) // (8 * count))
    table = np.ascontiguousarray(planes.transpose(0, 2, 1)).view("<i8")[:, :, 0]
    return [[None if v == _NONE else v for v in column] for column in table.tolist()]


def pack_state(values: Values) -> Values:
    """Pack a dumped state; only the keys of the objects that it refers to stay in clear.

    Args:
        values: A state as JSON values.
    """
    partitions: dict[str, Values] = values["partitions"]
    seen = {n: p["seen"] for n, p in partitions.items() if p["seen"] is not None}
    rest = {
        **values,
        "partitions": _pack_partitions(list(partitions.values())),
        "numbers": pack_columns([[int(number) for number in partitions]]),
        "seen": seen,
        "planned": [_without_seen(task, seen) for task in values["planned"]],
    }
    keys: dict[str, int] = {}
    text = json.dumps(_refer(rest, keys), separators=(",", ":"))
    return {"version": PACKED_VERSION, "refs": [*keys], "packed": _text(text.encode())}


def unpack_state(values: Values) -> Values:
    """Undo `pack_state`, or what earlier versions did; a state in clear stays as it is."""
    if "packed" not in values:
        return values
    if "refs" not in values:
        return _unpack_earlier(values)
    rest: Values = _follow(json.loads(_bytes(values["packed"])), values["refs"])
    [numbers] = unpack_columns(rest.pop("numbers"), 1)
    seen: dict[str, Values] = rest.pop("seen")
    partitions = dict(
        zip(map(str, numbers), _unpack_partitions(rest["partitions"], len(numbers)), strict=True)
    )
    for number, known in seen.items():
        partitions[number]["seen"] = known
    for task in rest["planned"]:
        if task["seen"] == _SAME:
            task["seen"] = seen[str(task["span"]["partition"])]
    return {**rest, "partitions": partitions}


def _pack_partitions(partitions: list[Values]) -> Values:
    """Write everything of the partitions but what they remember, column by column."""
    columns: list[Column] = [[_near(p, name, -1) for p in partitions] for name in _NUMBERS]
    entries = [entry for p in partitions for entry in p["index"]]
    later = {name: _pack_pairs([p[name] for p in partitions]) for name in _PAIRS}
    counts = {name: [p[name] for p in partitions] for name in _COUNTS}
    return {
        **{name: packed for name, packed in later.items() if packed is not None},
        **{name: pack_columns([column]) for name, column in counts.items() if any(column)},
        "numbers": pack_columns(columns),
        "idle": pack_columns([[int(p["idle"]) for p in partitions]]),
        "lengths": pack_columns([[len(p["index"]) for p in partitions]]),
        "entries": pack_columns([[at for at, _ in entries], [most for _, most in entries]]),
    }


def _pack_pairs(lists: list[list[list[int | None]]]) -> Values | None:
    pairs = [pair for one in lists for pair in one]
    if not pairs:
        return None
    return {
        "lengths": pack_columns([[len(one) for one in lists]]),
        "entries": pack_columns([[one for one, _ in pairs], [other for _, other in pairs]]),
    }


def _unpack_pairs(packed: Values, count: int) -> list[list[tuple[int | None, int | None]]]:
    if not packed:
        return [[] for _ in range(count)]
    [lengths] = unpack_columns(packed["lengths"], 1)
    pairs = iter(zip(*unpack_columns(packed["entries"], 2), strict=True))
    return [[next(pairs) for _ in range(length or 0)] for length in lengths]


def _unpack_partitions(packed: Values, count: int) -> list[Values]:
    columns = unpack_columns(packed["numbers"], len(_NUMBERS))
    [idle] = unpack_columns(packed["idle"], 1)
    [lengths] = unpack_columns(packed["lengths"], 1)
    offsets, maxima = unpack_columns(packed["entries"], 2)
    entries = iter(zip(offsets, maxima, strict=True))
    later: dict[str, list[Any]] = {
        name: _unpack_pairs(packed.get(name, {}), count) for name in _PAIRS
    }
    for name in _COUNTS:
        if name in packed:
            [later[name]] = unpack_columns(packed[name], 1)
    partitions: list[Values] = [
        {
            **{name: column[i] for name, column in later.items()},
            **{name: column[i] for name, column in zip(_NUMBERS, columns, strict=True)},
            "idle": bool(idle[i]),
            "index": [next(entries) for _ in range(lengths[i] or 0)],
        }
        for i in range(count)
    ]
    return [{**p, **{name: _near(p, name, 1) for name in _OFFSETS}} for p in partitions]


def _near(partition: Values, name: str, sign: int) -> int | None:
    """Give a number as a distance from the cursor (`sign` -1), or back, where it is an offset."""
    number: int | None = partition[name]
    if number is None or name not in _OFFSETS:
        return number
    return number + sign * int(partition["cursor"])


def _without_seen(task: Values, seen: dict[str, Values]) -> Values:
    known = seen.get(str(task["span"]["partition"]))
    return {**task, "seen": _SAME} if known is not None and task["seen"] == known else task


def _refer(value: Any, keys: dict[str, int]) -> Any:  # noqa: ANN401 - any JSON value
    """Replace references by numbers of keys; of a hash only what the key does not say is left."""
    if isinstance(value, list):
        return [_refer(one, keys) for one in value]
    if not isinstance(value, dict):
        return value
    if value.keys() != _REF:
        return {name: _refer(one, keys) for name, one in value.items()}
    key, digest, codec = value["key"], value["sha256"], value["codec"]
    told = key.endswith(f"-{digest[:16]}.{codec}")
    number = keys.setdefault(key, len(keys))
    return {_MARK: [number, digest[16:] if told else digest, value["size_bytes"], codec]}


def _follow(value: Any, keys: list[str]) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, list):
        return [_follow(one, keys) for one in value]
    if not isinstance(value, dict):
        return value
    if value.keys() != {_MARK}:
        return {name: _follow(one, keys) for name, one in value.items()}
    number, digest, size_bytes, codec = value[_MARK]
    key = keys[number]
    told = len(digest) == 48
    start = key[-17 - len(codec) : -1 - len(codec)] if told else ""
    return {"key": key, "sha256": start + digest, "size_bytes": size_bytes, "codec": codec}


def _text(content: bytes) -> str:
    return base64.b85encode(zlib.compress(content, _LEVEL)).decode()


def _bytes(text: str) -> bytes:
    return zlib.decompress(base64.b85decode(text))


def _unpack_earlier(values: Values) -> Values:
    """Read partitions that were packed alone, as JSON, with what they remember in clear."""
    partitions: dict[str, Values] = json.loads(zlib.decompress(base64.b64decode(values["packed"])))
    for number, clear in values["partitions"].items():
        partitions[number].update(clear)
    return {**{n: v for n, v in values.items() if n != "packed"}, "partitions": partitions}
