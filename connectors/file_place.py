"""Places of files: found by a pattern, pinned as they are, and read only as they were pinned."""

import glob
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, cast
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from common.errors import ServiceUnavailableError, SourceRefusedError
from common.payloads import Model
from common.settings import ObjectStoreSettings
from connectors.object_store import open_s3

READ_AHEAD_BYTES = 4 * 1024 * 1024
_WILD = re.compile(r"[*?]")


class PinnedFile(Model):
    """A file as it was when it was found.

    Attributes:
        path: Absolute path, or `s3://bucket/key`.
        size_bytes: Its length.
        version: Changes with its content: time of the last change, or the store's tag.
    """

    path: str
    size_bytes: int
    version: str

    @property
    def name(self) -> str:
        """Last part of the path, for people."""
        return self.path.rpartition("/")[2]


class Place(Protocol):
    """Somewhere files are; raises `SourceRefusedError`, `ServiceUnavailableError`."""

    def find(self) -> list[PinnedFile]:
        """List the files that match, by path."""
        ...

    def open(self, file: PinnedFile) -> BinaryIO:
        """Open a file for reading in any order; refused when it is another one now."""
        ...

    def check(self, file: PinnedFile, opened: BinaryIO) -> None:
        """Refuse a file that was changed while it was read."""
        ...


def open_place(url: str, base_dir: str, settings: ObjectStoreSettings) -> Place:
    """Give the place of a URL: a path from `base_dir`, `file://`, or `s3://bucket/pattern`."""
    if url.startswith("s3://"):
        bucket, _, pattern = url.removeprefix("s3://").partition("/")
        return S3Place(bucket, pattern, settings)
    if "://" not in url:
        return LocalPlace(str(Path(base_dir) / url))
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise SourceRefusedError(
            f"files `{url}`: expected a path, `file:///path` or `s3://bucket/path`; correct the url"
        )
    return LocalPlace(unquote(url.removeprefix("file://").removeprefix("localhost")))


def _changed(file: PinnedFile, got: str) -> SourceRefusedError:
    return SourceRefusedError(
        f"file `{file.path}`: expected it as it was when the run was planned, "
        f"{file.size_bytes:,} bytes of version {file.version}, got {got}; run again"
    )


