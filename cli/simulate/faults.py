"""The faults of real life, put into good records and good files on purpose, and counted.

Guarantee: a fault changes only what it names, and each changed record carries the codes that validation must
give it, in the order of validation's rules. `codes` is empty text where the record is good.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from cli.delivery_files import Format
from infra.errors import FaultError


@dataclass(frozen=True, slots=True, eq=False)
class Fault:
    """A way in which a sale line is wrong.

    Attributes:
        codes: The codes that validation gives it, in the order of the rules.
        values: What stands in the line's fields instead.
    """

    codes: tuple[str, ...]
    values: Mapping[str, object]


FAULTS: dict[str, Fault] = {
    "no location": Fault(("missing_field",), {"location_id": None}),
    "no product": Fault(("missing_field",), {"product_id": None}),
    "no quantity": Fault(("missing_field",), {"quantity": None}),
    "no time": Fault(("missing_field",), {"sold_at": None}),
    "a location never delivered": Fault(("unknown_location",), {"location_id": "pop-up-stand"}),
    "a product never delivered": Fault(("unknown_product",), {"product_id": "SAMPLE-0"}),
    "less than nothing": Fault(("negative_quantity",), {"quantity": -2.0}),
    "not a number": Fault(("not_finite",), {"quantity": float("nan")}),
    "a negative price": Fault(("bad_price",), {"unit_price": -0.99}),
    "a clock far ahead": Fault(("sold_in_future",), {"sold_at": "2099-01-15T10:00:00+00:00"}),
    "a clock set back": Fault(("sold_before_opening",), {"sold_at": "1999-12-31T12:00:00+00:00"}),
    "a location closed by then": Fault(("sold_after_closing",), {"location_id": "OTT-1"}),
    "negative and underpriced": Fault(
        ("negative_quantity", "bad_price"), {"quantity": -1.0, "unit_price": -4.0}
    ),
    "unknown and ahead of time": Fault(
        ("unknown_product", "sold_in_future"),
        {"product_id": "SAMPLE-1", "sold_at": "2099-02-01T09:30:00+00:00"},
    ),
    "unreadable": Fault(("unreadable_record",), {}),
    "twice in the file": Fault(("duplicate_sale_id",), {}),
}
"""By name. `unreadable` is done to the file's text (see `Damage`); `twice in the file` adds a line."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What happens to a file's text after it was written well.

    Attributes:
        kind: `records` makes single records unreadable, `cut` ends the file half-way, `other` is a file that
            is something else altogether.
        rows: The records made unreadable, counted from 0.
    """

    kind: Literal["records", "cut", "other"]
    rows: tuple[int, ...] = ()


def good(records: pl.DataFrame) -> pl.DataFrame:
    """Records with the column `codes`, empty: none has a fault."""
    return records.with_columns(pl.lit("").alias("codes"))


def spoil(
    records: pl.DataFrame,
    faults: Mapping[str, int],
    generator: np.random.Generator,
    spared: Collection[str] = (),
) -> tuple[pl.DataFrame, Damage | None]:
    """Put faults into sale lines chosen at random, each line at most one fault.

    Args:
        records: Good sale lines with the column `codes`.
        faults: How many lines of each fault in `FAULTS`.
        generator: Chooses the lines.
        spared: Locations whose lines stay good: one that closes would break a further rule with a wrong date.

    Returns:
        The records with their codes, and the damage to be done to the file's text, if any.

    Raises:
        FaultError: There are fewer lines than faults.
    """
    wanted = sum(faults.values())
    places = records["location_id"].is_in(list(spared)).not_().arg_true().to_numpy()
    if wanted > len(places):
        raise FaultError(f"expected at least {wanted} sale lines to put faults into, found {len(places)}")
    chosen = generator.choice(places, size=wanted, replace=False)
    names = np.repeat(list(faults), list(faults.values()))
    fault_at = pl.DataFrame({"row": chosen.astype(np.uint32), "fault": names})
    marked = records.with_row_index("row").join(fault_at, on="row", how="left").sort("row")
    for name in faults:
        here = pl.col("fault") == name
        fault = FAULTS[name]
        changes = {"codes": ",".join(fault.codes), **fault.values} if name != "twice in the file" else {}
        marked = marked.with_columns(
            pl.when(here)
            .then(pl.lit(value, dtype=records.schema[column]))
            .otherwise(pl.col(column))
            .alias(column)
            for column, value in changes.items()
        )
    unreadable = tuple(marked.filter(pl.col("fault") == "unreadable")["row"].to_list())
    again = marked.filter(pl.col("fault") == "twice in the file").with_columns(
        pl.lit("duplicate_sale_id").alias("codes")
    )
    spoiled = pl.concat([marked, again]).drop("row", "fault")
    return spoiled, Damage("records", unreadable) if unreadable else None


def damage_text(text: bytes, format_: Format, damage: Damage) -> bytes:
    """Do the damage to the text of an uncompressed file in which each record has a line of its own.

    Raises:
        FaultError: The file is Parquet, which has no lines.
    """
    if damage.kind == "other":
        return b"Export failed: licence of the till server has expired. Please contact support.\n"
    if format_ == "parquet":
        raise FaultError("expected a text format to damage, found Parquet")
    if damage.kind == "cut":
        return text[: len(text) * 3 // 5]
    lines = text.splitlines(keepends=True)
    head = {"xml": 2, "csv": 1, "jsonl": 0}[format_]
    for row in damage.rows:
        lines[head + row] = _unreadable(lines[head + row], format_)
    return b"".join(lines)


def _unreadable(line: bytes, format_: Format) -> bytes:
    if format_ == "xml":
        # A digit read as a letter: the record is well-formed and its number is none.
        return line.replace(b'quantity="', b'quantity="l').replace(b"<quantity>", b"<quantity>l")
    if format_ == "csv":
        return b"#ERR till buffer overrun 0x7f;0x00,0x1b;;,,;??;,,;0xff,;;;,,,;;;,,;;\n"
    return line[: len(line) // 2] + b"\n"
