"""Accepts files: stores each as it came, and writes it into the log of deliveries.

Used by the command line, the HTTP service and the inbox. Guarantee: when `accept` returns, the file is stored
and its delivery id is certain and the same for everyone. The same bytes of the same customer have one id,
however often, at once or by whichever desk they are sent. A failure before that leaves at most a stored file
that nothing names; sending it again is safe.
"""

import contextlib
import hashlib
import logging
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, BinaryIO

from confluent_kafka import KafkaError, KafkaException, Message
from pydantic import TypeAdapter, ValidationError

from infra.blobs import BlobStore
from infra.errors import (
    AlreadyExistsError,
    DeliveryError,
    NotCommittedError,
    UnavailableError,
    UndecodableError,
)
from infra.kafka import producer
from infra.settings import CustomerId, Settings
from infra.topic_reader import TopicReader
from schemas.catalogue import DELIVERIES
from schemas.codec import Codec
from schemas.registry import Registry
from stream_jobs.deliveries import Delivery, DeliveryLog
from stream_jobs.ingest.blocks import Limits
from stream_jobs.ingest.kinds import FileKind, kind_of

logger = logging.getLogger(__name__)

PIECE_BYTES = 2**20
NAME_CHARS_MAX = 255
WRITE_S_MAX = 30.0
SEEN_S_MAX = 90.0
START_S_MAX = 900.0

