"""What the HTTP service is given of the stream's side, as Protocols and frozen records.

Guarantee: nothing under `serving` knows Kafka. The composition root hands over objects that fit these
Protocols; each method says whether it may block, and every method may be called from several threads at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO, Literal, Protocol

import polars as pl

Content = Literal["sales", "locations", "products", "prices", "events"]
"""What a delivered file holds."""

State = Literal["accepted", "reading", "judging", "done", "rejected"]
"""Where a delivery stands; `done` and `rejected` are final."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a delivered file.

    Attributes:
        delivery_id: The delivery; for a repeat the id of the first.
        repeated: Whether the same bytes had been accepted from this customer before.
        content: What the file holds.
        format: xml, csv, jsonl or parquet.
        digest: SHA-256 of the bytes as they came, 64 hex digits.
        size_bytes: Size of the file as it came, bytes.
    """

    delivery_id: int
    repeated: bool
    content: str
    format: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a delivery so far: the fields of the record DeliveryReport, times as UTC datetimes."""

    delivery_id: int
    customer_id: str
    content: str
    format: str
    name: str
    size_bytes: int
    state: State
    records: int
    valid: int
    invalid: int
    accepted_at: datetime
    updated_at: datetime
    by_code: Mapping[str, int] = field(default_factory=dict)
    reason: str | None = None
    done_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class MasterTable:
    """A customer's locations or products as they stand.

    Attributes:
        rows: The newest version of each record: the columns of the record's Avro schema, sorted by its id.
        offsets: Per partition of the topic the next offset to be read: everything below it is in `rows`.
    """

    rows: pl.DataFrame
    offsets: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class WindowTable:
    """Windowed sums of one customer as they stand.

    Attributes:
        rows: The columns of `WINDOW_COLUMNS`, in no order.
        ready: Whether the stream was followed to its end; before that, windows may be missing.
    """

    rows: pl.DataFrame
    ready: bool


WINDOW_COLUMNS = (
    "location_id",
    "product_id",
    "window",
    "starts_on",
    "starts_at",
    "ends_at",
    "time_zone",
    "quantity",
    "revenue",
    "sales",
    "final",
    "updated_at",
)
"""The fields of the record SalesWindow without its customer, and the local day on which it starts."""


@dataclass(frozen=True, slots=True)
class Lag:
    """How many messages of a partition a job has not yet handled, and the partition's end.

    Markers of transactions count as messages, except where nothing else is left.
    """

    job: str
    topic: str
    partition: int
    messages: int
    end: int


@dataclass(frozen=True, slots=True)
class PartHealth:
    """Whether one thing that the service leans on can be used, and in words why not."""

    name: str
    ready: bool
    detail: str


Finish = tuple[datetime, int]
"""When a delivery was done or rejected, and its id: the order in which they are told."""


class Desk(Protocol):
    """Accepts files."""

    def accept(self, customer_id: str, content: Content | None, name: str, stream: BinaryIO) -> Receipt:
        """Store a file as it came and write it into the log of deliveries. Blocks until both are certain.

        Args:
            customer_id: Who delivers.
            content: What the file holds; None leaves it to the file's name.
            name: Name of the file as the customer calls it; never a path.
            stream: The bytes. Only `read(size)` is called; an OSError it raises must pass through unchanged.

        Raises:
            DeliveryError: The file cannot be accepted; the text says why, for the customer.
            UnavailableError: The store or the log cannot be reached; sending the file again is safe.
        """
        ...


class Deliveries(Protocol):
    """Knows what became of the deliveries. Answers from memory, without blocking."""

    def customers(self) -> Sequence[str]:
        """Ids of the customers that have delivered anything, sorted."""
        ...

    def get(self, delivery_id: int) -> Delivery | None:
        """One delivery; None if there is none of that id."""
        ...

    def page(
        self, customer_id: str, state: State | None, before: int | None, limit: int
    ) -> Sequence[Delivery]:
        """The newest deliveries of a customer, newest first.

        Args:
            customer_id: Whose deliveries.
            state: Only those that stand so; None for all.
            before: Only ids below this one; None for all.
            limit: Most deliveries returned.
        """
        ...

    def last_finish(self, customer_id: str) -> Finish | None:
        """The last of a customer's deliveries that was done or rejected; None when none was."""
        ...

    def finished(self, customer_id: str, after: Finish | None, limit: int) -> Sequence[Delivery]:
        """A customer's deliveries that were done or rejected, in that order.

        Args:
            customer_id: Whose deliveries.
            after: Only those behind this one; None for all.
            limit: Most deliveries returned, the first.
        """
        ...


class MasterState(Protocol):
    """Holds the running state of the master data. Answers from memory, without blocking for long."""

    def locations(self, customer_id: str) -> MasterTable:
        """The customer's locations; no rows when there are none."""
        ...

    def products(self, customer_id: str) -> MasterTable:
        """The customer's products; no rows when there are none."""
        ...


class SalesWindows(Protocol):
    """Holds the newest windowed sums. Answers from memory, without blocking."""

    def windows(self, customer_id: str) -> WindowTable:
        """The customer's windows; no rows when there are none."""
        ...


class Lags(Protocol):
    """Knows how far the jobs are behind."""

    def lags(self) -> Sequence[Lag]:
        """The lag of each job on each partition it reads. Blocks for a moment when the last answer is old.

        Raises:
            UnavailableError: The brokers do not answer.
        """
        ...


class StreamHealth(Protocol):
    """Says whether the stream's side can be used. Answers from memory, without blocking."""

    def parts(self) -> Sequence[PartHealth]:
        """One entry for each part, such as the broker and the reader of the reports."""
        ...
