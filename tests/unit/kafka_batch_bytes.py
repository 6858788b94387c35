"""Record batches written in plain Python from the format's description, to judge the kernels by."""

import gzip
import struct
from dataclasses import dataclass, field

import cramjam
from aiokafka.record.util import calc_crc32c

COMPRESSION = {"none": 0, "gzip": 1, "snappy": 2, "snappy-raw": 2, "lz4": 3, "zstd": 4}


@dataclass(frozen=True)
class Record:
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)


def varint(value: int) -> bytes:
    raw = (value << 1) ^ (value >> 63)
    out = bytearray()
    while raw >= 0x80:
        out.append(raw & 0x7F | 0x80)
        raw >>= 7
    out.append(raw)
    return bytes(out)


def sized(content: bytes | None) -> bytes:
    return varint(-1) if content is None else varint(len(content)) + content


def record_bytes(record: Record, base_offset: int, base_timestamp: int) -> bytes:
    body = b"\x00" + varint(record.timestamp_ms - base_timestamp)
    body += varint(record.offset - base_offset) + sized(record.key) + sized(record.value)
    body += varint(len(record.headers))
    for name, value in record.headers:
        body += sized(name.encode()) + sized(value)
    return varint(len(body)) + body


def compress(section: bytes, compression: str) -> bytes:
    match compression:
        case "gzip":
            return gzip.compress(section)
        case "snappy":
            parts = [section[at : at + 50] for at in range(0, len(section), 50)]
            blocks = [bytes(cramjam.snappy.compress_raw(part)) for part in parts]
            framed = b"".join(struct.pack(">i", len(block)) + block for block in blocks)
            return b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1) + framed
        case "snappy-raw":
            return bytes(cramjam.snappy.compress_raw(section))
        case "lz4":
            return bytes(cramjam.lz4.compress(section))
        case "zstd":
            return bytes(cramjam.zstd.compress(section))
        case _:
            return section


def batch_bytes(
    records: list[Record],
    *,
    compression: str = "none",
    base_offset: int | None = None,
    last_offset: int | None = None,
    attributes: int = 0,
    producer_id: int = -1,
    max_timestamp_ms: int | None = None,
) -> bytes:
    """Write one batch; `base_offset` and `last_offset` leave gaps, as compaction does."""
    base = records[0].offset if base_offset is None else base_offset
    last = records[-1].offset if last_offset is None else last_offset
    base_timestamp = records[0].timestamp_ms if records else 0
    newest = max((record.timestamp_ms for record in records), default=0)
    section = b"".join(record_bytes(record, base, base_timestamp) for record in records)
    body = struct.pack(
        ">hiqqqhii",
        attributes | COMPRESSION[compression],
        last - base,
        base_timestamp,
        newest if max_timestamp_ms is None else max_timestamp_ms,
        producer_id,
        0,
        -1,
        len(records),
    ) + compress(section, compression)
    checksum = calc_crc32c(body)
    return struct.pack(">qiibI", base, len(body) + 9, -1, 2, checksum) + body


def marker_bytes(offset: int, producer_id: int, *, commit: bool) -> bytes:
    """Write the control batch that ends a transaction."""
    key = struct.pack(">hh", 0, 1 if commit else 0)
    record = Record(offset, 0, key, struct.pack(">hi", 0, 0))
    return batch_bytes([record], attributes=0x30, producer_id=producer_id)
