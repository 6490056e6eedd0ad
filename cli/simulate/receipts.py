"""Units of a day become sale lines: one to three receipts each, at times in the opening hours.

Guarantee: sale ids are unique and say what they are of; a line's id, time and quantity depend on its day
    only.
"""

from datetime import date

import numpy as np
import polars as pl

from cli.simulate.demand import World, units_sold
from cli.simulate.retailers import Retailer

LINES_MAX = 3


def sale_lines(world: World, retailer: Retailer, first_day: date, last_day: date) -> pl.DataFrame:
    """Sale lines of the days from `first_day` to `last_day`, in the order of their times.

    Returns:
        Columns sale_id, location_id, product_id, sold_on (local day), sold_at (ISO 8601 with the local
        offset), quantity (pieces or kilograms) and unit_price (the location's currency).
    """
    units, prices = units_sold(world, retailer, last_day)
    draws = world.generator(retailer, "receipts").random((*units.shape, 2 * LINES_MAX))
    skip = max(0, (first_day - world.first_day).days)
    day, site, product = np.nonzero(units[skip:])
    day += skip
    draw, unit = draws[day, site, product], units[day, site, product]
    receipts = np.minimum(unit, 1 + (draw[:, 0] < 0.50) + (draw[:, 0] < 0.15))
    # Each cell is repeated once a receipt; `line` counts within the cell.
    cell = np.repeat(np.arange(len(unit)), receipts)
    line = np.arange(len(cell)) - np.repeat(np.cumsum(receipts) - receipts, receipts)
    share = unit[cell] // receipts[cell] + (line < unit[cell] % receipts[cell])
    by_weight = {d.id for d in retailer.departments if d.by_weight}
    kilograms = np.array([0.25 if p.department in by_weight else 1.0 for p in retailer.products])
    # The mean of two even draws gathers the receipts around the middle of the day.
    moment = (draw[cell, line] + draw[cell, LINES_MAX + line]) / 2
    second = ((retailer.opens_at + moment * retailer.open_hours) * 3600).astype(np.int64)
    frame = pl.DataFrame(
        {
            "location_id": np.array([s.id for s in retailer.sites])[site[cell]],
            "product_id": np.array([p.id for p in retailer.products])[product[cell]],
            "sold_on": np.datetime64(world.first_day, "D") + day[cell],
            "second": second,
            "line": line,
            "quantity": share * kilograms[product[cell]],
            "unit_price": prices.unit[day, site, product][cell],
        }
    )
    frame = frame.with_columns(
        pl.concat_str(
            ["location_id", pl.col("sold_on").dt.to_string("%Y%m%d"), "product_id", pl.col("line") + 1],
            separator="-",
        ).alias("sale_id"),
        local_time(retailer).alias("sold_at"),
    )
    return frame.sort("sold_on", "second", "sale_id").select(
        "sale_id", "location_id", "product_id", "sold_on", "sold_at", "quantity", "unit_price"
    )


def local_time(retailer: Retailer) -> pl.Expr:
    """`sold_on` and `second` of the day as ISO 8601 text with the offset of the row's location."""
    zones = {site.id: site.time_zone for site in retailer.sites}
    local = pl.col("sold_on").cast(pl.Datetime("us")) + pl.duration(seconds=pl.col("second"))
    text = pl.lit(None, dtype=pl.String)
    for zone in sorted(set(zones.values())):
        here = pl.col("location_id").is_in([name for name, its in zones.items() if its == zone])
        # Clocks change at night, when nobody is open: every time of a receipt exists once.
        stamped = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        text = pl.when(here).then(stamped.dt.to_string("%Y-%m-%dT%H:%M:%S%:z")).otherwise(text)
    return text
