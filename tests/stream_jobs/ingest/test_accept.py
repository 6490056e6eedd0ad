"""The desk and the inbox: one file has one id, and a file's fate is told."""

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from infra.blobs import BlobStore
from infra.errors import DeliveryError, SettingError, UnavailableError
from infra.settings import IngestSettings
from stream_jobs.ingest.accept import Desk
from stream_jobs.ingest.inbox import looks, rested, run_inbox
from tests.running import running_job, wait_until
from tests.stream_jobs.ingest.files import csv_file, sale
from tests.stream_jobs.ingest.installation import Installation

FILE = csv_file([sale(1)])


def accepted(installation: Installation, customer: str, count: int) -> list[dict[str, Any]]:
    """The `accepted` events of a customer, once there are so many."""

    def found() -> list[dict[str, Any]]:
        return [event for event in installation.events() if event["customer_id"] == customer]

    wait_until(lambda: len(found()) >= count, f"{count} events")
    return found()


def test_the_same_file_has_one_id_however_often_it_is_sent(
    installation: Installation, store: BlobStore, desk: Desk, customer: str
) -> None:
    first = desk.accept(customer, "sales", "../x/\nsales.csv", io.BytesIO(FILE))
    again = desk.accept(customer, None, "sales2.csv", io.BytesIO(FILE))
    other = desk.accept(f"{customer}-2", "sales", "sales.csv", io.BytesIO(FILE))
    assert (first.repeated, again.repeated, other.repeated) == (False, True, False)
    assert again.delivery_id == first.delivery_id != other.delivery_id
    assert (first.content, first.format, first.size_bytes) == ("sales", "csv", len(FILE))
    assert store.read(f"deliveries/{customer}/{first.digest}") == FILE
    late = Desk(installation.settings, store)
    receipt = late.accept(customer, "sales", "s.csv", io.BytesIO(FILE))
    late.close()
    assert (receipt.delivery_id, receipt.repeated) == (first.delivery_id, True)
    (event,) = accepted(installation, customer, 1)
    assert (event["kind"], event["name"]) == ("accepted", "../x/?sales.csv")


def test_a_desk_that_has_not_heard_of_a_file_yet_still_answers_with_the_first_id(
    installation: Installation, store: BlobStore, desk: Desk, customer: str
) -> None:
    unaware = Desk(installation.settings, store)
    first = desk.accept(customer, "sales", "s.csv", io.BytesIO(FILE))
    second = unaware.accept(customer, "sales", "s.csv", io.BytesIO(FILE))
    unaware.close()
    assert (second.delivery_id, second.repeated) == (first.delivery_id, True)
    assert len(accepted(installation, customer, 2)) == 2


def test_desks_that_race_with_the_same_file_agree_on_one_id(
    installation: Installation, store: BlobStore, desk: Desk, customer: str
) -> None:
    other = Desk(installation.settings, store)
    try:
        with ThreadPoolExecutor(8) as pool:
            for turn in range(3):
                data = csv_file([sale(turn)])
                desks = [desk, other] * 4
                receipts = list(
                    pool.map(
                        lambda d, data=data: d.accept(customer, "sales", "s.csv", io.BytesIO(data)), desks
                    )
                )
                assert len({receipt.delivery_id for receipt in receipts}) == 1
                assert sum(not receipt.repeated for receipt in receipts) == 1
    finally:
        other.close()


