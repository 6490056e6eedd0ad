"""The regular files of sales, period by period, with the faults of the last periods.

Guarantee: which lines a fault hits depends on the seed and the file's name only.
"""

import zlib
from collections.abc import Mapping
from datetime import date, timedelta

import numpy as np
import polars as pl

from cli.delivery_files import FileStyle
from cli.simulate.deliveries import Delivery
from cli.simulate.demand import World
from cli.simulate.faults import Damage, good, spoil
from cli.simulate.retailers import RETAILERS

NEW_SITE = "zrh-west"
"""The location whose sales come with its own opening, in no regular file."""
GERMAN = FileStyle(separator=";", byte_order_mark=True)
"""CSV as a spreadsheet in German writes it."""

_LATE_SITE = "nue-markt"
_CLOSING = {site.id for retailer in RETAILERS for site in retailer.sites if site.closed is not None}
_GREENFIELD_FAULTS: dict[int, dict[str, int]] = {
    # By the period's place from the end.
    4: {
        "no location": 3,
        "no product": 2,
        "no quantity": 4,
        "no time": 2,
        "a product never delivered": 12,
        "less than nothing": 7,
        "a negative price": 5,
        "unreadable": 2,
    },
    2: {"a clock far ahead": 6, "a clock set back": 5, "twice in the file": 4},
    1: {"a location closed by then": 8, "negative and underpriced": 3, "unknown and ahead of time": 2},
}
_BROTZEIT_FAULTS: dict[int, dict[str, int]] = {
    4: {"unreadable": 3, "twice in the file": 2},
    3: {"unreadable": 2, "a location never delivered": 15},
    2: {"not a number": 2, "less than nothing": 4},
}
_NOTES = {
    "no location": "fields missing",
    "no product": "",
    "no quantity": "",
    "no time": "",
    "unreadable": "records that cannot be read",
    "twice in the file": "lines twice in the file",
}


def periods(first_day: date, last_day: date) -> list[tuple[date, date]]:
    """First and last days of the sales files: calendar quarters, in the last half year calendar months."""
    spans: list[tuple[date, date]] = []
    start = first_day
    while start <= last_day:
        by_month = (last_day - start).days < 184
        month = start.month if by_month else (start.month - 1) // 3 * 3 + 3
        after = date(start.year + month // 12, month % 12 + 1, 1)
        spans.append((start, min(after - timedelta(days=1), last_day)))
        start = after
    if (spans[-1][1] - spans[-1][0]).days < 6 and len(spans) > 1:
        # A period of a few days is delivered with the one before.
        spans[-2:] = [(spans[-2][0], last_day)]
    return spans


def sales_name(first: date, last: date, extension: str, addition: str = "") -> str:
    """Name of a file of the sales from a first to a last day."""
    return f"sales-{first:%Y%m%d}-{last:%Y%m%d}{addition}.{extension}"


def between(lines: pl.DataFrame, first: date, last: date) -> pl.DataFrame:
    """Good sale lines of the days from `first` to `last`."""
    return good(lines.filter(pl.col("sold_on").is_between(first, last)))


def spoilt(world: World, item: Delivery, faults: Mapping[str, int]) -> Delivery:
    """The delivery with faults; which lines they hit depends on the seed and the file's name."""
    generator = np.random.default_rng([world.seed, zlib.crc32(f"{item.customer_id}/{item.name}".encode())])
    records, damage = spoil(item.records, faults, generator, _CLOSING)
    told = [_NOTES.get(name, name) for name in faults]
    return Delivery(
        item.customer_id, item.content, item.name, records, ", ".join(filter(None, told)), item.style, damage
    )


def greenfield_sales(world: World, spans: list[tuple[date, date]], lines: pl.DataFrame) -> list[Delivery]:
    """XML by period; one file ends half-way and comes again whole, one is no XML at all."""
    items: list[Delivery] = []
    for index, (first, last) in enumerate(spans):
        place = len(spans) - index
        extension = "xml.gz" if place > 5 else "xml"
        style = FileStyle("elements" if place == 2 else "attributes")
        whole = Delivery(
            "greenfield",
            "sales",
            sales_name(first, last, extension),
            between(lines, first, last),
            style=style,
        )
        if place == 3:
            items.append(
                Delivery(
                    whole.customer_id,
                    "sales",
                    sales_name(first, last, extension, "-broken"),
                    whole.records,
                    "the file ends half-way: rejected",
                    damage=Damage("cut"),
                )
            )
        if place == 2:
            items.append(
                Delivery(
                    whole.customer_id,
                    "sales",
                    sales_name(first, last, extension, "-failed"),
                    whole.records.clear(),
                    "no XML at all: rejected",
                    damage=Damage("other"),
                )
            )
        items.append(
            spoilt(world, whole, _GREENFIELD_FAULTS[place]) if place in _GREENFIELD_FAULTS else whole
        )
    return items


def brotzeit_sales(
    world: World, spans: list[tuple[date, date]], lines: pl.DataFrame, last_day: date
) -> list[Delivery]:
    """CSV as spreadsheets write it, and JSON Lines; one file comes twice, a till's last days are missing."""
    known = lines.filter(pl.col("location_id") != NEW_SITE)
    late = (pl.col("location_id") == _LATE_SITE) & (pl.col("sold_on") > last_day - timedelta(days=4))
    items: list[Delivery] = []
    for index, (first, last) in enumerate(spans):
        place = len(spans) - index
        extension = "jsonl" if place in (1, 3) else "jsonl.zst" if place == 6 else "csv"
        item = Delivery(
            "brotzeit",
            "sales",
            sales_name(first, last, extension),
            between(known.filter(~late), first, last),
            style=GERMAN,
        )
        items.append(spoilt(world, item, _BROTZEIT_FAULTS[place]) if place in _BROTZEIT_FAULTS else item)
        if place == 2:
            sent = items[-1]
            items.append(
                Delivery(
                    sent.customer_id,
                    "sales",
                    sales_name(first, last, extension, "-copy"),
                    sent.records,
                    "the same file once more",
                    sent.style,
                    sent.damage,
                    repeats=sent.name,
                )
            )
    items.append(
        Delivery(
            "brotzeit",
            "sales",
            sales_name(last_day - timedelta(days=3), last_day, "csv", "-nue-markt"),
            good(known.filter(late)),
            "lines of a till that was offline: late",
            FileStyle(separator="\t"),
        )
    )
    return items
