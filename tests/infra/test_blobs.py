"""The blob store: whole objects or none, one winner, clear errors."""

import io
import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest

from infra.blobs import SCRATCH, BlobStat, DirectoryStore, open_store
from infra.errors import AlreadyExistsError, FaultError, NotFoundError, SettingError
from infra.settings import S3Settings, Settings, load_settings


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "lake")


def test_an_object_is_read_as_it_was_written(store: DirectoryStore) -> None:
    store.put_if_absent("table/day=1/part.parquet", b"abc")
    assert store.read("table/day=1/part.parquet") == b"abc"
    with store.open("table/day=1/part.parquet") as file:
        file.seek(1)
        assert file.read() == b"bc"
    assert Path(store.uri("table/day=1/part.parquet")).read_bytes() == b"abc"


def test_a_second_put_is_refused_and_changes_nothing(store: DirectoryStore) -> None:
    store.put_if_absent("a/b", b"first")
    with pytest.raises(AlreadyExistsError, match="a/b"):
        store.put_if_absent("a/b", b"second")
    assert store.read("a/b") == b"first"


def _race(root: str, writer: int, wins: "multiprocessing.Queue[tuple[int, int]]") -> None:
    store = DirectoryStore(Path(root))
    for number in range(40):
        try:
            store.put_if_absent(f"race/{number:03d}", bytes([writer]) * 10_000)
            wins.put((number, writer))
        except AlreadyExistsError:
            pass


def test_of_racing_processes_exactly_one_wins_each_name(store: DirectoryStore) -> None:
    context = multiprocessing.get_context("spawn")
    wins: multiprocessing.Queue[tuple[int, int]] = context.Queue()
    processes = [context.Process(target=_race, args=(store.location, writer, wins)) for writer in (1, 2, 3)]
    for process in processes:
        process.start()
    winners = dict(wins.get(timeout=60) for _ in range(40))
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert wins.empty()
    assert sorted(winners) == list(range(40))
    for number, writer in winners.items():
        assert store.read(f"race/{number:03d}") == bytes([writer]) * 10_000


def test_a_reader_never_sees_a_part_of_an_object(store: DirectoryStore) -> None:
    sizes: set[int] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            sizes.update(stat.size_bytes for stat in store.stats("table").values())

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(20):
            store.put_if_absent(f"table/{number}", b"x" * 3_000_000)
            store.replace("table/0", b"x" * 3_000_000)
    finally:
        done.set()
        reader.join()
    assert sizes <= {3_000_000}
    assert not list((Path(store.location) / SCRATCH).iterdir())


