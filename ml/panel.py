"""The panel: one row for each location and product, one column for each day, as dense matrices.

Guarantee: a missing sale is a zero only where the product was on sale, and unknown everywhere else. Whatever
is asked "as of" an origin depends on no sale after it; what is known ahead (prices, promotions, events,
openings and endings) may be looked at beyond it, as far as it was delivered.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from infra.errors import FaultError
from ml.event_calendar import EventCalendar, build_calendar
from ml.matrices import NEVER, days_from, mean_unit_value, scatter_prices, scatter_sales, shut_days


@dataclass(frozen=True, slots=True)
class SeriesCodes:
    """What each series belongs to, as numbers from 0.

    Attributes:
        location: (n_series,) index in `locations`.
        region: (n_series,) index in the calendar's regions.
        product: (n_series,) index of the product.
        department: (n_series,) index of the department; products without one share one.
        group: (n_series,) index of the pair of location and department.
        locations: Ids of the locations.
        departments: Names of the departments; "" for none.
        location_region: (n_locations,) region of each location.
        n_products: Number of products.
        n_groups: Number of pairs of location and department.
    """

    location: NDArray[np.int32]
    region: NDArray[np.int32]
    product: NDArray[np.int32]
    department: NDArray[np.int32]
    group: NDArray[np.int32]
    locations: tuple[str, ...]
    departments: tuple[str, ...]
    location_region: NDArray[np.int32]
    n_products: int
    n_groups: int


@dataclass(frozen=True, slots=True)
class EarlierTotals:
    """What each group sold before the panel's first day.

    Attributes:
        days: (n_earlier,) consecutive days, the last of them the day before the panel's first; may be none.
        units: (n_groups, n_earlier) float64, units sold.
        shut: (n_locations, n_earlier) bool, days on which a location evidently did not open.
        calendar: Events by region, over these days and the panel's.
    """

    days: NDArray[np.datetime64]
    units: NDArray[np.float64]
    shut: NDArray[np.bool_]
    calendar: EventCalendar


@dataclass(frozen=True, slots=True)
class Panel:
    """Sales and what is known ahead, by series and day.

    Attributes:
        series: n_series rows, sorted by location_id and product_id: location_id, product_id, region,
            department, category, unit.
        days: (n_days,) consecutive days, the horizon included.
        origin: Index in `days` of the last day whose sales are known.
        quantity: (n_series, n_days) float32, units sold; NaN after the origin and where not on sale.
        on_sale: (n_series, n_days) bool; up to the origin as it was, after it as it is planned.
        price: (n_series, n_days) float32, price of one unit as delivered ahead; NaN when none is known.
        promotion: (n_series, n_days) bool.
        allowed: (n_series, n_days) bool, false where the plan alone forbids a sale.
        planned_from: (n_series,) first day on sale by the plan alone; may lie before the first day, or be
            `NEVER`.
        first_sale: (n_series,) day of the first sale, or `NEVER`.
        unit_value: (n_series,) float32 above 0, mean price of a unit; weighs series, and is no feature.
        fractional: (n_series,) bool, true where quantities are not whole numbers.
        shut: (n_locations, n_days) bool, days on which a location evidently did not open.
        calendar: Events by region and day.
        codes: What each series belongs to.
        earlier: Totals of the groups before the first day.
    """

    series: pl.DataFrame
    days: NDArray[np.datetime64]
    origin: int
    quantity: NDArray[np.float32]
    on_sale: NDArray[np.bool_]
    price: NDArray[np.float32]
    promotion: NDArray[np.bool_]
    allowed: NDArray[np.bool_]
    planned_from: NDArray[np.int32]
    first_sale: NDArray[np.int32]
    unit_value: NDArray[np.float32]
    fractional: NDArray[np.bool_]
    shut: NDArray[np.bool_]
    calendar: EventCalendar
    codes: SeriesCodes
    earlier: EarlierTotals

    @property
    def n_series(self) -> int:
        """Number of series."""
        return self.series.height

    @property
    def horizon_days(self) -> int:
        """Days after the origin."""
        return len(self.days) - 1 - self.origin

    def day(self, index: int) -> date:
        """The date of a day index."""
        return date.fromisoformat(str(self.days[index]))

    def day_index(self, day: date) -> int:
        """The index of a date.

        Raises:
            FaultError: The date is outside the panel.
        """
        index = int((np.datetime64(day) - self.days[0]).astype(int))
        if not 0 <= index < len(self.days):
            raise FaultError(f"The panel covers {self.days[0]} to {self.days[-1]}; {day} lies outside.")
        return index


def build_panel(
    daily: pl.DataFrame,
    locations: pl.DataFrame,
    products: pl.DataFrame,
    prices: pl.DataFrame | None,
    events: pl.DataFrame | None,
    origin: date,
    horizon_days: int,
    history_days_max: int = 800,
    earlier: pl.DataFrame | None = None,
) -> Panel:
    """Lay one customer's sales and plans out by series and day.

    A series is a pair of location and product that was sold, or has a price, within the days. It is on sale
    from its first price or first sale on, whichever is earlier; a product introduced within the days, that
    has no price there, from its introduction on. It ends at the product's end, the location's closing, or a
    null price. A day with a sale is a day on sale in any case.

    Args:
        daily: Columns location_id, product_id, sold_on, quantity and, if at hand, revenue. Rows after the
            origin are left out.
        locations: Columns location_id and, if at hand, region, opened_on, closed_on.
        products: Columns product_id and, if at hand, department, category, unit, introduced_on, ended_on.
        prices: Columns location_id, product_id, valid_from, unit_price, promotion; None when none are
            delivered.
        events: Columns date, name, type, region; None when none are delivered.
        origin: Last day whose sales are known.
        horizon_days: Days to look ahead.
        history_days_max: Days before the horizon that are kept at most; bounds the memory.
        earlier: Columns location_id, department, sold_on, quantity: sales of before those days, summed by
            location and department; rows within them, and of groups without a series, are left out.

    Returns:
        The panel. It has no series when nothing was sold and nothing is priced.

    Raises:
        FaultError: A frame holds more than one customer, or the horizon is empty.
    """
    _check(daily, locations, products, prices, horizon_days, history_days_max)
    sales = daily.filter(pl.col("sold_on") <= origin, pl.col("quantity") > 0)
    first = max(_earliest(sales, origin), origin - timedelta(days=history_days_max - 1))
    last = origin + timedelta(days=horizon_days)
    days = np.arange(np.datetime64(first), np.datetime64(last) + 1)
    origin_index = int((np.datetime64(origin) - days[0]).astype(int))
    sales = sales.filter(pl.col("sold_on") >= first)
    plan = _relevant_prices(prices, first, last)
    series = _series(sales, plan, locations, products, first, last)
    codes = _codes(series)
    shape = (series.height, len(days))
    row = series.select("location_id", "product_id").with_row_index("row")

    sold = scatter_sales(sales.join(row, on=["location_id", "product_id"]), first, shape)
    price, promotion, withheld, priced_from = scatter_prices(
        plan.join(row, on=["location_id", "product_id"]), first, shape
    )
    allowed, planned_from = _plan(series, first, withheld, priced_from)
    is_sold = sold > 0
    first_sale = np.where(is_sold.any(axis=1), is_sold.argmax(axis=1), NEVER).astype(np.int32)
    shut = shut_days(sold, codes.location, len(codes.locations), origin_index)
    on_sale = allowed & (np.arange(shape[1]) >= np.minimum(planned_from, first_sale)[:, None])
    on_sale &= ~shut[codes.location]
    on_sale |= is_sold
    sold[~on_sale] = np.nan
    sold[:, origin_index + 1 :] = np.nan
    regions = tuple(series["region"].fill_null("").unique().sort())
    calendar = build_calendar(events, regions, days)
    panel = Panel(
        series=series.drop("opened_on", "closed_on", "introduced_on", "ended_on"),
        days=days,
        origin=origin_index,
        quantity=sold,
        on_sale=on_sale,
        price=price,
        promotion=promotion,
        allowed=allowed,
        planned_from=planned_from,
        first_sale=first_sale,
        unit_value=mean_unit_value(price[:, : origin_index + 1], sales, row),
        fractional=(np.nan_to_num(sold) % 1 != 0).any(axis=1),
        shut=shut,
        calendar=calendar,
        codes=codes,
        earlier=_earlier(earlier, series, codes, events, days, calendar),
    )
    on_sale[:, origin_index + 1 :] = on_sale_ahead(panel, origin_index, horizon_days)
    return panel


def start_as_of(panel: Panel, origin: int) -> NDArray[np.int32]:
    """First day on sale of each series, as far as it is known at an origin.

    Returns:
        (n_series,) day index; may be negative, and is `NEVER` for a series of which nothing was known.
    """
    first_sale = np.where(panel.first_sale <= origin, panel.first_sale, NEVER)
    return np.minimum(panel.planned_from, first_sale).astype(np.int32)


def on_sale_ahead(panel: Panel, origin: int, horizon_days: int) -> NDArray[np.bool_]:
    """Where the plan, as known at an origin, has a series on sale on the days after it.

    Returns:
        (n_series, horizon_days) bool.
    """
    ahead = np.arange(origin + 1, origin + 1 + horizon_days)
    planned = panel.allowed[:, ahead] & (ahead >= start_as_of(panel, origin)[:, None])
    return planned & ~shut_ahead(panel, origin, horizon_days)[panel.codes.location]


def shut_ahead(panel: Panel, origin: int, horizon_days: int) -> NDArray[np.bool_]:
    """On which days after an origin a location is expected not to open.

    A location counts as shut on the day of an event when it was shut on every earlier day of an event with
    that name, as far back as its totals go.

    Returns:
        (n_locations, horizon_days) bool.
    """
    shut = np.zeros((len(panel.codes.locations), horizon_days), dtype=np.bool_)
    calendar = panel.earlier.calendar
    known = np.concatenate([panel.earlier.shut, panel.shut[:, : origin + 1]], axis=1)
    origin = known.shape[1] - 1
    region, day, name = calendar.names.T
    if calendar.n_names and known.any():
        at, event = np.nonzero(panel.codes.location_region[:, None] == region)
        past, coming = day[event] <= origin, (day[event] > origin) & (day[event] <= origin + horizon_days)
        was_shut = np.zeros((len(shut), calendar.n_names), dtype=np.bool_)
        was_open = np.zeros_like(was_shut)
        held = known[at[past], day[event[past]]]
        was_shut[at[past][held], name[event[past][held]]] = True
        was_open[at[past][~held], name[event[past][~held]]] = True
        stays_shut = (was_shut & ~was_open)[at[coming], name[event[coming]]]
        np.logical_or.at(shut, (at[coming], day[event[coming]] - origin - 1), stays_shut)
    return shut


def _check(
    daily: pl.DataFrame,
    locations: pl.DataFrame,
    products: pl.DataFrame,
    prices: pl.DataFrame | None,
    horizon_days: int,
    history_days_max: int,
) -> None:
    if horizon_days < 1 or history_days_max < 1:
        raise FaultError(
            f"A panel needs days ahead and days behind; found {horizon_days} and {history_days_max}."
        )
    frames = {"daily": daily, "locations": locations, "products": products, "prices": prices}
    for name, frame in frames.items():
        count = frame["customer_id"].n_unique() if frame is not None and "customer_id" in frame.columns else 0
        if count > 1:
            raise FaultError(f"A panel holds one customer; the frame {name} holds {count}.")


def _plan(
    series: pl.DataFrame, first: date, withheld: NDArray[np.bool_], priced_from: NDArray[np.int32]
) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Where the plan alone allows a sale, and from when on it alone says that a series is on sale."""
    opened = days_from(series["opened_on"], first, -NEVER)
    introduced = days_from(series["introduced_on"], first, -NEVER)
    begin = np.maximum(opened, introduced)
    end = np.minimum(
        days_from(series["closed_on"], first, NEVER), days_from(series["ended_on"], first, NEVER)
    )
    day = np.arange(withheld.shape[1])
    allowed = (day >= begin[:, None]) & (day < end[:, None]) & ~withheld
    launched = np.where((priced_from == NEVER) & (introduced >= 0), begin, NEVER)
    return allowed, np.where(priced_from < NEVER, np.maximum(priced_from, begin), launched).astype(np.int32)


