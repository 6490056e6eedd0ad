"""What became of each delivery, told from the events of the topic `deliveries`.

Guarantee: every reader that has applied the same events holds the same deliveries, whatever else it does and
however often it was handed an event. A file accepted twice is one delivery: the first `accepted` is its id,
later ones change nothing. A delivery never goes back: neither in its position, nor out of `closed` or
`rejected`.
"""

import logging
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from types import MappingProxyType
from typing import Any

import polars as pl

logger = logging.getLogger(__name__)

ORDERED_CONTENTS = frozenset({"locations", "products"})
"""Contents that a sale refers to: a sale waits for those accepted before it."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One accepted file and how far it has been read.

    Attributes:
        delivery_id: Offset of its first `accepted` in the topic `deliveries`.
        customer_id: The retailer that delivered it.
        digest: SHA-256 of the file as it came, 64 hex digits.
        content: sales, locations, products, prices or events.
        format: xml, csv, jsonl or parquet.
        compression: gzip or zstd; None when plain.
        name: Name of the file as the customer calls it.
        size_bytes: Size of the file as it came.
        blob: Path of the stored file in the blob store.
        accepted_at: When it was accepted, UTC.
        position: Records written so far.
        refused: Records of master data refused so far.
        ends: Per (topic, partition) the last offset that it wrote there so far. A rejected delivery keeps
            the ends of what it wrote before the break.
        closed_at: When its last record was written, UTC; None before.
        rejected: Why the file as a whole was refused, in words; None when it was not.
        rejected_at: When it was refused, UTC; None when it was not.
    """

    delivery_id: int
    customer_id: str
    digest: str
    content: str
    format: str
    compression: str | None
    name: str
    size_bytes: int
    blob: str
    accepted_at: datetime
    position: int = 0
    refused: int = 0
    ends: Mapping[tuple[str, int], int] = field(default_factory=dict, hash=False)
    closed_at: datetime | None = None
    rejected: str | None = None
    rejected_at: datetime | None = None

    @property
    def open(self) -> bool:
        """True while records of it may still be written."""
        return self.closed_at is None and self.rejected is None


_INSTANT = pl.Datetime("us", "UTC")
DELIVERY_SCHEMA = pl.Schema(
    {
        "delivery_id": pl.Int64(),
        "customer_id": pl.String(),
        "digest": pl.String(),
        "content": pl.String(),
        "format": pl.String(),
        "compression": pl.String(),
        "name": pl.String(),
        "size_bytes": pl.Int64(),
        "blob": pl.String(),
        "accepted_at": _INSTANT,
        "position": pl.Int64(),
        "refused": pl.Int64(),
        "ends": pl.List(pl.Struct({"topic": pl.String(), "partition": pl.Int64(), "offset": pl.Int64()})),
        "closed_at": _INSTANT,
        "rejected": pl.String(),
        "rejected_at": _INSTANT,
    }
)
"""Columns of `deliveries_frame`: the fields of `Delivery`."""


def deliveries_frame(deliveries: Iterable[Delivery]) -> pl.DataFrame:
    """Deliveries as columns, in the order given."""
    rows = [
        [
            _ends_listed(delivery.ends) if name == "ends" else getattr(delivery, name)
            for name in DELIVERY_SCHEMA
        ]
        for delivery in deliveries
    ]
    return pl.DataFrame(rows, schema=DELIVERY_SCHEMA, orient="row")


def _ends_listed(ends: Mapping[tuple[str, int], int]) -> list[dict[str, str | int]]:
    return [{"topic": topic, "partition": number, "offset": at} for (topic, number), at in ends.items()]


