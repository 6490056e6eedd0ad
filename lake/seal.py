"""Sealing: each sale once, as the last delivery left it, by day; and the master data as it stands.

Guarantee: the write of the manifest is the commit. Before it nothing that anybody reads has changed; after
it everything that it names lies under its digest. Two seals at once do no harm, the later one begins again on
the other's manifest; a seal that is killed at any point leaves the lake as before or as after, and the next
one completes the layout of the folders. Sealing the same raw files in any portions gives the same rows.

Memory is bounded by the raw files of one step, of which only ids are held at once, and by a group of days.
"""

import datetime as dt
import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl

from infra.blobs import BlobStore
from infra.errors import AlreadyExistsError, FaultError, HeadraceError, UnavailableError
from lake.guide import explain
from lake.lines import LineSource
from lake.manifests import Manifest, SealedObject, load_manifest, manifest_numbers
from lake.merge import Merge, daily, merge, newest
from lake.news import Chains, ReadFile, Unread
from lake.objects import find, in_threads, keep, lay_out
from lake.scan import collect, scan
from schemas.lake_tables import LAKE_TABLES, MASTER_KEYS, empty_frame

logger = logging.getLogger(__name__)

STEP_ROWS_MAX = 8_000_000
GROUP_ROWS_MAX = 1_000_000
IDS_ROWS_MAX = 4_000_000
TRIES = 5

_SEALED, _DAILY, _WITHDRAWN = (
    LAKE_TABLES[name] for name in ("sales_sealed", "sales_daily", "sales_withdrawn")
)


def seal(store: BlobStore, customer_id: str, now: dt.datetime) -> Manifest | None:
    """Seal what has arrived for a customer since the last manifest.

    Args:
        store: The blob store.
        customer_id: The retailer.
        now: The time, UTC; stands in the manifest and decides nothing.

    Returns:
        The new manifest; the last of them when so much had arrived that it took several. None when nothing
        had.

    Raises:
        CorruptLakeError: A raw or sealed file is not what the lake wrote.
        FaultError: The time has no zone.
        UnavailableError: The store does not answer, or other seals of the customer kept being faster.
    """
    if now.tzinfo is None:
        raise FaultError(f"sealing {customer_id}: expected the time with its zone, found {now}")
    made: Manifest | None = None
    chains = Chains(store)
    lost = 0
    while lost < TRIES:
        base = load_manifest(store, customer_id)
        manifest = seal_step(store, customer_id, base, chains, now)
        if manifest is None:
            if base is None or _laid_out(store, base):
                if made is not None:
                    _explained(store, now, made)
                return made
            lost += 1
        elif _commit(store, manifest):
            made, lost = manifest, 0
        else:
            lost += 1
    raise UnavailableError(
        f"sealing {customer_id}: {TRIES} manifests by others came first; let one of them run"
    )


def _explained(store: BlobStore, now: dt.datetime, manifest: Manifest) -> None:
    """Bring what the lake says of itself up to date; what is sealed is sealed, whether or not that can be done."""
    try:
        explain(store, now, manifest)
    except HeadraceError as error:
        logger.warning(
            "the lake's catalogue was left as it was: %s; mend that, then `headrace lake make`", error
        )


def _laid_out(store: BlobStore, manifest: Manifest) -> bool:
    """Lay out the folders; whether the manifest was still the last one afterwards."""
    if count := lay_out(store, manifest):
        logger.info("laid out %d objects of %s as of manifest %d", count, manifest.customer_id, manifest.seq)
    return manifest_numbers(store, manifest.customer_id)[-1] == manifest.seq


def _commit(store: BlobStore, manifest: Manifest) -> bool:
    """Write a manifest; whether it is this one that now stands."""
    try:
        store.put_if_absent(manifest.path, manifest.to_json())
    except AlreadyExistsError:
        # The first answer to our own write may have been lost, and the write repeated.
        return load_manifest(store, manifest.customer_id, manifest.seq) == manifest
    return True


def seal_step(
    store: BlobStore, customer_id: str, base: Manifest | None, chains: Chains, now: dt.datetime
) -> Manifest | None:
    """Make the next manifest and all that it names, without committing it; None when there is no news."""
    start = {table: dict(partitions) for table, partitions in base.offsets.items()} if base else {}
    unread = chains.beyond(start).first(STEP_ROWS_MAX)
    if not any(unread.of(customer_id, table) for table in unread.files):
        return None
    objects = {(item.table, item.day): item for item in base.objects} if base else {}
    sales = unread.of(customer_id, "sales_joined")
    highest = [base.deliveries_up_to] if base and base.deliveries_up_to is not None else []
    if sales:
        highest += _seal_sales(store, customer_id, objects, sales)
    for name in MASTER_KEYS:
        highest += _seal_master(store, customer_id, objects, name, unread)
    days = [day for table, day in objects if table == _SEALED.name and day is not None]
    return Manifest(
        seq=base.seq + 1 if base else 1,
        customer_id=customer_id,
        made_at=now,
        objects=tuple(objects[key] for key in sorted(objects, key=lambda key: (key[0], str(key[1])))),
        offsets=unread.offsets(start),
        first_sold_on=min(days, default=None),
        last_sold_on=max(days, default=None),
        deliveries_up_to=max(highest, default=None),
    )


_Objects = dict[tuple[str, dt.date | None], SealedObject]


