"""What Headrace relies on in a blob store, whichever it is: each promise here holds in a directory and on S3.

S3 is SeaweedFS, or MinIO with `--on-minio`.
"""

import multiprocessing
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.blobs import BlobStore, open_store
from infra.errors import AlreadyExistsError, FaultError, NotFoundError
from infra.settings import Settings, load_settings, settings_environment
from tests.s3 import S3Server

PART_BYTES = 5 * 2**20
"""The smallest part that S3 takes; s3fs itself sends fifty of them in one."""


@pytest.fixture(params=["directory", "s3"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of an empty lake."""
    if request.param == "directory":
        return load_settings(lake=str(tmp_path / "lake"))
    server: S3Server = request.getfixturevalue("s3_server")
    return server.settings()


@pytest.fixture
def store(settings: Settings) -> BlobStore:
    return open_store(settings)


@pytest.fixture
def big_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that goes to S3 in three parts, the last one smaller."""
    monkeypatch.setattr("s3fs.core.calculate_chunksize", lambda size, chunksize=None: PART_BYTES)
    local = tmp_path / "big.csv"
    local.write_bytes(bytes(range(256)) * 50_000)
    assert 2 * PART_BYTES < local.stat().st_size < 3 * PART_BYTES
    return local


def outcomes_of(count: int, write: Callable[[int], None]) -> list[str]:
    """How so many writers at once fared, sorted."""
    found: list[str] = []
    begin = threading.Barrier(count)

    def run(number: int) -> None:
        begin.wait()
        try:
            write(number)
            found.append("won")
        except AlreadyExistsError:
            found.append("lost")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(found)


def test_an_object_is_read_as_it_was_written(store: BlobStore) -> None:
    store.put_if_absent("table/day=1/part.parquet", b"abcdef")
    assert store.read("table/day=1/part.parquet") == b"abcdef"
    with store.open("table/day=1/part.parquet") as file:
        file.seek(-4, 2)
        assert file.read(2) == b"cd"
        file.seek(1)
        assert file.read() == b"bcdef"


def test_an_empty_object_is_an_object(store: BlobStore) -> None:
    store.put_if_absent("empty", b"")
    stat = store.stat("empty")
    assert stat is not None
    assert stat.size_bytes == 0
    with store.open("empty") as file:
        assert file.read() == b""


def test_a_second_put_is_refused_and_changes_nothing(store: BlobStore) -> None:
    store.put_if_absent("a/b", b"first")
    with pytest.raises(AlreadyExistsError, match="a/b"):
        store.put_if_absent("a/b", b"second")
    assert store.read("a/b") == b"first"


def _race(
    environment: dict[str, str], writer: int, wins: "multiprocessing.Queue[tuple[int, int]]", names: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        store = open_store(load_settings())
    for number in range(names):
        try:
            store.put_if_absent(f"race/{number:03d}", bytes([writer]) * 10_000)
            wins.put((number, writer))
        except AlreadyExistsError:
            pass


def test_of_racing_processes_exactly_one_wins_each_name(settings: Settings, store: BlobStore) -> None:
    context = multiprocessing.get_context("spawn")
    wins: multiprocessing.Queue[tuple[int, int]] = context.Queue()
    arguments = [(settings_environment(settings), writer, wins, 30) for writer in (1, 2, 3)]
    processes = [context.Process(target=_race, args=given) for given in arguments]
    for process in processes:
        process.start()
    winners = dict(wins.get(timeout=90) for _ in range(30))
    for process in processes:
        process.join(90)
        assert process.exitcode == 0
    assert wins.empty()
    assert sorted(winners) == list(range(30))
    for number, writer in winners.items():
        assert store.read(f"race/{number:03d}") == bytes([writer]) * 10_000


def test_of_writers_at_once_exactly_one_wins(store: BlobStore) -> None:
    found = outcomes_of(4, lambda number: store.put_if_absent("race", bytes([number])))
    assert found == ["lost", "lost", "lost", "won"]


def test_a_large_file_that_two_write_at_once_is_whole(store: BlobStore, big_file: Path) -> None:
    found = outcomes_of(2, lambda _: store.put_file_if_absent("deliveries/acme/1", big_file))
    assert "won" in found
    assert store.read("deliveries/acme/1") == big_file.read_bytes()


def test_a_large_file_is_put_once_and_not_shared_with_its_source(store: BlobStore, big_file: Path) -> None:
    written = big_file.read_bytes()
    store.put_file_if_absent("deliveries/acme/1", big_file)
    with big_file.open("r+b") as file:
        file.write(b"x")
    assert store.read("deliveries/acme/1") == written
    with pytest.raises(AlreadyExistsError):
        store.put_file_if_absent("deliveries/acme/1", big_file)
    with pytest.raises(FileNotFoundError):
        store.put_file_if_absent("deliveries/acme/2", big_file.with_name("missing"))


def test_a_reader_never_sees_a_part_of_an_object_or_two_mixed(store: BlobStore) -> None:
    seen: set[tuple[int, int, int]] = set()
    sizes: set[int] = set()
    done, failures = threading.Event(), list[BaseException]()
    size = 3_000_000

    def look() -> None:
        try:
            while not done.is_set():
                sizes.update(stat.size_bytes for stat in store.stats("table").values())
                for path in store.list("table"):
                    data = store.read(path)
                    seen.add((len(data), data[0], data[-1]))
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(12):
            store.put_if_absent(f"table/{number}", bytes([number]) * size)
            store.replace("table/0", bytes([100 + number]) * size)
    finally:
        done.set()
        reader.join()
    assert failures == []
    assert sizes == {size}
    assert {length for length, _, _ in seen} == {size}
    assert all(first == last for _, first, last in seen)


def test_what_replaces_an_object_has_another_etag(store: BlobStore) -> None:
    etags = set()
    for number in range(20):
        store.replace("pointer", f"{number:03d}".encode())
        stat = store.stat("pointer")
        assert stat is not None
        assert stat.size_bytes == 3
        etags.add(stat.etag)
    assert len(etags) == 20


def test_a_copy_keeps_the_etag_and_outlives_its_source(store: BlobStore) -> None:
    store.put_if_absent("kept", b"one")
    store.replace("current", b"two")
    store.copy("kept", "current")
    store.copy("kept", "current")
    assert store.stat("current") == store.stat("kept")
    store.replace("current", b"three")
    store.delete("current")
    assert store.read("kept") == b"one"


def test_a_copy_if_absent_is_refused_when_the_target_is_there(store: BlobStore) -> None:
    store.put_if_absent("from", b"1")
    store.copy_if_absent("from", "folder/to")
    assert store.read("folder/to") == b"1"
    with pytest.raises(AlreadyExistsError, match="folder/to"):
        store.copy_if_absent("from", "folder/to")
    for verb in (store.copy, store.copy_if_absent):
        with pytest.raises(NotFoundError, match="nowhere"):
            verb("nowhere", "other")


def test_a_listing_shows_what_is_there_now_and_no_other_prefix(store: BlobStore) -> None:
    paths = [f"t/day={number}/part" for number in range(7)] + ["t/top", "t_old/x"]
    for number, path in enumerate(paths):
        store.put_if_absent(path, b"12")
        assert len(store.list("")) == number + 1
    assert store.list("t") == paths[:8]
    assert store.list("") == paths
    assert store.folders("t") == [f"day={number}" for number in range(7)]
    assert store.folders("") == ["t", "t_old"]
    assert store.list("none") == []
    assert store.folders("none/at/all") == []
    assert store.stats("t/day=1") == {"t/day=1/part": store.stat("t/day=1/part")}
    store.delete("t/top")
    assert "t/top" not in store.list("t")


def test_what_was_deleted_is_gone_and_may_be_written_again(store: BlobStore) -> None:
    store.put_if_absent("t/day=1/a", b"1")
    store.delete("t/day=1/a")
    assert store.stat("t/day=1/a") is None
    assert store.list("t") == []
    store.put_if_absent("t/day=1/a", b"2")
    assert store.read("t/day=1/a") == b"2"


def test_what_is_not_there_is_said_to_be_not_there(store: BlobStore) -> None:
    assert store.stat("a") is None
    store.delete("a")
    for verb in (store.read, store.open):
        with pytest.raises(NotFoundError, match="no object a/b"):
            verb("a/b")


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "a/../b", "..", "a//b", "a/", ".scratch/a", "a\nb", "a\\b", "./a"]
)
def test_a_path_that_leads_elsewhere_is_refused(store: BlobStore, path: str) -> None:
    for verb in (store.read, store.stat, store.delete):
        with pytest.raises(FaultError, match="path in the lake"):
            verb(path)
    with pytest.raises(FaultError, match="path in the lake"):
        store.put_if_absent(path, b"")