def test_what_cannot_be_accepted_is_refused_in_words_and_leaves_nothing(
    installation: Installation, store: BlobStore, desk: Desk, customer: str
) -> None:
    for bad in ("ACME", "", "a/b", "../x", "a" * 65):
        with pytest.raises(DeliveryError, match="customer id: expected"):
            desk.accept(bad, "sales", "sales.csv", io.BytesIO(FILE))
    with pytest.raises(DeliveryError, match="found an empty one"):
        desk.accept(customer, "sales", "sales.csv", io.BytesIO(b""))
    small = installation.settings.model_copy(update={"ingest": IngestSettings(file_bytes_max=50)})
    tight = Desk(small, store)
    with pytest.raises(DeliveryError, match="at most 50 bytes"):
        tight.accept(customer, "sales", "sales.csv", io.BytesIO(FILE))
    tight.close()

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise ConnectionResetError("the client went away")

    with pytest.raises(ConnectionResetError):
        desk.accept(customer, "sales", "sales.csv", Broken())
    assert not [event for event in installation.events() if event["customer_id"] == customer]
    assert store.list(f"deliveries/{customer}") == []
    assert list((installation.settings.home / "scratch").iterdir()) == []

    first = desk.accept(customer, "locations", "x.csv", io.BytesIO(FILE)).delivery_id
    with pytest.raises(DeliveryError, match=f"found those of delivery {first}, which was of locations"):
        desk.accept(customer, "sales", "x.csv", io.BytesIO(FILE))


def test_the_inbox_takes_files_that_rest_and_tells_what_became_of_each(
    installation: Installation, store: BlobStore, desk: Desk, tmp_path: Path, customer: str
) -> None:
    inbox = tmp_path / "inbox"
    folder = inbox / customer
    folder.mkdir(parents=True)
    (inbox / "Bad Name").mkdir()
    settings = installation.settings.model_copy(
        update={"ingest": IngestSettings(inbox=inbox, inbox_poll_s=0.05)}
    )
    (folder / "sales-may.csv").write_bytes(FILE)
    (folder / "again.csv").write_bytes(FILE)
    (folder / "what.bin").write_bytes(b"?")
    (folder / ".hidden.csv").write_bytes(FILE)
    (folder / "sales-link.csv").symlink_to("/etc/hostname")
    (inbox / "Bad Name" / "sales.csv").write_bytes(FILE)
    os.utime(folder / "sales-may.csv", (1, 1))
    os.utime(folder / "again.csv", (2, 2))
    (folder / "again.csv").rename(folder / "sales-again.csv")
    with running_job(lambda stop: run_inbox(settings, store, desk, stop)):
        wait_until(lambda: not looks(inbox), "an empty inbox")
    names = sorted(path.name.split("-", 1) for path in (folder / ".accepted").iterdir())
    assert [name for _, name in names] == ["sales-again.csv", "sales-may.csv"]
    assert len({delivery_id for delivery_id, _ in names}) == 1
    refused = sorted(path.name for path in (folder / ".refused").iterdir())
    assert [name.split("Z-", 1)[1] for name in refused] == ["what.bin", "what.bin.reason.txt"]
    assert "cannot tell" in (folder / ".refused" / refused[1]).read_text()
    (reason,) = (inbox / "Bad Name" / ".refused").glob("*.reason.txt")
    assert "customer id: expected" in reason.read_text()
    assert [event["name"] for event in accepted(installation, customer, 1)] == ["sales-may.csv"]
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
    tmp_path: Path, store: BlobStore, installation: Installation
) -> None:
    folder = tmp_path / "in" / "acme"
    folder.mkdir(parents=True)
    (folder / "sales.csv").write_bytes(FILE)
    settings = installation.settings.model_copy(
        update={"ingest": IngestSettings(inbox=tmp_path / "in", inbox_poll_s=0.02)}
    )
    tries = threading.Semaphore(0)

    class Away(Desk):
        def __init__(self) -> None:
            pass

        def accept(self, *_: object) -> None:  # type: ignore[override]
            tries.release()
            raise UnavailableError("the broker is away")

    with running_job(lambda stop: run_inbox(settings, store, Away(), stop)):
        assert all(tries.acquire(timeout=30) for _ in range(2))
    assert (folder / "sales.csv").exists()
    with pytest.raises(SettingError, match="INBOX"):
        looks(tmp_path / "nowhere")
