"""The blob store over S3's protocol: the same promises, and errors that name the setting."""

import threading
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from infra.blobs import BlobStore, open_store
from infra.errors import AlreadyExistsError, CommitUnknownError, NotFoundError, SettingError, UnavailableError
from infra.s3_blobs import S3Store
from tests.fronts.s3 import s3_front
from tests.running import free_port
from tests.s3 import BUCKET, SECRET, S3Server


@pytest.fixture
def store(s3_server: S3Server) -> BlobStore:
    """A lake below a prefix of its own."""
    return open_store(s3_server.settings())


def test_an_object_is_read_as_it_was_written(s3_server: S3Server) -> None:
    store = open_store(s3_server.settings(prefix="some/where"))
    assert isinstance(store, S3Store)
    store.put_if_absent("table/day=1/part.parquet", b"abcdef")
    assert s3_server.files().cat(f"{BUCKET}/some/where/table/day=1/part.parquet") == b"abcdef"
    assert store.read("table/day=1/part.parquet") == b"abcdef"
    with store.open("table/day=1/part.parquet") as file:
        file.seek(-4, 2)
        assert file.read(2) == b"cd"
        file.seek(1)
        assert file.read() == b"bcdef"


def test_a_bucket_that_is_not_there_is_made_once(s3_server: S3Server) -> None:
    store = open_store(s3_server.settings(bucket="not-there-yet", prefix="lake"))
    with pytest.raises(SettingError, match="does not exist; `headrace lake make` makes it"):
        store.put_if_absent("a/b", b"first")
    store.make()
    store.put_if_absent("a/b", b"first")
    store.make()
    assert store.read("a/b") == b"first"


def test_a_second_put_is_refused_and_changes_nothing(store: BlobStore) -> None:
    store.put_if_absent("a/b", b"first")
    with pytest.raises(AlreadyExistsError, match="a/b"):
        store.put_if_absent("a/b", b"second")
    assert store.read("a/b") == b"first"


def test_of_racing_writers_exactly_one_wins(store: BlobStore) -> None:
    outcomes: list[str] = []

    def write(number: int) -> None:
        try:
            store.put_if_absent("race", bytes([number]))
            outcomes.append("won")
        except AlreadyExistsError:
            outcomes.append("lost")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost", "lost", "lost", "won"]


def test_a_big_file_goes_in_parts_and_only_once(
    store: BlobStore, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s3fs.core.calculate_chunksize", lambda size, chunksize=None: 5 * 2**20)
    local = tmp_path / "big.csv"
    local.write_bytes(bytes(range(256)) * 50_000)
    store.put_file_if_absent("deliveries/acme/1", local)
    assert store.read("deliveries/acme/1") == local.read_bytes()
    with pytest.raises(AlreadyExistsError):
        store.put_file_if_absent("deliveries/acme/1", local)
    assert not s3_server.files().call_s3("list_multipart_uploads", Bucket=BUCKET).get("Uploads")
    with pytest.raises(FileNotFoundError):
        store.put_file_if_absent("deliveries/acme/2", tmp_path / "missing")


def test_objects_are_replaced_copied_and_deleted(store: BlobStore) -> None:
    store.replace("current", b"one")
    store.replace("current", b"two")
    store.copy("current", "kept")
    assert store.stat("kept") == store.stat("current")
    store.copy_if_absent("kept", "again")
    assert store.read("again") == b"two"
    with pytest.raises(AlreadyExistsError):
        store.copy_if_absent("kept", "again")
    store.delete("kept")
    store.delete("kept")
    assert store.stat("kept") is None
    for verb in (store.copy, store.copy_if_absent):
        with pytest.raises(NotFoundError):
            verb("kept", "other")


def test_listings_go_over_pages_and_not_into_other_prefixes(store: BlobStore) -> None:
    paths = [f"t/day={number}/part" for number in range(7)] + ["t/top", "t_old/x"]
    for path in paths:
        store.put_if_absent(path, b"12")
    assert store.list("t") == paths[:8]
    assert store.list("") == paths
    assert store.folders("t") == [f"day={number}" for number in range(7)]
    assert store.folders("") == ["t", "t_old"]
    assert store.list("none") == []
    assert store.folders("none") == []
    assert store.stats("t/day=1") == {"t/day=1/part": store.stat("t/day=1/part")}
    store.delete("t/top")
    assert "t/top" not in store.list("t")


def test_what_is_not_there_is_said_to_be_not_there(store: BlobStore) -> None:
    assert store.stat("a") is None
    for verb in (store.read, store.open):
        with pytest.raises(NotFoundError, match="no object a"):
            verb("a")


def test_a_conflict_of_conditional_writes_is_tried_again_a_few_times(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.s3_blobs.time.sleep", lambda seconds: None)
    with s3_front(s3_server) as front:
        store = open_store(S3Server(front.url).settings())
        front.conflicts = 2
        store.put_if_absent("a", b"1")
        assert store.read("a") == b"1"
        front.conflicts = 99
        with pytest.raises(CommitUnknownError, match="other writers"):
            store.put_if_absent("b", b"1")


def test_refused_credentials_and_missing_buckets_name_their_settings(s3_server: S3Server) -> None:
    stranger, nowhere = (
        open_store(s3_server.settings(**wrong)) for wrong in ({"key": "wrong"}, {"bucket": "nobucket"})
    )
    acts: list[Callable[[BlobStore], object]] = [
        lambda store: store.read("a"),
        lambda store: store.put_if_absent("a", b""),
        lambda store: store.list("a"),
    ]
    for act in acts:
        with pytest.raises(SettingError, match=r"HEADRACE_S3__ACCESS_KEY.*refuses") as caught:
            act(stranger)
        assert SECRET not in str(caught.value)
    for act in acts[1:]:
        with pytest.raises(SettingError, match=r"HEADRACE_LAKE.*bucket"):
            act(nowhere)


def test_a_server_that_is_not_there_is_told_with_its_setting() -> None:
    store = open_store(S3Server(f"http://127.0.0.1:{free_port()}").settings())
    with pytest.raises(UnavailableError, match="HEADRACE_S3__ENDPOINT_URL"):
        store.read("a")
    with pytest.raises(CommitUnknownError, match="HEADRACE_S3__ENDPOINT_URL"):
        store.put_if_absent("a", b"")


def test_polars_scans_the_store_by_uri_and_options(store: BlobStore, tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [1, 2, 3]})
    frame.write_parquet(tmp_path / "x.parquet")
    store.put_file_if_absent("t/x.parquet", tmp_path / "x.parquet")
    rows = pl.scan_parquet(store.uri("t/x.parquet"), storage_options=store.storage_options, glob=False)
    assert rows.collect().equals(frame)
