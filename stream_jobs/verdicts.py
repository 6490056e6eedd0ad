"""Sales and the master data as of their deliveries → verdicts, error records and tallies.

Pure: columns in, columns out. Guarantee: each message of the work is either valid or one error record, and is
counted once.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from stream_jobs.local_days import local_days
from stream_jobs.master_tables import UNKNOWN, MasterTables, coded_keys
from stream_jobs.rules import UNDECODABLE, Rule, Verdicts, judge
from stream_jobs.waiting import Work

_TEXTS = pl.List(pl.String)
_CUSTOMER_KEY = re.compile(r"([a-z0-9][a-z0-9_-]{0,63})/")


def with_master_data(frame: pl.DataFrame, tables: MasterTables) -> pl.DataFrame:
    """Sales with what the rules ask of their locations and products, as of each sale's delivery."""
    deliveries = frame["delivery_id"]
    locations = tables.locations.lookup(coded_keys(frame, "location_id"), deliveries)
    products = tables.products.lookup(coded_keys(frame, "product_id"), deliveries)
    known = tables.locations.gather(locations, ["time_zone", "opened_on", "closed_on"])
    if known["opened_on"].null_count() == known["closed_on"].null_count() == frame.height:
        sold_on = pl.Series([None], dtype=pl.Date).new_from_index(0, frame.height)
    else:
        sold_on = local_days(frame["sold_at"], known["time_zone"])
    return frame.with_columns(
        pl.Series("location_known", locations != UNKNOWN),
        pl.Series("product_known", products != UNKNOWN),
        sold_on.alias("sold_on"),
        known["opened_on"],
        known["closed_on"],
    )


@dataclass(frozen=True, slots=True)
class Judged:
    """Work with its verdicts.

    Attributes:
        valid: Places in the batch of the valid messages, rising.
        errors: SaleError records of the others, in the order of their places.
        error_rows: Place in the batch of each error.
        tally: The counts, by customer and delivery.
    """

    valid: npt.NDArray[np.int64]
    errors: pl.DataFrame
    error_rows: npt.NDArray[np.int64]
    tally: "Tally"


def judge_work(work: Work, tables: MasterTables, rules: Sequence[Rule], now: datetime) -> Judged:
    """Judge sales whose master data is known.

    Args:
        work: The sales.
        tables: Locations and products.
        rules: The rules.
        now: Time of the verdict, UTC.
    """
    verdicts = judge(with_master_data(work.frame, tables), rules)
    tally = Tally.of(work.frame, verdicts)
    if verdicts.valid.all() and not work.bad:
        return Judged(work.rows, pl.DataFrame(), np.empty(0, dtype=np.int64), tally)
    refused = work.rows[~verdicts.valid]
    parts = [_refused(work, verdicts), _undecodable(work)]
    rows = np.concatenate([refused, np.array(sorted(work.bad), dtype=np.int64)])
    order = np.argsort(rows, kind="stable")
    rows = rows[order]
    batch = work.batch.take(rows)
    errors = pl.concat(parts)[order].with_columns(
        pl.Series("original", [value or b"" for value in batch.values], dtype=pl.Binary),
        pl.lit("sales").alias("content"),
        pl.lit(batch.topic).alias("source_topic"),
        pl.Series("source_partition", batch.partitions, dtype=pl.Int32),
        pl.Series("source_offset", batch.offsets, dtype=pl.Int64),
        pl.lit(now).cast(pl.Datetime("us", "UTC")).alias("judged_at"),
    )
    return Judged(work.rows[verdicts.valid], errors, rows, tally)


_AS_DELIVERED = {
    "customer_id": pl.String(),
    "delivery_id": pl.Int64(),
    "position": pl.Int64(),
    "sale_id": pl.String(),
    "location_id": pl.String(),
    "product_id": pl.String(),
    "sold_at": pl.Datetime("us", "UTC"),
    "quantity": pl.Float64(),
    "unit_price": pl.Float64(),
    "voided": pl.Boolean(),
}
"""What of a refused sale stands in its SaleError."""