def _earliest(sales: pl.DataFrame, origin: date) -> date:
    earliest = sales["sold_on"].min()
    return earliest if isinstance(earliest, date) else origin


def _earlier(
    totals: pl.DataFrame | None,
    series: pl.DataFrame,
    codes: SeriesCodes,
    events: pl.DataFrame | None,
    days: NDArray[np.datetime64],
    calendar: EventCalendar,
) -> EarlierTotals:
    """Lay sales of before the first day out by group; without any, the calendar is the panel's own."""
    n_locations = len(codes.locations)
    none = EarlierTotals(
        days[:0], np.zeros((codes.n_groups, 0)), np.zeros((n_locations, 0), dtype=np.bool_), calendar
    )
    if totals is None or not len(days):
        return none
    first = days[0].astype(object)
    group = series.select("location_id", "department").with_columns(group=pl.Series(codes.group)).unique()
    known = totals.filter(pl.col("sold_on") < first, pl.col("quantity") > 0).join(
        group, on=["location_id", "department"], how="inner", nulls_equal=True
    )
    if known.is_empty():
        return none
    start = _earliest(known, first)
    span = np.arange(np.datetime64(start), days[0])
    units = scatter_sales(known.rename({"group": "row"}), start, (codes.n_groups, len(span)))
    location = np.zeros(codes.n_groups, dtype=np.int32)
    location[codes.group] = codes.location
    return EarlierTotals(
        span,
        units.astype(np.float64),
        shut_days(units, location, n_locations, len(span) - 1),
        build_calendar(events, calendar.regions, np.concatenate([span, days])),
    )


