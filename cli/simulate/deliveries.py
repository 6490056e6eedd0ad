"""A delivery as a value: the file a customer sends, and what must become of it.

Guarantee: what is expected is computed here from the records alone, by none of the code that it is compared
    with.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Literal

import polars as pl

from cli.delivery_files import FileStyle, Format, file_chunks, file_kind, write_chunks
from cli.simulate.faults import Damage, damage_text
from stream_jobs.ingest.contents import CONTENTS

_LIVE_COLUMNS = ("customer_id", "sale_id", "location_id", "product_id", "sold_on", "quantity", "unit_price")


@dataclass(frozen=True, slots=True)
class Expected:
    """What the report of a delivery must say.

    Attributes:
        records: Records in the file.
        valid: Records found good.
        invalid: Records refused.
        by_code: Refused records by code; a record counts once under each of its codes.
        rejected: The whole file is refused; the counts are zero and need not be reported.
        repeat_of: Number of the delivery whose file this is once more; its report is the answer.
    """

    records: int
    valid: int
    invalid: int
    by_code: Mapping[str, int]
    rejected: bool = False
    repeat_of: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """One file of a customer.

    Attributes:
        customer_id: Who delivers.
        content: sales, locations, products, prices or events.
        name: Name of the file; begins with the content, ends with the extension of its format.
        records: The content's fields, `codes` (expected codes joined by commas, empty for a good record) and
            for sales `sold_on` (local day). One row a record, in the file's order.
        note: What is special, for people; empty when nothing is.
        style: Liberties of the format.
        damage: What was done to the text of the file.
        held: `master` must be accepted before, but ingested after, the `sales` are accepted.
        repeats: Name of the delivery of the same customer whose file this is once more.
        number: Place in the order of deliveries, counted from 1.
        repeat_of: Number of the delivery named by `repeats`.
    """

    customer_id: str
    content: str
    name: str
    records: pl.DataFrame
    note: str = ""
    style: FileStyle = field(default_factory=FileStyle)
    damage: Damage | None = None
    held: Literal["master", "sales"] | None = None
    repeats: str | None = None
    number: int = 0
    repeat_of: int | None = None

    @property
    def frame(self) -> pl.DataFrame:
        """The records as they are delivered: the content's fields only."""
        return self.records.select(
            name for name in CONTENTS[self.content].field_names if name in self.records.columns
        )

    @property
    def format(self) -> Format:
        """Format of the file."""
        return file_kind(Path(self.name)).format

    @property
    def rejected(self) -> bool:
        """Whether the file as a whole is unreadable."""
        return self.damage is not None and self.damage.kind != "records"

    @property
    def expected(self) -> Expected:
        """What its report must say."""
        if self.rejected:
            return Expected(0, 0, 0, {}, rejected=True)
        codes = self.records["codes"].to_list()
        by_code = Counter(code for text in codes if text for code in text.split(","))
        invalid = sum(1 for text in codes if text)
        return Expected(len(codes), len(codes) - invalid, invalid, dict(by_code), repeat_of=self.repeat_of)

    def chunks(self) -> Iterator[bytes]:
        """The uncompressed bytes of the file, with its damage."""
        whole = file_chunks(self.content, self.format, self.frame, self.style)
        if self.damage is None:
            yield from whole
        else:
            yield damage_text(b"".join(whole), self.format, self.damage)

    def write(self, folder: Path) -> Path:
        """Write the file as `FOLDER/CUSTOMER/NAME`; the same delivery always gives the same bytes."""
        path = folder / self.customer_id / self.name
        write_chunks(path, self.chunks())
        return path


@dataclass(frozen=True, slots=True, eq=False)
class Deliveries:
    """An ordered list of deliveries, and what the lake holds after them.

    Attributes:
        items: The deliveries, in the order to deliver them.
        first_day: First day of the simulated history, which `plan_week` asks for.
        last_day: Last day with sales in them.
        live: The sales that the lake holds after all of them (and after the earlier plan, for a week):
            customer_id, sale_id, location_id, product_id, sold_on, quantity, unit_price; one row a sale, in
            no order.
    """

    items: tuple[Delivery, ...]
    first_day: date
    last_day: date
    live: pl.DataFrame

    @property
    def held(self) -> tuple[Delivery, Delivery] | None:
        """The master data to be held back and the sales that need it, where the plan has such a pair."""
        pair = [item for item in self.items if item.held is not None]
        return (pair[0], pair[1]) if pair else None

    @property
    def sales_by_customer(self) -> dict[str, int]:
        """Number of live sales of each customer."""
        return dict(self.live.group_by("customer_id").len().sort("customer_id").iter_rows())

    @property
    def quantity_by_customer(self) -> dict[str, float]:
        """Total quantity of the live sales of each customer, exact (quarters are the finest unit)."""
        sums = self.live.group_by("customer_id").agg(pl.col("quantity").sum()).sort("customer_id")
        return dict(sums.iter_rows())

    def write(self, folder: Path) -> list[Path]:
        """Write every file; returns the paths in the order to deliver them."""
        return [item.write(folder) for item in self.items]


def numbered(items: Sequence[Delivery], first_number: int = 1) -> tuple[Delivery, ...]:
    """Give the deliveries their places, and resolve the names of repeated files."""
    places = {(item.customer_id, item.name): number for number, item in enumerate(items, first_number)}
    return tuple(
        replace(
            item, number=number, repeat_of=places[item.customer_id, item.repeats] if item.repeats else None
        )
        for number, item in enumerate(items, first_number)
    )


def live_sales(items: Sequence[Delivery]) -> pl.DataFrame:
    """The sales that stand after the deliveries: of each id the last valid line, without those withdrawn."""
    lines = [
        item.records.filter(pl.col("codes") == "").select(
            pl.lit(item.customer_id).alias("customer_id"),
            "sale_id",
            "location_id",
            "product_id",
            "sold_on",
            "quantity",
            "unit_price",
            (
                pl.col("voided").fill_null(value=False)
                if "voided" in item.records.columns
                else pl.lit(value=False)
            ).alias("voided"),
        )
        for item in items
        if item.content == "sales" and not item.rejected
    ]
    last = pl.concat(lines).unique(["customer_id", "sale_id"], keep="last", maintain_order=True)
    return last.filter(~pl.col("voided")).select(_LIVE_COLUMNS)