def _refused(work: Work, verdicts: Verdicts) -> pl.DataFrame:
    frame = work.frame.filter(pl.Series(~verdicts.valid)).select(*_AS_DELIVERED)
    return frame.with_columns(
        verdicts.codes.alias("codes"),
        _qualified(verdicts.messages, frame["delivery_id"], work.without).alias("messages"),
    )


def _qualified(messages: pl.Series, deliveries: pl.Series, without: Mapping[int, str]) -> pl.Series:
    """Messages that say so when they were found without master data that was waited for too long."""
    if not without or messages.is_empty():
        return messages
    told = {
        delivery: f" (Judged without {words}: the longest wait was over.)"
        for delivery, words in without.items()
    }
    suffixes = deliveries.replace_strict(told, default="", return_dtype=pl.String)
    rows = pl.DataFrame([messages.alias("messages"), suffixes.alias("suffix")]).with_row_index("row")
    exploded = rows.explode("messages").with_columns(pl.col("messages") + pl.col("suffix"))
    return exploded.group_by("row", maintain_order=True).agg("messages")["messages"]


def _undecodable(work: Work) -> pl.DataFrame:
    places = sorted(work.bad)
    found = [f"Expected a sale as its schema says; found {work.bad[place]}." for place in places]
    return pl.DataFrame(
        {
            **dict.fromkeys(_AS_DELIVERED),
            "customer_id": [customer_of(work.batch.keys[place]) for place in places],
            "codes": [[UNDECODABLE]] * len(places),
            "messages": [[text] for text in found],
        },
        schema={**_AS_DELIVERED, "codes": _TEXTS, "messages": _TEXTS},
    )


def customer_of(key: bytes | None) -> str | None:
    """The customer that a message's key begins with, or None."""
    found = _CUSTOMER_KEY.match((key or b"").decode("utf-8", errors="replace"))
    return None if found is None else found.group(1)


@dataclass(slots=True)
class Count:
    """How many records of a delivery were judged.

    Attributes:
        valid: Records found valid.
        invalid: Records refused.
        by_code: Refused records by code; a record counts once under each of its codes.
    """

    valid: int = 0
    invalid: int = 0
    by_code: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Count") -> None:
        """Add other counts to these."""
        self.valid += other.valid
        self.invalid += other.invalid
        self.by_code.update(other.by_code)


class Tally(dict[tuple[str, int], Count]):
    """Counts by customer and delivery."""

    @classmethod
    def of(cls, frame: pl.DataFrame, verdicts: Verdicts) -> "Tally":
        """Count the verdicts on sales."""
        tally = cls()
        judged = frame.select("customer_id", "delivery_id", valid=pl.Series(verdicts.valid))
        counts = judged.group_by("customer_id", "delivery_id").agg(pl.len(), pl.col("valid").sum())
        for customer_id, delivery_id, records, valid in counts.rows():
            tally[customer_id, delivery_id] = Count(valid, records - valid)
        if not verdicts.valid.all():
            refused = (
                judged.filter(~pl.col("valid")).with_columns(verdicts.codes.alias("code")).explode("code")
            )
            by_code = refused.group_by("customer_id", "delivery_id", "code").len()
            for customer_id, delivery_id, code, count in by_code.rows():
                tally[customer_id, delivery_id].by_code[code] += count
        return tally

    def add(self, other: "Tally") -> None:
        """Add the counts of another tally."""
        for key, count in other.items():
            self.setdefault(key, Count()).add(count)

    def records(self, at: datetime) -> list[dict[str, object]]:
        """The counts as DeliveryTally records, in the order of the deliveries."""
        return [
            {
                "delivery_id": delivery_id,
                "customer_id": customer_id,
                "valid": count.valid,
                "invalid": count.invalid,
                "by_code": dict(count.by_code),
                "at": at,
            }
            for (customer_id, delivery_id), count in sorted(self.items(), key=lambda item: item[0][1])
        ]
