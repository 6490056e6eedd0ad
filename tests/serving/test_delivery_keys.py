"""Idempotency-Key: a request made again is answered as the first was, whatever its bytes, and to whichever process."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi import FastAPI
from httpx2 import Response
from starlette.testclient import TestClient

from infra.blobs import BlobStore
from infra.errors import CorruptLakeError, DeliveryError
from serving.delivery_keys import FOLDER, DeliveryKeys
from serving.ports import Receipt
from tests.serving import lake_content as content
from tests.serving.parts import MemoryStream
from tests.serving.test_problems import assert_problem

C = content.CUSTOMER
RECEIPT = Receipt(7, repeated=False, content="sales", format="csv", digest="ab", size_bytes=3)


@pytest.fixture
def client(app_on: object, store: BlobStore, headers: dict[str, str]) -> TestClient:
    """A client of a service on a lake of its own, which keys are written into."""
    assert callable(app_on)
    app = app_on(store)
    assert isinstance(app, FastAPI)
    return TestClient(app, headers=headers)


def deliver(
    client: TestClient, key: str | None, body: bytes, name: str = "sales.csv", customer: str = C
) -> Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post(
        "/v1/deliveries", params={"customer_id": customer, "name": name}, content=body, headers=headers
    )


def test_a_request_made_again_is_the_first_delivery_whatever_its_bytes(
    client: TestClient, stream: MemoryStream
) -> None:
    first = deliver(client, "key-1", b"packed once")
    again = deliver(client, "key-1", b"packed twice")
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json() == {**first.json(), "repeated": True}
    assert again.headers["location"] == first.headers["location"]
    assert len(stream.kept) == 1
    for key in ("key-2", None):
        assert deliver(client, key, f"packed for {key}".encode()).status_code == 202


def test_a_key_is_of_its_customer_and_its_file(client: TestClient, stream: MemoryStream) -> None:
    assert deliver(client, "key-1", b"a").status_code == 202
    assert deliver(client, "key-1", b"b", customer="others").status_code == 202
    other = deliver(client, "key-1", b"c", name="sales-2.csv")
    assert_problem(other, 422, "key-of-another")
    assert "'sales.csv', delivery 0" in other.json()["detail"]
    assert len(stream.kept) == 2


def test_what_was_refused_may_be_sent_again_with_its_key(client: TestClient) -> None:
    assert deliver(client, "key-1", b"a", name="orders.csv").status_code == 422
    assert deliver(client, "key-1", b"a", name="sales.csv").status_code == 202


@pytest.mark.parametrize("key", ["", "with space", "é", "x" * 256])
def test_a_key_that_is_none_is_refused(client: TestClient, key: str) -> None:
    answer = client.post(
        "/v1/deliveries",
        params={"customer_id": C, "name": "sales.csv"},
        content=b"a",
        headers={b"Idempotency-Key": key.encode("latin-1")},
    )
    assert_problem(answer, 422, "invalid-request")


def test_one_request_with_a_key_is_under_way_at_a_time(client: TestClient, stream: MemoryStream) -> None:
    begun, go_on, accept = threading.Event(), threading.Event(), stream.accept

    def slowly(*given: object) -> Receipt:
        begun.set()
        assert go_on.wait(30)
        return accept(*given)  # type: ignore[arg-type]

    stream.accept = slowly  # type: ignore[method-assign, assignment]
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(deliver, client, "key-1", b"a")
        assert begun.wait(30)
        second = deliver(client, "key-1", b"b")
        go_on.set()
        assert first.result(30).status_code == 202
    assert_problem(second, 409, "key-in-use")
    assert second.headers["retry-after"]
    assert deliver(client, "key-1", b"b").status_code == 200


def test_every_process_knows_the_keys_and_none_is_a_path(store: BlobStore) -> None:
    key = "../../manifests/x"
    DeliveryKeys(store).remember(C, key, "sales.csv", RECEIPT)
    found = DeliveryKeys(store).answered(C, key, "sales.csv")
    assert found is not None
    assert (found.delivery_id, found.repeated) == (7, True)
    assert store.list(FOLDER) == [f"{FOLDER}/{C}/{hashlib.sha256(key.encode()).hexdigest()}.json"]
    # Who came second leaves the first answer as it is.
    DeliveryKeys(store).remember(C, key, "sales.csv", Receipt(9, True, "sales", "csv", "cd", 4))
    assert DeliveryKeys(store).answered(C, key, "sales.csv") == found


def test_a_record_that_cannot_be_read_is_said(store: BlobStore) -> None:
    keys = DeliveryKeys(store)
    keys.remember(C, "key-1", "sales.csv", RECEIPT)
    (path,) = store.list(FOLDER)
    store.replace(path, b"{}")
    with pytest.raises(CorruptLakeError, match="delete it"):
        keys.answered(C, "key-1", "sales.csv")


def test_a_key_is_free_again_when_its_request_failed(store: BlobStore) -> None:
    keys = DeliveryKeys(store)
    with pytest.raises(DeliveryError), keys.using(C, "key-1"):
        raise DeliveryError("no")
    with keys.using(C, "key-1"), keys.using("others", "key-1"), keys.using(C, None), keys.using(C, None):
        pass