class LocalPlace:
    """Files of this machine.

    Args:
        pattern: Absolute path; `*`, `**` and `?` match many, but no hidden files.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    def find(self) -> list[PinnedFile]:
        """List the files that match, by path."""
        if _WILD.search(self._pattern):
            wanted = self._pattern.replace("[", "[[]")
            paths = sorted(path for path in glob.glob(wanted, recursive=True))  # noqa: PTH207 (`**` and hidden files as in shells)
        else:
            paths = [self._pattern]
        return [_pinned(path) for path in paths if Path(path).is_file()]

    def open(self, file: PinnedFile) -> BinaryIO:
        """Open a file for reading in any order; refused when it is another one now."""
        try:
            opened = Path(file.path).open("rb")  # noqa: SIM115 (the caller closes it)
        except FileNotFoundError as error:
            raise _changed(file, "none") from error
        except OSError as error:
            raise _unreadable(file.path, error) from error
        try:
            self.check(file, opened)
        except SourceRefusedError:
            opened.close()
            raise
        return opened

    def check(self, file: PinnedFile, opened: BinaryIO) -> None:
        """Refuse a file that was changed while it was read."""
        status = _status(opened)
        if status != (file.size_bytes, file.version):
            raise _changed(file, f"{status[0]:,} bytes of version {status[1]}")


def _status(opened: BinaryIO) -> tuple[int, str]:
    status = os.fstat(opened.fileno())
    return status.st_size, str(status.st_mtime_ns)


def _pinned(path: str) -> PinnedFile:
    try:
        status = Path(path).stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return PinnedFile(path=path, size_bytes=status.st_size, version=str(status.st_mtime_ns))


def _unreadable(path: str, error: OSError) -> SourceRefusedError:
    return SourceRefusedError(
        f"file `{path}`: expected a file that the worker can read, got {error.strerror or error}; "
        "check its rights"
    )


class S3Place:
    """Objects of a bucket.

    Args:
        bucket: Its name.
        pattern: Key; `*`, `**` and `?` match many, but no hidden ones.
        settings: Endpoint, region and keys of the server.
    """

    def __init__(self, bucket: str, pattern: str, settings: ObjectStoreSettings) -> None:
        self._bucket = bucket
        self._pattern = pattern.strip("/")
        self._store: S3Store = open_s3(bucket, "", settings)

    def find(self) -> list[PinnedFile]:
        """List the objects that match, by key."""
        wild = _WILD.search(self._pattern)
        if wild is None:
            try:
                with self._translated(self._pattern):
                    found = [obstore.head(self._store, self._pattern)]
            except FileNotFoundError:
                found = []
        else:
            folder = self._pattern[: wild.start()].rpartition("/")[0]
            wanted = re.compile(_regex(self._pattern))
            with self._translated(folder):
                found = [
                    entry
                    for batch in obstore.list(self._store, prefix=folder or None)
                    for entry in batch
                    if wanted.fullmatch(str(entry["path"]))
                ]
        pinned = [
            PinnedFile(
                path=f"s3://{self._bucket}/{entry['path']}",
                size_bytes=entry["size"],
                version=entry["e_tag"] or entry["last_modified"].isoformat(),
            )
            for entry in found
        ]
        return sorted(pinned, key=lambda file: file.path)

    def open(self, file: PinnedFile) -> BinaryIO:
        """Open an object for reading in any order; refused when it is another one now."""
        opened = io.BufferedReader(_ObjectBytes(self, file), READ_AHEAD_BYTES)
        if file.size_bytes == 0:
            self.read(file, 0, 0)
        return cast("BinaryIO", opened)

    def check(self, file: PinnedFile, opened: BinaryIO) -> None:
        """Do nothing: every answer of the store was checked."""

    def read(self, file: PinnedFile, start: int, stop: int) -> bytes:
        """Read the bytes from `start` up to `stop`."""
        key = file.path.removeprefix(f"s3://{self._bucket}/")
        try:
            with self._translated(key):
                if start >= stop:
                    answer, content = obstore.head(self._store, key), b""
                else:
                    got = obstore.get(self._store, key, options={"range": (start, stop)})
                    answer, content = got.meta, bytes(got.bytes())
        except FileNotFoundError as error:
            raise _changed(file, "none") from error
        version = answer["e_tag"] or answer["last_modified"].isoformat()
        if (answer["size"], version) != (file.size_bytes, file.version):
            raise _changed(file, f"{answer['size']:,} bytes of version {version}")
        return content

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Turn the driver's errors into ours; a missing object is an answer."""
        place = f"s3://{self._bucket}/{key}"
        try:
            yield
        except FileNotFoundError:
            raise
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise SourceRefusedError(
                f"`{place}`: expected access, got {str(error).splitlines()[0]}; check "
                "`object_store.access_key`, `secret_key` and the rights in the bucket"
            ) from error
        except (BaseError, OSError) as error:
            raise ServiceUnavailableError(
                "object store", place, str(error).splitlines()[0]
            ) from error


class _ObjectBytes(io.RawIOBase):
    """An object as a file; every read is a request."""

    def __init__(self, place: S3Place, file: PinnedFile) -> None:
        self._place = place
        self._file = file
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size_bytes}[whence]
        self._at = max(start + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, into: "memoryview") -> int:  # type: ignore[override]  # the buffer that io hands over
        stop = min(self._at + len(into), self._file.size_bytes)
        if stop <= self._at:
            return 0
        content = self._place.read(self._file, self._at, stop)
        into[: len(content)] = content
        self._at += len(content)
        return len(content)


def _regex(pattern: str) -> str:
    """Write a pattern as a regular expression; `**` is any number of folders."""
    segments = pattern.split("/")
    made: list[str] = []
    for place, segment in enumerate(segments):
        last = place == len(segments) - 1
        if segment == "**":
            made.append(r"(?!\.)[^/]+(/(?!\.)[^/]+)*" if last else r"((?!\.)[^/]+/)*")
            continue
        body = re.escape(segment).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
        hidden = r"(?!\.)" if segment[:1] in ("*", "?") else ""
        made.append(hidden + body + ("" if last else "/"))
    return "".join(made)
