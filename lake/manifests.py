"""Manifests: which objects make up a customer's sealed tables, and what they cover.

Guarantee: a manifest is written once and never changes; its sequence numbers have no gap. It names each
object by the digest of its content, so a training that pins a manifest reads the same bytes for ever.
"""

import datetime as dt
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from infra.blobs import BlobStore
from infra.errors import CorruptLakeError, NotFoundError

FOLDER = "manifests"
_NAME = re.compile(r"^(\d{10})\.json$")


@dataclass(frozen=True, slots=True)
class SealedObject:
    """An object of a sealed table.

    Attributes:
        table: Name of its table.
        path: Where it lies for people to read.
        day: Local day of its sales; None in a table that has one object for each customer.
        rows: Number of its rows.
        size_bytes: Its length.
        sha256: Digest of its content, 64 hex digits; it is kept under that name.
        etag: What the store said of it.
    """

    table: str
    path: str
    day: dt.date | None
    rows: int
    size_bytes: int
    sha256: str
    etag: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a customer's sealed tables consist of at one moment.

    Attributes:
        seq: Number of the manifest, counted from 1 for each customer.
        customer_id: The retailer.
        made_at: When it was made, UTC.
        objects: Its objects, by table and day.
        offsets: By raw table and partition the first offset that is not in it.
        first_sold_on: First day with a sale; None without sales.
        last_sold_on: Last day with a sale; None without sales.
        deliveries_up_to: Highest delivery id of any row that it covers.
    """

    seq: int
    customer_id: str
    made_at: dt.datetime
    objects: tuple[SealedObject, ...]
    offsets: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    first_sold_on: dt.date | None = None
    last_sold_on: dt.date | None = None
    deliveries_up_to: int | None = None

    def of(self, table: str) -> list[SealedObject]:
        """The objects of one table, by day."""
        return [item for item in self.objects if item.table == table]

    @property
    def path(self) -> str:
        """Where the manifest lies."""
        return manifest_path(self.customer_id, self.seq)

    def to_json(self) -> bytes:
        """The manifest as it is stored."""
        return json.dumps(asdict(self), default=_text, indent=1).encode()


def manifest_path(customer_id: str, seq: int) -> str:
    """Where a manifest of a customer lies."""
    return f"{FOLDER}/{customer_id}/{seq:010d}.json"


def from_json(data: bytes, path: str) -> Manifest:
    """Read a manifest.

    Raises:
        CorruptLakeError: It is not what `Manifest.to_json` writes.
    """
    try:
        fields: dict[str, Any] = json.loads(data)
        objects = tuple(sealed_object(item) for item in fields.pop("objects"))
        offsets = {
            table: {int(partition): int(offset) for partition, offset in partitions.items()}
            for table, partitions in fields.pop("offsets").items()
        }
        return Manifest(
            **{
                **fields,
                "made_at": dt.datetime.fromisoformat(fields["made_at"]),
                "first_sold_on": _day(fields["first_sold_on"]),
                "last_sold_on": _day(fields["last_sold_on"]),
            },
            objects=objects,
            offsets=offsets,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptLakeError(
            f"{path}: expected a manifest, found {error!r}; restore it from a backup"
        ) from error


def sealed_object(fields: Mapping[str, Any]) -> SealedObject:
    """An object as a manifest's JSON has it."""
    return SealedObject(**{**fields, "day": _day(fields["day"])})


def sealed_customers(store: BlobStore) -> list[str]:
    """Ids of the customers that have a manifest, sorted."""
    return store.folders(FOLDER)


def manifest_numbers(store: BlobStore, customer_id: str) -> list[int]:
    """Sequence numbers of a customer's manifests, in order.

    Raises:
        CorruptLakeError: Something else lies among them.
    """
    numbers = []
    for path in store.list(f"{FOLDER}/{customer_id}"):
        match = _NAME.match(path.rsplit("/", 1)[-1])
        if match is None:
            raise CorruptLakeError(f"{path}: expected only manifests such as 0000000001.json; remove it")
        numbers.append(int(match[1]))
    return numbers


def load_manifest(store: BlobStore, customer_id: str, seq: int | None = None) -> Manifest | None:
    """A customer's manifest.

    Args:
        store: The blob store.
        customer_id: The retailer.
        seq: Number of the manifest; None means the last one.

    Returns:
        The manifest, or None when there is none.
    """
    if seq is None:
        numbers = manifest_numbers(store, customer_id)
        if not numbers:
            return None
        seq = numbers[-1]
    path = manifest_path(customer_id, seq)
    try:
        return from_json(store.read(path), path)
    except NotFoundError:
        return None


def _day(text: str | None) -> dt.date | None:
    return None if text is None else dt.date.fromisoformat(text)


def _text(value: object) -> str:
    if isinstance(value, dt.date):  # A datetime is a date too.
        return value.isoformat()
    raise TypeError(f"a manifest holds no {type(value).__name__}")