def _relevant_prices(prices: pl.DataFrame | None, first: date, last: date) -> pl.DataFrame:
    """Prices that hold on some day from `first` to `last`, and `priced_on`, each pair's first."""
    pair = ["location_id", "product_id"]
    schema = {"valid_from": pl.Date, "unit_price": pl.Float64, "promotion": pl.Boolean, "priced_on": pl.Date}
    if prices is None or prices.is_empty():
        return pl.DataFrame(schema={"location_id": pl.String, "product_id": pl.String, **schema})
    promotion = (
        pl.col("promotion").fill_null(value=False) if "promotion" in prices.columns else pl.lit(value=False)
    )
    until = prices.filter(pl.col("valid_from") <= last).select(
        *pair, "valid_from", pl.col("unit_price").cast(pl.Float64), promotion=promotion
    )
    began = (
        until.filter(pl.col("unit_price").is_not_null())
        .group_by(pair)
        .agg(priced_on=pl.col("valid_from").min())
    )
    held = until.filter(pl.col("valid_from") <= first).sort("valid_from").unique(pair, keep="last")
    later = until.filter(pl.col("valid_from") > first)
    return pl.concat([held, later]).join(began, on=pair, how="left").select(*pair, *schema)


def _series(
    sales: pl.DataFrame,
    plan: pl.DataFrame,
    locations: pl.DataFrame,
    products: pl.DataFrame,
    first: date,
    last: date,
) -> pl.DataFrame:
    """One row for each pair that was sold or may be, with what is known of its location and product."""
    pair = [pl.col("location_id").cast(pl.String), pl.col("product_id").cast(pl.String)]
    sold = sales.select(*pair, sold=pl.lit(value=True)).unique()
    priced = plan.filter(pl.col("unit_price").is_not_null()).select(*pair).unique()
    pairs = priced.join(sold, on=["location_id", "product_id"], how="full", coalesce=True)
    place = {"region": pl.String, "opened_on": pl.Date, "closed_on": pl.Date}
    thing = {
        "department": pl.String,
        "category": pl.String,
        "unit": pl.String,
        "introduced_on": pl.Date,
        "ended_on": pl.Date,
    }
    known = pairs.join(_attributes(locations, "location_id", place), on="location_id", how="left")
    known = known.join(_attributes(products, "product_id", thing), on="product_id", how="left")
    possible = (
        pl.max_horizontal("opened_on", "introduced_on", pl.lit(first)) <= last,
        pl.min_horizontal("closed_on", "ended_on", pl.lit(last) + timedelta(days=1)) > first,
    )
    known = known.filter(pl.col("sold") | pl.all_horizontal(*possible))
    return known.drop("sold").sort("location_id", "product_id")


