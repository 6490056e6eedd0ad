"""The desk and the inbox: one file has one id, and a file's fate is told."""

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.blobs import BlobStore
from infra.errors import DeliveryError, SettingError, UnavailableError
from infra.settings import IngestSettings
from stream_jobs.ingest.accept import Desk
from stream_jobs.ingest.inbox import looks, rested, run_inbox
from tests.stream_jobs.ingest.files import csv_file, sale
from tests.stream_jobs.world import World, running, wait_until

FILE = csv_file([sale(1)])


def test_the_same_file_has_one_id_whoever_sends_it_however_often(
    world: World, store: BlobStore, desk: Desk
) -> None:
    first = desk.accept("acme", "sales", "../x/\nsales.csv", io.BytesIO(FILE))
    again = desk.accept("acme", None, "sales2.csv", io.BytesIO(FILE))
    other = desk.accept("other", "sales", "sales.csv", io.BytesIO(FILE))
    assert (first.repeated, again.repeated, other.repeated) == (False, True, False)
    assert again.delivery_id == first.delivery_id != other.delivery_id
    assert (first.content, first.format, first.size_bytes) == ("sales", "csv", len(FILE))
    assert store.read(f"deliveries/acme/{first.digest}") == FILE

    late = Desk(world.settings, store)
    try:
        assert late.accept("acme", "sales", "s.csv", io.BytesIO(FILE)).delivery_id == first.delivery_id
        # A desk that has not heard of the first one writes its own event; everyone ignores it.
        late._log = type(late._log)()
        late._known = lambda *_: None  # type: ignore[method-assign]
        late._reader.close()
        from infra.topic_reader import TopicReader

        late._reader = TopicReader(world.settings, ["deliveries"], "desk")
        unaware = late.accept("acme", "sales", "s.csv", io.BytesIO(FILE))
        assert (unaware.delivery_id, unaware.repeated) == (first.delivery_id, True)
    finally:
        late.close()
    events = world.records("deliveries")
    assert [(event["kind"], event["customer_id"]) for event in events] == [
        ("accepted", "acme"), ("accepted", "other"), ("accepted", "acme"),
    ]  # fmt: skip
    assert events[0]["name"] == "../x/?sales.csv"


def test_desks_that_race_with_the_same_file_agree_on_one_id(
    world: World, store: BlobStore, desk: Desk
) -> None:
    other = Desk(world.settings, store)
    try:
        with ThreadPoolExecutor(8) as pool:
            for turn in range(3):
                data = csv_file([sale(turn)])
                desks = [desk, other] * 4
                receipts = list(
                    pool.map(lambda d, data=data: d.accept("acme", "sales", "s.csv", io.BytesIO(data)), desks)
                )
                assert len({receipt.delivery_id for receipt in receipts}) == 1
                assert sum(not receipt.repeated for receipt in receipts) == 1
    finally:
        other.close()


def test_what_cannot_be_accepted_is_refused_in_words_and_leaves_nothing(
    world: World, store: BlobStore, desk: Desk
) -> None:
    for customer in ("ACME", "", "a/b", "../x", "a" * 65):
        with pytest.raises(DeliveryError, match="customer id: expected"):
            desk.accept(customer, "sales", "sales.csv", io.BytesIO(FILE))
    with pytest.raises(DeliveryError, match="found an empty one"):
        desk.accept("acme", "sales", "sales.csv", io.BytesIO(b""))
    small = world.settings.model_copy(update={"ingest": IngestSettings(file_bytes_max=50)})
    tight = Desk(small, store)
    with pytest.raises(DeliveryError, match="at most 50 bytes"):
        tight.accept("acme", "sales", "sales.csv", io.BytesIO(FILE))
    tight.close()

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise ConnectionResetError("the client went away")

    with pytest.raises(ConnectionResetError):
        desk.accept("acme", "sales", "sales.csv", Broken())
    assert world.records("deliveries") == []
    assert store.list("deliveries") == []
    assert list((world.settings.home / "scratch").iterdir()) == []

    desk.accept("acme", "locations", "x.csv", io.BytesIO(FILE))
    with pytest.raises(DeliveryError, match="found those of delivery 0, which was of locations"):
        desk.accept("acme", "sales", "x.csv", io.BytesIO(FILE))


def test_the_inbox_takes_files_that_rest_and_tells_what_became_of_each(
    world: World, store: BlobStore, desk: Desk, tmp_path: Path
) -> None:
    inbox = tmp_path / "inbox"
    folder = inbox / "acme"
    folder.mkdir(parents=True)
    (inbox / "Bad Name").mkdir()
    settings = world.settings.model_copy(update={"ingest": IngestSettings(inbox=inbox, inbox_poll_s=0.05)})
    (folder / "sales-may.csv").write_bytes(FILE)
    (folder / "again.csv").write_bytes(FILE)
    (folder / "what.bin").write_bytes(b"?")
    (folder / ".hidden.csv").write_bytes(FILE)
    (folder / "sales-link.csv").symlink_to("/etc/hostname")
    (inbox / "Bad Name" / "sales.csv").write_bytes(FILE)
    os.utime(folder / "sales-may.csv", (1, 1))
    os.utime(folder / "again.csv", (2, 2))
    (folder / "again.csv").rename(folder / "sales-again.csv")
    with running(lambda stop: run_inbox(settings, store, desk, stop)):
        wait_until(lambda: not looks(inbox), "an empty inbox")
    assert sorted(path.name for path in (folder / ".accepted").iterdir()) == [
        "0-sales-again.csv",
        "0-sales-may.csv",
    ]
    refused = sorted(path.name for path in (folder / ".refused").iterdir())
    assert [name.split("Z-", 1)[1] for name in refused] == ["what.bin", "what.bin.reason.txt"]
    assert "cannot tell" in (folder / ".refused" / refused[1]).read_text()
    (reason,) = (inbox / "Bad Name" / ".refused").glob("*.reason.txt")
    assert "customer id: expected" in reason.read_text()
    assert [event["name"] for event in world.records("deliveries")] == ["sales-may.csv"]
    assert (folder / ".hidden.csv").exists()


def test_a_file_that_still_grows_has_not_rested(tmp_path: Path) -> None:
    (tmp_path / "acme").mkdir()
    growing, still = tmp_path / "acme" / "a.csv", tmp_path / "acme" / "b.csv"
    growing.write_bytes(b"x")
    still.write_bytes(b"x")
    before = looks(tmp_path)
    assert rested({}, before) == []
    growing.write_bytes(b"xy")
    assert rested(before, looks(tmp_path)) == [still]


def test_an_inbox_file_stays_while_it_cannot_be_accepted(
    tmp_path: Path, store: BlobStore, world: World
) -> None:
    folder = tmp_path / "in" / "acme"
    folder.mkdir(parents=True)
    (folder / "sales.csv").write_bytes(FILE)
    settings = world.settings.model_copy(
        update={"ingest": IngestSettings(inbox=tmp_path / "in", inbox_poll_s=0.02)}
    )
    tries = threading.Semaphore(0)

    class Away(Desk):
        def __init__(self) -> None:
            pass

        def accept(self, *_: object) -> None:  # type: ignore[override]
            tries.release()
            raise UnavailableError("the broker is away")

    with running(lambda stop: run_inbox(settings, store, Away(), stop)):
        assert all(tries.acquire(timeout=30) for _ in range(2))
    assert (folder / "sales.csv").exists()
    with pytest.raises(SettingError, match="INBOX"):
        looks(tmp_path / "nowhere")