class DeliveryLog:
    """The state of the topic `deliveries`; feed it every event, in order, with its offset."""

    def __init__(self) -> None:
        self._deliveries: dict[int, Delivery] = {}
        self._by_digest: dict[tuple[str, str], int] = {}
        self._masters: dict[str, list[int]] = {}
        self._open: dict[int, None] = {}
        self._position = 0

    @classmethod
    def restored(cls, deliveries: pl.DataFrame, position: int) -> "DeliveryLog":
        """The log that has applied every event below `position`, of which these deliveries came.

        Args:
            deliveries: Columns of `DELIVERY_SCHEMA`, in the order of their ids.
            position: The next offset to be applied.
        """
        log = cls()
        for row in deliveries.iter_rows(named=True):
            ends = {(end["topic"], end["partition"]): end["offset"] for end in row["ends"]}
            log._hold(Delivery(**{**row, "ends": MappingProxyType(ends)}))
        log._position = position
        return log

    @property
    def position(self) -> int:
        """The next offset to be applied: every event below it has been taken in."""
        return self._position

    @property
    def deliveries(self) -> Mapping[int, Delivery]:
        """All deliveries by id, in the order of their ids."""
        return MappingProxyType(self._deliveries)

    def by_digest(self, customer_id: str, digest: str) -> Delivery | None:
        """The delivery of this very file by this customer, or None."""
        found = self._by_digest.get((customer_id, digest))
        return None if found is None else self._deliveries[found]

    def open_deliveries(self) -> list[Delivery]:
        """The deliveries that are neither closed nor rejected, in the order of their ids."""
        return [self._deliveries[delivery_id] for delivery_id in self._open]

    def master_deliveries_before(self, customer_id: str, delivery_id: int) -> Iterable[Delivery]:
        """The customer's deliveries of locations and products with a smaller id, in the order of their ids.

        Costs one bisection to start and nothing for other customers' deliveries.
        """
        masters = self._masters.get(customer_id, [])
        return (self._deliveries[master] for master in islice(masters, bisect_left(masters, delivery_id)))

    def apply(self, offset: int, event: Mapping[str, Any]) -> None:
        """Take in one event.

        An event below `position` was applied before and changes nothing. One that no ingest of ours writes
        (of an unknown delivery, or of one that is closed) is logged and passed over: it cannot be taken out
        of the topic, and must not stop every reader for ever.

        Args:
            offset: Its offset in the topic.
            event: A decoded DeliveryEvent.
        """
        if offset < self._position:
            return
        self._position = offset + 1
        if event["kind"] == "accepted":
            self._accept(offset, event)
            return
        delivery = self._deliveries.get(event["delivery_id"])
        if delivery is None or not delivery.open or (delivery.customer_id, delivery.digest) != _owner(event):
            state = "unknown" if delivery is None else "closed, rejected or another file"
            logger.warning(
                "deliveries offset %d: passed over a %s event of delivery %s, which is %s; "
                "look for a foreign writer to the topic",
                offset,
                event["kind"],
                event["delivery_id"],
                state,
            )
            return
        delivery = _advanced(delivery, event)
        self._deliveries[delivery.delivery_id] = delivery
        if not delivery.open:
            del self._open[delivery.delivery_id]

    def _accept(self, offset: int, event: Mapping[str, Any]) -> None:
        if _owner(event) in self._by_digest:
            return
        missing = [
            name for name in ("content", "format", "name", "size_bytes", "blob") if event[name] is None
        ]
        if missing:
            logger.warning(
                "deliveries offset %d: passed over an accepted event without %s; "
                "look for a foreign writer to the topic",
                offset,
                ", ".join(missing),
            )
            return
        self._hold(
            Delivery(
                delivery_id=offset,
                customer_id=event["customer_id"],
                digest=event["digest"],
                content=event["content"],
                format=event["format"],
                compression=event["compression"],
                name=event["name"],
                size_bytes=event["size_bytes"],
                blob=event["blob"],
                accepted_at=event["at"],
            )
        )

    def _hold(self, delivery: Delivery) -> None:
        """Take in a delivery that has a greater id than all others."""
        self._deliveries[delivery.delivery_id] = delivery
        self._by_digest[delivery.customer_id, delivery.digest] = delivery.delivery_id
        if delivery.open:
            self._open[delivery.delivery_id] = None
        if delivery.content in ORDERED_CONTENTS:
            self._masters.setdefault(delivery.customer_id, []).append(delivery.delivery_id)


def _owner(event: Mapping[str, Any]) -> tuple[str, str]:
    return event["customer_id"], event["digest"]


def _advanced(delivery: Delivery, event: Mapping[str, Any]) -> Delivery:
    ends = dict(delivery.ends)
    for end in event["ends"]:
        place = (end["topic"], end["partition"])
        ends[place] = max(ends.get(place, -1), end["offset"])
    return replace(
        delivery,
        position=max(delivery.position, event["position"]),
        refused=max(delivery.refused, event["refused"]),
        ends=MappingProxyType(ends),
        closed_at=event["at"] if event["kind"] == "closed" else None,
        rejected=(event["reason"] or "no reason was given") if event["kind"] == "rejected" else None,
        rejected_at=event["at"] if event["kind"] == "rejected" else None,
    )
