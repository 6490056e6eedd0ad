"""Refused sales judged again by the rules as they are now; those that hold go on as if they had at once.

A sale that is valid after all goes to the partition of `sales-validated` that it always would have, byte for
byte. `sales-error` gets the new word on it (no codes: valid), and `delivery-tallies` the difference, so the
delivery's report and the list of its refusals follow. Guarantee: exactly once. Each step is one transaction, and
a sale of which `sales-error` has a later word is not judged by the earlier one; so a replay that is killed, or
run again, publishes no sale a second time.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import polars as pl

from infra.blobs import BlobStore
from infra.extents import extents
from infra.settings import Settings
from infra.topic_reader import TopicReader
from schemas.catalogue import DELIVERY_TALLIES, SALES_ERROR, SALES_INPUT, SALES_VALIDATED
from schemas.codec import Codec
from schemas.registry import Registry
from stream_jobs.master_reader import MasterReader
from stream_jobs.rules import Rule, judge
from stream_jobs.transactions import Transactions
from stream_jobs.verdicts import Count, Tally, with_master_data

logger = logging.getLogger(__name__)

JOB = "replay"
READ_S_MAX = 900.0
_SOURCE = ["source_partition", "source_offset"]
LATEST = 2**62
"""A delivery that comes after all there are: its sales know all master data."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which refused sales are judged again; None means all.

    Attributes:
        customer_id: Only this customer's.
        delivery_id: Only this delivery's.
        code: Only those that break this rule.
        known_now: Judge by the master data that is known now, and not as of each sale's delivery.
    """

    customer_id: str | None = None
    delivery_id: int | None = None
    code: str | None = None
    known_now: bool = False

    def of(self, refusals: pl.DataFrame) -> pl.DataFrame:
        """Those of the refusals that are wanted."""
        keep = pl.col("codes").list.len() > 0
        if self.customer_id is not None:
            keep &= pl.col("customer_id") == self.customer_id
        if self.delivery_id is not None:
            keep &= pl.col("delivery_id") == self.delivery_id
        if self.code is not None:
            keep &= pl.col("codes").list.contains(self.code)
        return refusals.filter(keep)


@dataclass(slots=True)
class Outcome:
    """What came of a replay.

    Attributes:
        judged: Sales judged again.
        valid: Those of them that are valid now.
        otherwise: Those that are refused for other reasons now.
        by_code: Those that are refused now, by code.
    """

    judged: int = 0
    valid: int = 0
    otherwise: int = 0
    by_code: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Step:
    """Refusals judged again.

    Attributes:
        refusals: SaleError records whose verdict is another now, with the codes and messages of now.
        before: The codes of each before.
    """

    refusals: pl.DataFrame
    before: pl.Series

    def tally(self) -> Tally:
        """What the new verdicts change in the counts of their deliveries."""
        tally = Tally()
        columns = self.refusals.select("customer_id", "delivery_id", "codes").with_columns(before=self.before)
        for customer_id, delivery_id, codes, before in columns.rows():
            count = tally.setdefault((customer_id, delivery_id), Count())
            count.add(Count(int(not codes), -int(not codes), Counter(codes)))
            count.by_code.subtract(before)
        return tally


def judge_again(refusals: pl.DataFrame, sales: pl.DataFrame, rules: Sequence[Rule], now: datetime) -> Step:
    """New verdicts on refused sales.

    Args:
        refusals: SaleError records.
        sales: The sale of each, with its master data.
        rules: The rules.
        now: Time of the verdict, UTC.
    """
    verdicts = judge(sales, rules)
    invalid = pl.Series(np.flatnonzero(~verdicts.valid), dtype=pl.UInt32)
    texts = pl.List(pl.String)
    told = pl.DataFrame(
        [invalid.alias("row"), verdicts.codes.alias("codes"), verdicts.messages.alias("messages")]
    )
    rows = pl.DataFrame({"row": range(refusals.height)}, schema={"row": pl.UInt32})
    nothing = pl.lit([], dtype=texts)
    newly = rows.join(told, on="row", how="left", maintain_order="left").with_columns(
        pl.col("codes", "messages").fill_null(nothing)
    )
    judged = refusals.with_columns(
        newly["codes"], newly["messages"], pl.lit(now).cast(pl.Datetime("us", "UTC")).alias("judged_at")
    )
    changed = pl.select(newly["codes"].list.sort() != refusals["codes"].list.sort()).to_series()
    return Step(judged.filter(changed), refusals["codes"].filter(changed))


def run_replay(
    settings: Settings, store: BlobStore, rules: Sequence[Rule], wanted: Wanted, *, dry: bool = False
) -> Outcome:
    """Judge refused sales again.

    Args:
        settings: Where everything is.
        store: Where snapshots lie.
        rules: The rules of now.
        wanted: Which sales.
        dry: Only count what would come of it.

    Raises:
        UnavailableError: The brokers do not answer.
        FencedError: Another replay has begun.
    """
    registry = Registry(settings)
    # A replay that has begun before is fenced here, so what is read next is its last word.
    transactions = Transactions(settings, JOB, JOB)
    reader = None
    try:
        reader = MasterReader(settings, registry, store, JOB)
        reader.catch_up()
        outcome = Outcome()
        replay = _Replay(registry, reader, rules, wanted)
        for refusals in _portions(
            wanted.of(_standing(settings, registry)), settings.stream.transaction_rows_max
        ):
            step = replay.judge(refusals, outcome)
            if not dry and step.refusals.height:
                replay.write(step, transactions)
                transactions.commit()
        return outcome
    finally:
        transactions.close()
        if reader is not None:
            reader.close()
        registry.close()


class _Replay:
    def __init__(
        self, registry: Registry, reader: MasterReader, rules: Sequence[Rule], wanted: Wanted
    ) -> None:
        self._sales = Codec(SALES_INPUT, registry)
        self._errors = Codec(SALES_ERROR, registry)
        self._tallies = Codec(DELIVERY_TALLIES, registry)
        self._reader = reader
        self._rules = rules
        self._known_now = wanted.known_now

    def judge(self, refusals: pl.DataFrame, outcome: Outcome) -> Step:
        decoded = self._sales.decode(refusals["original"].to_list())
        # What could not be decoded then and cannot now stays what it is.
        refusals = refusals[decoded.rows]
        frame = decoded.frame
        if self._known_now:
            deliveries = frame["delivery_id"]
            seen = frame.with_columns(pl.lit(LATEST, pl.Int64).alias("delivery_id"))
            sales = with_master_data(seen, self._reader.tables).with_columns(deliveries)
        else:
            sales = with_master_data(frame, self._reader.tables)
        step = judge_again(refusals, sales, self._rules, datetime.now(UTC))
        valid = step.refusals.filter(pl.col("codes").list.len() == 0).height
        outcome.judged += refusals.height
        outcome.valid += valid
        outcome.otherwise += step.refusals.height - valid
        unchanged = refusals.join(step.refusals, on=_SOURCE, how="anti")
        for codes in (*step.refusals["codes"].to_list(), *unchanged["codes"].to_list()):
            outcome.by_code.update(codes)
        return step

    def write(self, step: Step, transactions: Transactions) -> None:
        key = pl.concat_str("customer_id", pl.col("location_id").fill_null(""), separator="/")
        told = step.refusals.with_columns(
            pl.Series("value", self._errors.encode(step.refusals), dtype=pl.Binary), key=key
        )
        for (partition,), own in told.partition_by("source_partition", as_dict=True).items():
            transactions.write(SALES_ERROR, partition, own["value"].to_list(), own["key"].to_list())
            valid = own.filter(pl.col("codes").list.len() == 0)
            if valid.height:
                originals, keys = valid["original"].to_list(), valid["key"].to_list()
                transactions.write(SALES_VALIDATED, partition, originals, keys)
        records = step.tally().records(datetime.now(UTC))
        values = [self._tallies.encode_record(record) for record in records]
        transactions.write(DELIVERY_TALLIES, 0, values, [str(record["delivery_id"]) for record in records])


def _portions(refusals: pl.DataFrame, rows_max: int) -> Iterator[pl.DataFrame]:
    for start in range(0, refusals.height, rows_max):
        yield refusals.slice(start, rows_max)


def _standing(settings: Settings, registry: Registry) -> pl.DataFrame:
    """The last word on every sale that was ever refused and that the topic still holds."""
    codec = Codec(SALES_ERROR, registry)
    starts = {place: extent.first for place, extent in extents(settings, [SALES_ERROR]).items()}
    reader = TopicReader(settings, [SALES_ERROR], JOB, starts)
    frames: list[pl.DataFrame] = [codec.empty]
    try:
        for messages in reader.read_to_end(READ_S_MAX):
            frame = codec.decode([message.value() for message in messages]).frame
            frames.append(frame.filter(pl.col("source_topic") == SALES_INPUT))
    finally:
        reader.close()
    return pl.concat(frames).unique(_SOURCE, keep="last", maintain_order=True)
