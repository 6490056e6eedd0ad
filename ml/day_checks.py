"""Whether a sealed day looks whole: against the same weekdays before it, in words.

Guarantee: pure; a day is judged by itself and the eight weeks before it. A day with an event is not compared with
usual ones, since nobody knows what is usual then.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

USUAL_WEEKS = 8
USUAL_DAYS_MIN = 3
"""Days of the same weekday without which nothing is usual."""
LOCATION_SHARE_MIN = 0.75
"""Share of the usual days on which a location has sold something, for it to be missed."""
NAMED_MAX = 3


@dataclass(frozen=True, slots=True)
class DayLimits:
    """What a day is measured by; shares from 0 to 1.

    Attributes:
        rows_min: Rows (pairs of location and product with a sale) ÷ the usual number, at least.
        rows_max: The same, at most.
        missing_locations_max: Share of the locations that usually sell and did not.
        refused_max: Share of the day's records that validation refused.
        unpriced_max: Share of the rows without a price beyond the usual share.
        price_jumps_max: Share of the products whose mean price is a multiple of the usual one or a fraction of it.
        price_factor: From which multiple on a price has jumped.
        late_noted: Share of the sales that came more than `late_days` after their day, from which on it is noted.
        late_days: Days that a sale may take.
        drift_noted: Share of the quantity sold in other departments than usual, from which on it is noted.
    """

    rows_min: float = 0.5
    rows_max: float = 2.5
    missing_locations_max: float = 0.1
    refused_max: float = 0.1
    unpriced_max: float = 0.2
    price_jumps_max: float = 0.2
    price_factor: float = 3.0
    late_noted: float = 0.5
    late_days: int = 2
    drift_noted: float = 0.3


@dataclass(frozen=True, slots=True)
class DayFinding:
    """Something about a day that is not as usual.

    Attributes:
        day: The day.
        code: rows, locations, refused, prices, unpriced, late or drift.
        text: What was expected and found.
        is_broken: Whether nothing should be learned from the day; else it is only worth knowing.
    """

    day: date
    code: str
    text: str
    is_broken: bool

    @property
    def line(self) -> str:
        """The finding with its day."""
        return f"{self.day}: {self.text}"


def first_usual_day(days: Sequence[date]) -> date:
    """The first day whose sales are needed to judge some days."""
    return min(days) - timedelta(weeks=USUAL_WEEKS)


def check_days(
    daily: pl.DataFrame,
    lines: pl.DataFrame,
    refused: pl.DataFrame,
    days: Sequence[date],
    eventful: Collection[date],
    limits: DayLimits,
) -> list[DayFinding]:
    """Judge days.

    Args:
        daily: The sealed sums from `first_usual_day` on: location_id, product_id, department, sold_on, quantity,
            revenue.
        lines: Sales of the days: sold_on, received_on (day on which each was accepted).
        refused: Records refused: sold_on, records.
        days: The days to judge.
        eventful: Days with an event.
        limits: What they are measured by.
    """
    findings: list[DayFinding] = []
    for day in sorted(days):
        usual_days = [day - timedelta(weeks=back) for back in range(1, USUAL_WEEKS + 1)]
        usual_days = [one for one in usual_days if one not in eventful]
        today, usual = (
            daily.filter(pl.col("sold_on") == day),
            daily.filter(pl.col("sold_on").is_in(usual_days)),
        )
        found = [_refused(day, lines, refused, limits), _late(day, lines, limits)]
        if usual["sold_on"].n_unique() >= USUAL_DAYS_MIN and day not in eventful:
            found += [
                _rows(day, today, usual, limits),
                _locations(day, today, usual, limits),
                _unpriced(day, today, usual, limits),
                _prices(day, today, usual, limits),
                _drift(day, today, usual, limits),
            ]
        findings += [finding for finding in found if finding is not None]
    return findings


def _rows(day: date, today: pl.DataFrame, usual: pl.DataFrame, limits: DayLimits) -> DayFinding | None:
    expected = _number(usual.group_by("sold_on").len().select(pl.col("len").median()))
    if limits.rows_min * expected <= today.height <= limits.rows_max * expected:
        return None
    text = f"{today.height:,} rows of daily sums, {expected:,.0f} are usual on this weekday"
    return DayFinding(day, "rows", text, is_broken=True)


def _locations(day: date, today: pl.DataFrame, usual: pl.DataFrame, limits: DayLimits) -> DayFinding | None:
    n_days = usual["sold_on"].n_unique()
    often = usual.group_by("location_id").agg(pl.col("sold_on").n_unique().alias("days"))
    expected = often.filter(pl.col("days") >= LOCATION_SHARE_MIN * n_days)
    missing = expected.join(today, on="location_id", how="anti").sort("location_id")["location_id"].to_list()
    if len(missing) <= limits.missing_locations_max * expected.height:
        return None
    named = ", ".join(missing[:NAMED_MAX]) + (" …" if len(missing) > NAMED_MAX else "")
    text = f"{len(missing)} of {expected.height} locations that usually sell on this weekday sold nothing: {named}"
    return DayFinding(day, "locations", text, is_broken=True)


def _refused(day: date, lines: pl.DataFrame, refused: pl.DataFrame, limits: DayLimits) -> DayFinding | None:
    count = _number(refused.filter(pl.col("sold_on") == day).select(pl.col("records").sum()))
    accepted = lines.filter(pl.col("sold_on") == day).height
    if not count or count <= limits.refused_max * (count + accepted):
        return None
    text = f"{count:,.0f} of {count + accepted:,.0f} records were refused, such as for an unknown location or product"
    return DayFinding(day, "refused", text, is_broken=True)


def _unpriced(day: date, today: pl.DataFrame, usual: pl.DataFrame, limits: DayLimits) -> DayFinding | None:
    found, expected = (_number(rows.select(pl.col("revenue").is_null().mean())) for rows in (today, usual))
    if found - expected <= limits.unpriced_max:
        return None
    text = f"{found:.0%} of the rows have no price, {expected:.0%} are usual"
    return DayFinding(day, "unpriced", text, is_broken=True)


def _prices(day: date, today: pl.DataFrame, usual: pl.DataFrame, limits: DayLimits) -> DayFinding | None:
    priced = pl.col("revenue") > 0, pl.col("quantity") > 0
    price = (pl.col("revenue").sum() / pl.col("quantity").sum()).alias("price")
    now, before = (rows.filter(*priced).group_by("product_id").agg(price) for rows in (today, usual))
    both = now.join(before, on="product_id", suffix="_usual").with_columns(
        factor=pl.col("price") / pl.col("price_usual")
    )
    factor = limits.price_factor
    jumped = both.filter((pl.col("factor") >= factor) | (pl.col("factor") <= 1 / factor)).sort("product_id")
    if jumped.height <= limits.price_jumps_max * both.height:
        return None
    row = jumped.row(0, named=True)
    example = f"such as {row['product_id']} from {row['price_usual']:.2f} to {row['price']:.2f}"
    of = f"prices of {jumped.height} of {both.height} products"
    text = f"{of} are {factor:g} times the usual or a fraction, {example}"
    return DayFinding(day, "prices", text, is_broken=True)


def _late(day: date, lines: pl.DataFrame, limits: DayLimits) -> DayFinding | None:
    mine = lines.filter(pl.col("sold_on") == day)
    late = _number(mine.select((pl.col("received_on") > day + timedelta(days=limits.late_days)).mean()))
    if late <= limits.late_noted:
        return None
    return DayFinding(
        day, "late", f"{late:.0%} of the sales came more than {limits.late_days} days later", is_broken=False
    )


def _drift(day: date, today: pl.DataFrame, usual: pl.DataFrame, limits: DayLimits) -> DayFinding | None:
    share = pl.col("quantity") / pl.col("quantity").sum()
    now, before = (
        rows.group_by(pl.col("department").fill_null(""))
        .agg(pl.col("quantity").sum())
        .with_columns(share=share)
        for rows in (today, usual)
    )
    both = now.join(before, on="department", how="full", suffix="_usual", coalesce=True).fill_null(0.0)
    moved = _number(both.select((pl.col("share") - pl.col("share_usual")).abs().sum() / 2))
    if moved <= limits.drift_noted:
        return None
    text = f"{moved:.0%} of the quantity was sold in other departments than usual on this weekday"
    return DayFinding(day, "drift", text, is_broken=False)


def _number(frame: pl.DataFrame) -> float:
    """The one number of a frame; 0 when there is none."""
    value = frame.item() if frame.height else None
    return 0.0 if value is None else float(value)