def test_a_replaced_object_has_another_etag_even_at_the_same_size(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without a wait for the disk many writes fall into one step of the kernel's clock for files.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    etags = set()
    for number in range(200):
        store.replace("pointer", f"{number:03d}".encode())
        stat = store.stat("pointer")
        assert stat is not None
        assert stat.size_bytes == 3
        etags.add(stat.etag)
    assert len(etags) == 200


def test_a_copy_keeps_the_etag_and_outlives_its_source(store: DirectoryStore) -> None:
    store.put_if_absent("kept", b"one")
    store.replace("current", b"two")
    store.copy("kept", "current")
    store.copy("kept", "current")
    assert store.stat("current") == store.stat("kept")
    store.replace("current", b"three")
    store.delete("current")
    assert store.read("kept") == b"one"


def test_a_copy_if_absent_is_refused_when_the_target_is_there(store: DirectoryStore) -> None:
    store.put_if_absent("from", b"1")
    store.copy_if_absent("from", "folder/to")
    assert store.read("folder/to") == b"1"
    with pytest.raises(AlreadyExistsError, match="folder/to"):
        store.copy_if_absent("from", "folder/to")
    with pytest.raises(NotFoundError, match="nowhere"):
        store.copy_if_absent("nowhere", "other")
    with pytest.raises(NotFoundError, match="nowhere"):
        store.copy("nowhere", "other")


def test_a_file_is_put_once_and_not_shared_with_its_source(store: DirectoryStore, tmp_path: Path) -> None:
    local = tmp_path / "delivery.csv"
    local.write_bytes(b"a,b\n" * 3_000_000)
    store.put_file_if_absent("deliveries/acme/1", local)
    with local.open("r+b") as file:
        file.write(b"x")
    assert store.read("deliveries/acme/1") == b"a,b\n" * 3_000_000
    with pytest.raises(AlreadyExistsError):
        store.put_file_if_absent("deliveries/acme/1", local)
    with pytest.raises(FileNotFoundError):
        store.put_file_if_absent("deliveries/acme/2", tmp_path / "missing")


def test_listings_show_objects_and_folders_but_no_scratch(store: DirectoryStore) -> None:
    for path in ("t/day=2/b", "t/day=1/a", "t/c", "tt/d"):
        store.put_if_absent(path, b"12")
    (Path(store.location) / SCRATCH / "left").write_bytes(b"")
    assert store.list("t") == ["t/c", "t/day=1/a", "t/day=2/b"]
    assert store.list("") == ["t/c", "t/day=1/a", "t/day=2/b", "tt/d"]
    assert store.folders("t") == ["day=1", "day=2"]
    assert store.folders("") == ["t", "tt"]
    assert store.list("none") == []
    assert store.folders("none/at/all") == []
    assert store.stats("t/day=1")["t/day=1/a"] == store.stat("t/day=1/a")


def test_what_is_not_there_is_said_to_be_not_there(store: DirectoryStore) -> None:
    assert store.stat("a") is None
    store.delete("a")
    for verb in (store.read, store.open):
        with pytest.raises(NotFoundError, match="a/b"):
            verb("a/b")


def test_deleting_the_last_object_of_a_folder_leaves_no_folder(store: DirectoryStore) -> None:
    store.put_if_absent("t/day=1/a", b"")
    store.delete("t/day=1/a")
    assert store.folders("t") == []
    store.put_if_absent("t/day=1/a", b"")


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "a/../b", "..", "a//b", "a/", ".scratch/a", "a\nb", "a\\b", "./a"]
)
def test_a_path_that_leads_elsewhere_is_refused(store: DirectoryStore, path: str) -> None:
    for verb in (store.read, store.stat, store.delete):
        with pytest.raises(FaultError, match="path in the lake"):
            verb(path)
    with pytest.raises(FaultError, match="path in the lake"):
        store.put_if_absent(path, b"")


def test_a_lake_below_a_file_is_told_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SettingError, match="HEADRACE_LAKE"):
        DirectoryStore(tmp_path / "file" / "lake").put_if_absent("a", b"")


def test_a_read_only_lake_is_told_with_its_setting(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_if_absent("a", b"")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Tests may run as root, whom no file mode stops.
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(SettingError, match=r"HEADRACE_LAKE.*read and write.*Permission denied"):
        store.put_if_absent("b", b"")


def test_scratch_files_of_a_killed_process_are_removed_after_a_day(tmp_path: Path) -> None:
    scratch = tmp_path / SCRATCH
    scratch.mkdir()
    old, young = scratch / "old", scratch / "young"
    for file in (old, young):
        file.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    DirectoryStore(tmp_path).put_if_absent("a", b"")
    assert not old.exists()
    assert young.exists()


def test_the_setting_decides_where_the_lake_lies(offline_settings: Settings, tmp_path: Path) -> None:
    assert open_store(offline_settings).location == str(offline_settings.home / "lake")
    s3 = open_store(
        load_settings(lake="s3://bucket/some/where", s3=S3Settings(endpoint_url="http://127.0.0.1:1"))
    )
    assert s3.location == "s3://bucket/some/where"
    assert s3.uri("a/b") == "s3://bucket/some/where/a/b"
    for wrong in ("gs://bucket", "s3://"):
        with pytest.raises(SettingError, match="HEADRACE_LAKE"):
            open_store(load_settings(lake=wrong))


def test_half_of_the_credentials_is_a_wrong_setting() -> None:
    with pytest.raises(SettingError, match="HEADRACE_S3__SECRET_KEY"):
        open_store(load_settings(lake="s3://bucket", s3={"access_key": "only"}))


def test_an_empty_stat_is_not_none(store: DirectoryStore) -> None:
    store.put_if_absent("empty", b"")
    assert isinstance(store.stat("empty"), BlobStat)
    with store.open("empty") as file:
        assert isinstance(file, io.BufferedReader)
        assert file.read() == b""
