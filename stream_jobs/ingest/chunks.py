"""A delivered file as chunks of records, each small enough for one transaction.

Guarantee: the same file gives the same records at the same positions every time it is read, so that reading
can go on behind any position. Sales are left to be judged later; master data are judged here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from stream_jobs.deliveries import Delivery
from stream_jobs.ingest.blocks import Block, Limits
from stream_jobs.ingest.columns import typed
from stream_jobs.ingest.contents import Content
from stream_jobs.ingest.master_rules import master_rules
from stream_jobs.ingest.repeats import Repeats
from stream_jobs.rules import judge
from stream_jobs.verdicts import Tally

CHUNK_BYTES_MAX = 64 * 2**20
"""Text that one transaction carries at most; one block more where blocks are larger."""

ERROR_IDS = ("sale_id", "location_id", "product_id")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive records of a delivery.

    Attributes:
        last_position: Position of its last record, counted from 1.
        records: What goes to the content's own topic: columns of its Avro record.
        refused: SaleError records of refused master data; no rows for sales.
        tally: Counts of judged master data; empty for sales.
    """

    last_position: int
    records: pl.DataFrame
    refused: pl.DataFrame
    tally: Tally


def chunks_of(
    blocks: Iterable[Block], delivery: Delivery, content: Content, limits: Limits, now: datetime
) -> Iterator[Chunk]:
    """Turn blocks into chunks of at most `limits.chunk_rows` records.

    Args:
        blocks: The whole file from its beginning.
        delivery: What the file is; records up to its `position` are passed over.
        content: What the file holds.
        limits: Bounds.
        now: Time at which master data are judged, UTC.
    """
    held: list[Chunk] = []
    rows = size = 0
    for part in _parts(blocks, delivery, content, limits, now):
        part_rows = part.records.height + part.refused.height
        part_size = int(part.records.estimated_size() + part.refused.estimated_size())
        if held and (rows + part_rows > limits.chunk_rows or size + part_size > CHUNK_BYTES_MAX):
            yield _joined(held)
            held, rows, size = [], 0, 0
        held.append(part)
        rows, size = rows + part_rows, size + part_size
    if held:
        yield _joined(held)


def _joined(parts: list[Chunk]) -> Chunk:
    tally = Tally()
    for part in parts:
        tally.add(part.tally)
    return Chunk(
        parts[-1].last_position,
        pl.concat([part.records for part in parts]),
        pl.concat([part.refused for part in parts]),
        tally,
    )


def _parts(
    blocks: Iterable[Block], delivery: Delivery, content: Content, limits: Limits, now: datetime
) -> Iterator[Chunk]:
    repeats, before = Repeats(), 0
    for block in blocks:
        frame = _placed(typed(block, content, limits), delivery, before)
        if content.name == "sales":
            # Ids of passed records count too: what comes behind may repeat them.
            frame = frame.with_columns(repeats.mark(frame["sale_id"]))
        first, before = max(0, delivery.position - before), before + block.rows
        if first >= block.rows:
            continue
        if content.name == "sales":
            yield _sales(block, frame, first, before)
        else:
            yield _master_data(block, frame, first, before, content, now)


def _placed(frame: pl.DataFrame, delivery: Delivery, before: int) -> pl.DataFrame:
    """The records with where they come from."""
    return frame.with_columns(
        pl.lit(delivery.customer_id).alias("customer_id"),
        pl.lit(delivery.delivery_id, dtype=pl.Int64).alias("delivery_id"),
        pl.int_range(before + 1, before + 1 + pl.len(), dtype=pl.Int64).alias("position"),
        pl.lit(delivery.accepted_at, dtype=pl.Datetime("us", "UTC")).alias("received_at"),
    )


def _sales(block: Block, frame: pl.DataFrame, first: int, last_position: int) -> Chunk:
    original = pl.Series("original", [None], dtype=pl.String).new_from_index(0, frame.height)
    unread = frame["defect"].is_not_null().arg_true().to_list()
    if unread:
        original = original.scatter(unread, block.originals(unread))
    return Chunk(last_position, frame.with_columns(original).slice(first), pl.DataFrame(), Tally())


def _master_data(
    block: Block, frame: pl.DataFrame, first: int, last_position: int, content: Content, now: datetime
) -> Chunk:
    frame = frame.slice(first)
    verdicts = judge(frame, master_rules(content.name))
    valid = pl.Series(verdicts.valid)
    rows = [first + row for row in (~valid).arg_true().to_list()]
    originals = [text.encode() for text in block.originals(rows)] if rows else []
    bad = frame.filter(~valid)
    texts = {name: bad[name] if name in bad.columns else None for name in ERROR_IDS}
    refused = bad.select("customer_id", "delivery_id", "position").with_columns(
        pl.lit(content.name).alias("content"),
        *(pl.lit(values, dtype=pl.String).alias(name) for name, values in texts.items()),
        verdicts.codes.alias("codes"),
        verdicts.messages.alias("messages"),
        pl.Series("original", originals, dtype=pl.Binary),
        pl.lit(now, dtype=pl.Datetime("us", "UTC")).alias("judged_at"),
    )
    return Chunk(last_position, frame.filter(valid).drop("defect"), refused, Tally.of(frame, verdicts))