def _attributes(frame: pl.DataFrame, key: str, columns: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
    """The named columns, null where the frame does not have them, one row a key."""
    return frame.select(
        pl.col(key).cast(pl.String),
        *(
            (pl.col(name) if name in frame.columns else pl.lit(None)).cast(kind).alias(name)
            for name, kind in columns.items()
        ),
    ).unique(key, keep="last", maintain_order=True)


def _codes(series: pl.DataFrame) -> SeriesCodes:
    ranked = series.select(
        location=pl.col("location_id").rank("dense").cast(pl.Int32) - 1,
        region=pl.col("region").fill_null("").rank("dense").cast(pl.Int32) - 1,
        product=pl.col("product_id").rank("dense").cast(pl.Int32) - 1,
        department=pl.col("department").fill_null("").rank("dense").cast(pl.Int32) - 1,
    )
    pairs = ranked.select(
        pl.col("location").cast(pl.Int64) * (pl.col("department").max() + 1) + pl.col("department")
    )
    group = (pairs.to_series().rank("dense").cast(pl.Int32) - 1).to_numpy()
    of_location = (
        series.select("location_id").with_columns(ranked["region"]).unique("location_id").sort("location_id")
    )
    return SeriesCodes(
        location=ranked["location"].to_numpy(),
        region=ranked["region"].to_numpy(),
        product=ranked["product"].to_numpy(),
        department=ranked["department"].to_numpy(),
        group=group,
        locations=tuple(of_location["location_id"]),
        departments=tuple(series["department"].fill_null("").unique().sort()),
        location_region=of_location["region"].to_numpy(),
        n_products=ranked["product"].n_unique(),
        n_groups=int(group.max(initial=-1)) + 1,
    )