def _seal_sales(
    store: BlobStore, customer_id: str, objects: _Objects, files: Sequence[ReadFile]
) -> list[int]:
    """Merge new raw files into the sealed days; returns the highest delivery id in them."""
    source = LineSource(store, customer_id, files)
    new = source.ids()
    sealed = _sealed_versions(store, objects, new)
    withdrawn = _state(store, objects, _WITHDRAWN.name)
    changes = merge(new, sealed, withdrawn)
    if changes.withdrawn_changed:
        item = keep(store, _WITHDRAWN, customer_id, None, changes.withdrawn)
        objects[_WITHDRAWN.name, None] = item
    with tempfile.TemporaryDirectory(prefix="headrace-seal-") as folder:
        groups = list(_day_groups(objects, changes))
        source.spill(changes.added, groups, Path(folder))
        for number, group in enumerate(groups):
            added = source.spilled(number, Path(folder))
            _seal_days(store, customer_id, objects, group, added, changes.removed)
    return [int(highest)] if (highest := new["delivery_id"].max()) is not None else []  # type: ignore[arg-type]


def _sealed_versions(store: BlobStore, objects: _Objects, new: pl.DataFrame) -> pl.DataFrame:
    """Versions and days of the sealed lines whose sale ids come anew: `sale_id`, the version, `sold_on`."""
    wanted = new.select("sale_id").unique()
    items = [item for (table, _), item in objects.items() if table == _SEALED.name]
    found = [empty_frame(_SEALED.schema).select("sale_id", "delivery_id", "position", "sold_on")]
    for group in _portions(items, IDS_ROWS_MAX):
        ids = scan(store, find(store, group), _SEALED).select("sale_id", "delivery_id", "position", "sold_on")
        found.append(collect(ids.join(wanted.lazy(), on="sale_id", how="semi"), store))
    return pl.concat(found)


def _portions(items: Iterable[SealedObject], rows_max: int) -> Iterator[list[SealedObject]]:
    """Objects in portions of so many rows together, each at least one object."""
    portion: list[SealedObject] = []
    for item in items:
        if portion and sum(other.rows for other in portion) + item.rows > rows_max:
            yield portion
            portion = []
        portion.append(item)
    if portion:
        yield portion


def _day_groups(objects: _Objects, changes: Merge) -> Iterator[list[dt.date]]:
    """The days that change, in order, in groups of bounded numbers of rows."""
    counts = dict(changes.added.group_by("sold_on").len().iter_rows())
    days = sorted({*counts, *changes.removed["sold_on"].unique().to_list()})
    group: list[dt.date] = []
    rows = 0
    for day in days:
        before = objects.get((_SEALED.name, day))
        size = counts.get(day, 0) + (before.rows if before else 0)
        if group and rows + size > GROUP_ROWS_MAX:
            yield group
            group, rows = [], 0
        group.append(day)
        rows += size
    if group:
        yield group


def _seal_days(
    store: BlobStore,
    customer_id: str,
    objects: _Objects,
    days: Sequence[dt.date],
    added: pl.DataFrame,
    removed: pl.DataFrame,
) -> None:
    """Write the objects of a group of days; a day without a sale left has none."""
    added_by_day = added.partition_by("sold_on", as_dict=True, include_key=False)
    gone_by_day = removed.filter(pl.col("sold_on").is_in(list(days))).partition_by("sold_on", as_dict=True)

    def seal_day(day: dt.date) -> tuple[SealedObject, SealedObject] | None:
        parts = [added_by_day[(day,)]] if (day,) in added_by_day else []
        before = objects.get((_SEALED.name, day))
        if before is not None:
            lines = collect(scan(store, find(store, [before]), _SEALED), store).drop("sold_on")
            if (day,) in gone_by_day:
                lines = lines.join(gone_by_day[(day,)], on="sale_id", how="anti")
            parts.append(lines)
        lines = pl.concat([part.select(_SEALED.file_schema.names) for part in parts])
        if lines.is_empty():
            return None
        return (
            keep(store, _SEALED, customer_id, day, lines),
            keep(store, _DAILY, customer_id, day, daily(lines)),
        )

    for day, items in zip(days, in_threads(seal_day, days), strict=True):
        for place, table in enumerate((_SEALED, _DAILY)):
            if items is None:
                objects.pop((table.name, day), None)
            else:
                objects[table.name, day] = items[place]


def _seal_master(
    store: BlobStore, customer_id: str, objects: _Objects, name: str, unread: Unread
) -> list[int]:
    """Bring the state of one kind of master data up to date; returns the highest delivery id that came."""
    files = unread.of(customer_id, f"changes_{name}")
    if not files:
        return []
    table = LAKE_TABLES[name]
    raw = scan(store, [file.path for file, _ in files], LAKE_TABLES[f"changes_{name}"])
    rows = collect(raw.filter(pl.col("customer_id") == customer_id), store).select(table.file_schema.names)
    state = newest(pl.concat([_state(store, objects, name), rows]), MASTER_KEYS[name])
    objects[name, None] = keep(store, table, customer_id, None, state)
    return [int(rows["delivery_id"].max())]  # type: ignore[arg-type]


def _state(store: BlobStore, objects: _Objects, name: str) -> pl.DataFrame:
    """The rows of a table that has one object for each customer; none when there is no object yet."""
    item = objects.get((name, None))
    paths = find(store, [item]) if item else []
    return collect(scan(store, paths, LAKE_TABLES[name]), store)
