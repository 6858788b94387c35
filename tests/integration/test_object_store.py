import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from common.errors import FatalError, ServiceUnavailableError, SettingsError, UsageError
from common.payloads import ref_for
from common.settings import ObjectStoreSettings
from connectors.object_store import ObstoreStore

_WRITER = """
import asyncio, sys
from connectors.object_store import ObstoreStore

async def main() -> None:
    store = ObstoreStore(sys.argv[1])
    print("ready", flush=True)
    number = 0
    while True:
        await store.put("kill/object", bytes([number % 251]) * 8_000_000)
        number += 1

asyncio.run(main())
"""


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObstoreStore:
    if request.param == "file":
        return ObstoreStore(f"{(tmp_path / 'not yet there').as_uri()}")
    settings = request.getfixturevalue("s3_settings")
    return ObstoreStore(f"s3://sluice-test/{tmp_path.name}", settings)


async def test_put_stores_once_under_the_hash_of_the_content(store: ObstoreStore) -> None:
    content = os.urandom(600_000)
    first = await store.put("streams/shop ü/e000001/partial", content)
    second = await store.put("streams/shop ü/e000001/partial", content)
    assert first == second == ref_for("streams/shop ü/e000001/partial", content)
    assert await store.get(first) == content
    assert await store.keys("streams") == [first.key]


async def test_an_object_above_the_multipart_size_comes_back_whole(store: ObstoreStore) -> None:
    content = os.urandom(12_000_001)
    assert await store.get(await store.put("big/one", content, codec="bin")) == content
    assert await store.create("big/two", content)
    assert await store.read("big/two") == content


async def test_create_refuses_an_existing_key(store: ObstoreStore) -> None:
    assert await store.create("records/epoch-1", b"mine")
    assert not await store.create("records/epoch-1", b"theirs")
    assert await store.read("records/epoch-1") == b"mine"


async def test_an_empty_object_is_an_object(store: ObstoreStore) -> None:
    ref = await store.put("empty/one", b"")
    assert await store.get(ref) == b""


async def test_read_gives_none_for_a_missing_key(store: ObstoreStore) -> None:
    assert await store.read("nothing/here") is None


async def test_get_of_a_missing_object_is_fatal(store: ObstoreStore) -> None:
    with pytest.raises(FatalError, match="got no object"):
        await store.get(ref_for("gone/partial", b"abc"))


async def test_get_of_a_changed_object_is_fatal(store: ObstoreStore) -> None:
    ref = ref_for("changed/partial", b"abc")
    assert await store.create(ref.key, b"abd")
    with pytest.raises(FatalError, match="expected sha256"):
        await store.get(ref)


async def test_keys_are_sorted_and_keep_to_whole_segments(store: ObstoreStore) -> None:
    for key in ("a/b/2", "a/b/1", "a/bc/1", "a/b/c/d"):
        assert await store.create(key, b"x")
    assert await store.keys("a/b") == ["a/b/1", "a/b/2", "a/b/c/d"]
    assert await store.keys("a/b/") == ["a/b/1", "a/b/2", "a/b/c/d"]
    assert await store.keys("nothing") == []


async def test_delete_removes_and_does_not_mind_a_missing_key(store: ObstoreStore) -> None:
    for key in ("d/1", "d/2", "d/3"):
        assert await store.create(key, b"x")
    await store.delete(["d/0", "d/1", "d/2"])
    await store.delete([])
    assert await store.keys("d") == ["d/3"]


async def test_a_key_that_climbs_is_refused(store: ObstoreStore) -> None:
    with pytest.raises(UsageError, match="path segments"):
        await store.create("a/../../b", b"x")


def test_a_killed_writer_leaves_no_half_object(tmp_path: Path) -> None:
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, tmp_path.as_uri()], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        while not list(tmp_path.glob("kill/*.arrow")):
            assert process.poll() is None
        process.kill()
        process.wait()
        process.stdout.close()
        for path in tmp_path.glob("kill/*.arrow"):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            assert path.name == f"object-{digest[:16]}.arrow"
            path.unlink()


async def test_a_store_out_of_reach_is_unavailable() -> None:
    settings = ObjectStoreSettings(
        endpoint="http://127.0.0.1:1",
        access_key=SecretStr("a"),
        secret_key=SecretStr("b"),
    )
    with pytest.raises(ServiceUnavailableError, match="object store"):
        await ObstoreStore("s3://sluice-test/x", settings).put("a/b", b"x")


@pytest.mark.parametrize(
    "url", ["ftp://host/x", "s3://", "file://", "/plain/path", "file://host/x"]
)
def test_another_kind_of_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"object_store\.url"):
        ObstoreStore(url)


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingsError, match="expected a place that can be opened"):
        ObstoreStore((tmp_path / "file" / "below").as_uri())
