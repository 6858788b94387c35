"""Immutable objects in a directory or an S3 bucket, through obstore."""

import asyncio
import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
    UnknownConfigurationKeyError,
)
from obstore.store import LocalStore, S3Store

from common.errors import (
    FatalError,
    ServiceUnavailableError,
    SettingsError,
    StorageFullError,
    UsageError,
)
from common.payloads import Ref, StoredObject, ref_for
from common.settings import ObjectStoreSettings

if TYPE_CHECKING:
    from obstore.store import S3Config

_NO_SPACE = re.compile(r"No space left|os error 28\b|os error 122\b|Disk quota|XMinioStorageFull")
"""Texts of a full disk (ENOSPC), a used-up quota (EDQUOT) and a full MinIO."""


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0]


class ObstoreStore:
    """An `ObjectStore` over `file:///directory` or `s3://bucket/prefix`.

    Every write is atomic: a reader sees the whole object or none, also when the writer is killed (a
    directory gets
    a staged file that is renamed; S3 shows an object when its upload is complete). Keys are paths
    with `/` between
    segments; segments may hold any text but `/`, `.` and `..`.

    Args:
        url: Where the objects lie; a missing directory is created.
        settings: Endpoint, region and keys of an S3-compatible server.
        setting: Name of the setting that the URL comes from, for messages.

    Raises:
        SettingsError: The URL is of another kind, or the directory cannot be made.
    """

    def __init__(
        self,
        url: str,
        settings: ObjectStoreSettings | None = None,
        *,
        setting: str = "object_store.url",
    ) -> None:
        self.url = url
        self._store = _open(url, settings or ObjectStoreSettings(), setting)

    async def put(self, prefix: str, content: bytes, codec: str = "arrow") -> Ref:
        """Store `content` under `<prefix>-<16 hex digits of its hash>.<codec>`; twice is once."""
        ref = ref_for(prefix, content, codec)
        with self._translated(f"storing `{ref.key}`"):
            await obstore.put_async(self._store, ref.key, content)
        return ref

    async def get(self, ref: Ref) -> bytes:
        """Read an object and check its hash; `FatalError` when it is gone or differs."""
        content = await self.read(ref.key)
        if content is None:
            raise self._gone(ref)
        digest = hashlib.sha256(content).hexdigest()
        if digest != ref.sha256:
            raise FatalError(
                f"object `{ref.key}` in {self.url}: expected sha256 {ref.sha256}, got {digest} "
                f"({len(content)} of {ref.size_bytes} bytes); restore it from a copy or rewind "
                "the stream"
            )
        return content

    async def get_range(self, ref: Ref, start: int, stop: int) -> bytes:
        """Read the bytes from `start` up to `stop` of an object; the hash is not checked."""
        try:
            with self._translated(f"reading `{ref.key}`"):
                found = await obstore.get_range_async(self._store, ref.key, start=start, end=stop)
        except FileNotFoundError:
            raise self._gone(ref) from None
        content = bytes(found)
        if len(content) != stop - start:
            raise FatalError(
                f"object `{ref.key}` in {self.url}: expected {ref.size_bytes} bytes, got only "
                f"{start + len(content)}; restore it from a copy or rewind the stream"
            )
        return content

    def _gone(self, ref: Ref) -> FatalError:
        return FatalError(
            f"object `{ref.key}` in {self.url}: expected {ref.size_bytes} bytes, got no object; "
            "it was deleted while still referred to: rewind the stream or restore the store"
        )

    async def create(self, key: str, content: bytes) -> bool:
        """Store `content` under exactly `key` unless the key exists; False when it did."""
        try:
            with self._translated(f"creating `{key}`"):
                await obstore.put_async(self._store, key, content, mode="create")
        except (AlreadyExistsError, PreconditionError):
            return False
        return True

    async def read(self, key: str) -> bytes | None:
        """Read the object stored under `key`; None when there is none."""
        try:
            with self._translated(f"reading `{key}`"):
                result = await obstore.get_async(self._store, key)
                return bytes(await result.bytes_async())
        except FileNotFoundError:
            return None

    async def keys(self, prefix: str) -> list[str]:
        """List the keys below a prefix, sorted; a prefix is whole path segments."""
        return [one.key for one in await self.listing(prefix)]

    async def listing(self, prefix: str) -> list[StoredObject]:
        """List the objects below a prefix, by key; a prefix is whole path segments."""
        found: list[StoredObject] = []
        with self._translated(f"listing `{prefix}`"):
            async for batch in obstore.list(self._store, prefix=prefix.strip("/") or None):
                found.extend(
                    StoredObject(
                        key=str(entry["path"]),
                        size_bytes=entry["size"],
                        modified_ms=int(entry["last_modified"].timestamp() * 1000),
                    )
                    for entry in batch
                )
        return sorted(found, key=lambda one: one.key)

    async def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; a missing one is no error."""
        names = list(keys)
        if not names:
            return
        with self._translated(f"deleting {len(names)} objects"):
            if isinstance(self._store, S3Store):
                await obstore.delete_async(self._store, names)
            else:
                await asyncio.gather(*(self._remove(name) for name in names))

    async def _remove(self, key: str) -> None:
        try:
            await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return

    @contextmanager
    def _translated(self, action: str) -> Iterator[None]:
        """Turn the driver's errors into ours; missing and existing are answers."""
        try:
            yield
        except (AlreadyExistsError, PreconditionError, FileNotFoundError):
            raise
        except (ValueError, InvalidPathError) as error:
            raise UsageError(
                f"{action} in {self.url}: expected a key of path segments, got "
                f"{_first_line(error)}; "
                "remove empty, `.` and `..` segments"
            ) from error
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise SettingsError(
                f"{action} in {self.url}: expected access, got {_first_line(error)}; "
                "check the rights of the directory, or `object_store.access_key` and `secret_key`"
            ) from error
        except (BaseError, OSError) as error:
            if _NO_SPACE.search(str(error)):
                raise StorageFullError(
                    f"{action} in {self.url}: expected free space, got a full disk or quota; "
                    "free some space, it is tried again by itself"
                ) from error
            if "Filenames containing trailing" in str(error):
                raise UsageError(
                    f"{action} in {self.url}: expected a key that does not end in `#` and "
                    "digits; rename it"
                ) from error
            raise ServiceUnavailableError("object store", self.url, _first_line(error)) from error