_CUSTOMER = TypeAdapter[str](CustomerId)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a delivered file.

    Attributes:
        delivery_id: The delivery; for a repeat the id of the first.
        repeated: Whether the same bytes had been accepted from this customer before.
        content: What the file holds.
        format: xml, csv, jsonl or parquet.
        digest: SHA-256 of the bytes as they came, 64 hex digits.
        size_bytes: Size of the file as it came.
    """

    delivery_id: int
    repeated: bool
    content: str
    format: str
    digest: str
    size_bytes: int


class Desk:
    """Where files are handed in. May be used from several threads at once; `close` it after use.

    Args:
        settings: Where brokers and registry are, and the bounds on files.
        store: Where files are kept as they came.

    Raises:
        MissingPartError: Broker or registry cannot be had.
        UnavailableError: The log of deliveries could not be read to its end.
    """

    def __init__(self, settings: Settings, store: BlobStore) -> None:
        self._settings = settings
        self._limits = Limits.of(settings.ingest)
        self._store = store
        self._registry = Registry(settings)
        self._events = Codec(DELIVERIES, self._registry)
        # One codec serves one thread, and one thread at a time takes in the log.
        self._lock = threading.Lock()
        self._log = DeliveryLog()
        self._producer = producer(settings, delivery_timeout_ms=int(WRITE_S_MAX * 1000) - 5_000, linger_ms=0)
        self._reader = TopicReader(settings, [DELIVERIES], "desk")
        try:
            for messages in self._reader.read_to_end(START_S_MAX):
                self._apply(messages)
        except BaseException:
            self.close()
            raise

    def accept(self, customer_id: str, content: str | None, name: str, stream: BinaryIO) -> Receipt:
        """Store a file as it came and write it into the log of deliveries. Blocks until both are certain.

        Args:
            customer_id: Who delivers.
            content: What the file holds; None leaves it to the file's name or XML root.
            name: Name of the file as the customer calls it; never used as a path.
            stream: The bytes. Only `read(size)` is called; an error that it raises passes through unchanged.

        Raises:
            DeliveryError: The file cannot be accepted; the text says why, for the customer.
            UnavailableError: The store or the log cannot be reached; sending the file again is safe.
        """
        try:
            _CUSTOMER.validate_python(customer_id)
        except ValidationError as error:
            raise DeliveryError(
                "customer id: expected at most 64 lower-case letters, digits, - and _, not - or _ first; "
                f"found {customer_id[:80]!r}"
            ) from error
        shown_name = "".join(mark if mark.isprintable() else "?" for mark in name)[:NAME_CHARS_MAX]
        with self._scratch_file() as scratch:
            digest, size = self._taken(stream, scratch)
            kind = kind_of(scratch, content, shown_name, self._limits)
            known = self._known(customer_id, digest)
            if known is not None:
                return _receipt(known, kind, repeated=True)
            blob = f"deliveries/{customer_id}/{digest}"
            with contextlib.suppress(AlreadyExistsError):
                self._store.put_file_if_absent(blob, Path(scratch.name))
        offset = self._written(customer_id, digest, shown_name, size, blob, kind)
        delivery = self._seen(customer_id, digest, offset)
        return _receipt(delivery, kind, repeated=delivery.delivery_id != offset)

    def close(self) -> None:
        """Leave the brokers and the registry."""
        self._producer.flush(WRITE_S_MAX)
        self._reader.close()
        self._registry.close()

    @contextmanager
    def _scratch_file(self) -> Iterator[IO[bytes]]:
        folder = self._settings.home / "scratch"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix="delivery-") as scratch:
            yield scratch

    def _taken(self, stream: BinaryIO, scratch: IO[bytes]) -> tuple[str, int]:
        """Copy a stream to the scratch file; its digest and size."""
        digest, size = hashlib.sha256(), 0
        while piece := stream.read(PIECE_BYTES):
            size += len(piece)
            if size > self._limits.file_bytes_max:
                raise DeliveryError(
                    f"expected a file of at most {self._limits.file_bytes_max} bytes; found more. "
                    "Send it in parts"
                )
            digest.update(piece)
            try:
                scratch.write(piece)
                scratch.flush()
            except OSError as error:
                raise NotCommittedError(f"{scratch.name} cannot be written: {error.strerror}") from error
        return digest.hexdigest(), size

    def _known(self, customer_id: str, digest: str) -> Delivery | None:
        with self._lock:
            return self._log.by_digest(customer_id, digest)

    def _written(self, customer_id: str, digest: str, name: str, size: int, blob: str, kind: FileKind) -> int:
        """Write `accepted`; the offset it got."""
        event = {
            "kind": "accepted", "customer_id": customer_id, "digest": digest, "at": datetime.now(UTC),
            "delivery_id": None, "content": kind.content, "format": kind.format,
            "compression": kind.compression, "name": name, "size_bytes": size, "blob": blob,
            "position": 0, "refused": 0, "ends": [], "reason": None,
        }  # fmt: skip
        with self._lock:
            value = self._events.encode_record(event)
        answer = _Answer()
        try:
            self._producer.produce(DELIVERIES, value, f"{customer_id}/{digest}", 0, on_delivery=answer.note)
        except (BufferError, KafkaException) as error:
            raise NotCommittedError(f"the delivery was not written: {error}") from error
        deadline = time.monotonic() + WRITE_S_MAX
        while not answer.done.is_set() and time.monotonic() < deadline:
            self._producer.poll(0.02)
        return answer.offset()

    def _seen(self, customer_id: str, digest: str, offset: int) -> Delivery:
        """Wait until the log has taken in the event that was written; the delivery it belongs to."""
        deadline = time.monotonic() + SEEN_S_MAX
        while time.monotonic() < deadline:
            with self._lock:
                if self._log.position > offset:
                    found = self._log.by_digest(customer_id, digest)
                    if found is not None:
                        return found
                self._apply(self._reader.poll(timeout_s=0.05))
        raise UnavailableError(
            f"the delivery was written and not seen within {SEEN_S_MAX:g} s; send it again to get its id"
        )

    def _apply(self, messages: list[Message]) -> None:
        for message in messages:
            try:
                event = self._events.decode_record(message.value())
            except UndecodableError as error:
                logger.warning(
                    "deliveries offset %s: passed over an event that cannot be decoded: %s; "
                    "look for a foreign writer to the topic",
                    message.offset(),
                    error,
                )
                continue
            self._log.apply(message.offset() or 0, event)


class _Answer:
    """What the broker says of one message."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self._offset: int | None = None
        self._error: KafkaError | None = None

    def note(self, error: KafkaError | None, message: Message) -> None:
        """Called by the producer, in whichever thread polls it."""
        self._error, self._offset = error, message.offset()
        self.done.set()

    def offset(self) -> int:
        """The message's offset.

        Raises:
            UnavailableError: It was not written, or nobody knows.
        """
        if self._error is not None:
            raise UnavailableError(
                f"the delivery was not written for certain: {self._error.str()}; send it again"
            )
        if not self.done.is_set() or self._offset is None:
            raise UnavailableError(f"no broker answered within {WRITE_S_MAX:g} s; send the file again")
        return self._offset


def _receipt(delivery: Delivery, kind: FileKind, *, repeated: bool) -> Receipt:
    if delivery.content != kind.content:
        raise DeliveryError(
            f"expected other bytes for {kind.content}; found those of delivery {delivery.delivery_id}, which "
            f"was of {delivery.content}. Change anything in the file, such as an empty line at its end"
        )
    return Receipt(
        delivery.delivery_id,
        repeated,
        delivery.content,
        delivery.format,
        delivery.digest,
        delivery.size_bytes,
    )
