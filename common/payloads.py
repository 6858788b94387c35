"""What travels through Temporal: the model base, references, and the store behind them."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict

INLINE_LIMIT_BYTES = 32 * 1024
"""A stream partial or frozen flush above this many bytes travels by reference."""


class Model(BaseModel):
    """Base of every workflow and activity input and result; bytes travel as base64."""

    model_config = ConfigDict(
        ser_json_bytes="base64", val_json_bytes="base64", extra="ignore", frozen=True
    )


class Ref(Model):
    """A pointer to an immutable object.

    Attributes:
        key: Path below the store's root; contains the hash of the content, so equal keys mean
            equal bytes.
        sha256: Hex digest of the stored bytes.
        size_bytes: Length of the stored bytes.
        codec: Format of the bytes, such as `arrow`.
    """

    key: str
    sha256: str
    size_bytes: int
    codec: str = "arrow"


@dataclass(frozen=True)
class StoredObject:
    """An object as a store lists it; times in milliseconds since the epoch, the store's clock."""

    key: str
    size_bytes: int
    modified_ms: int


class ObjectStore(Protocol):
    """Immutable objects by key.

    Every method raises `RetryableError` when the store is out of reach.
    """

    async def put(self, prefix: str, content: bytes, codec: str = "arrow") -> Ref:
        """Store `content` under `<prefix>-<first 16 hex digits of its hash>.<codec>`.

        Twice is once.
        """
        ...

    async def get(self, ref: Ref) -> bytes:
        """Read an object and check its hash; `FatalError` when it is gone or differs."""
        ...

    async def get_range(self, ref: Ref, start: int, stop: int) -> bytes:
        """Read the bytes from `start` up to `stop` of an object; the hash is not checked.

        `FatalError` when the object is gone or shorter.
        """
        ...

    async def create(self, key: str, content: bytes) -> bool:
        """Store `content` under exactly `key` unless the key exists; False when it did."""
        ...

    async def read(self, key: str) -> bytes | None:
        """Read the object stored under `key`; None when there is none."""
        ...

    async def keys(self, prefix: str) -> list[str]:
        """List the keys below a prefix, sorted."""
        ...

    async def listing(self, prefix: str) -> list[StoredObject]:
        """List the objects below a prefix, by key."""
        ...

    async def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; a missing one is no error."""
        ...


def ref_for(prefix: str, content: bytes, codec: str = "arrow") -> Ref:
    """Name an object by its content: equal bytes under one prefix give the same reference."""
    digest = hashlib.sha256(content).hexdigest()
    return Ref(
        key=f"{prefix}-{digest[:16]}.{codec}", sha256=digest, size_bytes=len(content), codec=codec
    )