def _open(url: str, settings: ObjectStoreSettings, setting: str) -> LocalStore | S3Store:
    parts = urlsplit(url)
    try:
        if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
            return LocalStore(Path(unquote(parts.path)), mkdir=True)
        if parts.scheme == "s3" and parts.netloc:
            return open_s3(parts.netloc, parts.path.strip("/"), settings)
    except (BaseError, OSError, ValueError, UnknownConfigurationKeyError) as error:
        raise SettingsError(
            f"object store {url}: expected a place that can be opened, got {_first_line(error)}; "
            f"correct `{setting}`"
        ) from error
    raise SettingsError(
        f"`{setting}`: expected `file:///directory` or `s3://bucket/prefix`, got "
        f"{url!r}; correct it"
    )


def open_s3(bucket: str, prefix: str, settings: ObjectStoreSettings) -> S3Store:
    """Open a part of a bucket; nothing is asked of the server yet."""
    config: S3Config = {"region": settings.region}
    if settings.access_key is not None and settings.secret_key is not None:
        config["access_key_id"] = settings.access_key.get_secret_value()
        config["secret_access_key"] = settings.secret_key.get_secret_value()
    if settings.endpoint:
        config["endpoint"] = settings.endpoint
    return S3Store(
        bucket,
        prefix=prefix or None,
        config=config,
        client_options={
            "allow_http": (settings.endpoint or "").startswith("http:"),
            "connect_timeout": timedelta(seconds=3),
            "timeout": timedelta(seconds=60),
        },
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=10)},
    )
