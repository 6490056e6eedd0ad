"""`Idempotency-Key`: a request to deliver that is made again is answered as it was the first time.

The same bytes have one id whatever key they come with. A key is for those who cannot send the same bytes again, such as
a program that packs its file anew or asks its database once more.

Guarantee: once a request with a key was answered, every further one with it, to whichever process, is answered with the
same delivery, without its body being read. A key is only of the customer who used it. Two requests at once with one key
are told apart in one process; in two processes both may be accepted, if their bytes differ.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace

import orjson

from infra.blobs import BlobStore
from infra.errors import AlreadyExistsError, CorruptLakeError, NotFoundError
from serving.ports import Receipt
from serving.problems import KEY_IN_USE, KEY_OF_ANOTHER, Problem

FOLDER = "delivery_keys"


class DeliveryKeys:
    """Remembers what requests with a key were answered. May be used from several threads at once.

    Args:
        store: The lake.
    """

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._in_use: set[str] = set()

    @contextmanager
    def using(self, customer_id: str, key: str | None) -> Iterator[None]:
        """Hold a key as long as its request is under way.

        Raises:
            Problem: 409; another request with it is.
        """
        if key is None:
            yield
            return
        path = _path(customer_id, key)
        with self._lock:
            if path in self._in_use:
                text = "Another request with this Idempotency-Key is under way."
                raise Problem(KEY_IN_USE, text, {"Retry-After": "5"})
            self._in_use.add(path)
        try:
            yield
        finally:
            with self._lock:
                self._in_use.discard(path)

    def answered(self, customer_id: str, key: str, name: str) -> Receipt | None:
        """What the first request with a key was answered; None when there was none. Blocks on the store.

        Args:
            customer_id: Who delivers.
            key: The key.
            name: Name of the file, which must be that of the first request.

        Raises:
            Problem: 422; the first request was another.
            CorruptLakeError: What was kept of it cannot be read.
            UnavailableError: The store does not answer.
        """
        path = _path(customer_id, key)
        try:
            found = orjson.loads(self._store.read(path))
            receipt = Receipt(**found["receipt"])
        except NotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptLakeError(
                f"{path}: expected the receipt of a delivery, found {error!r}; delete it"
            ) from error
        if found["name"] != name:
            raise Problem(
                KEY_OF_ANOTHER,
                f"This Idempotency-Key came with the file {found['name']!r}, delivery {receipt.delivery_id}, before.",
            )
        return replace(receipt, repeated=True)

    def remember(self, customer_id: str, key: str, name: str, receipt: Receipt) -> None:
        """Keep what a request was answered. Blocks on the store.

        Raises:
            UnavailableError: The store does not answer.
        """
        # Another process may have been faster; what it has answered stands.
        with suppress(AlreadyExistsError):
            kept = orjson.dumps({"name": name, "receipt": asdict(receipt)})
            self._store.put_if_absent(_path(customer_id, key), kept)


def _path(customer_id: str, key: str) -> str:
    """Where a key is kept: what a customer sends becomes no path."""
    return f"{FOLDER}/{customer_id}/{hashlib.sha256(key.encode()).hexdigest()}.json"
