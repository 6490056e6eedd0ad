"""`headrace table`: locations and products as they are known, or were."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
import typer

from cli.tables import frame_table, terminal
from infra.blobs import open_store
from infra.errors import SettingError
from infra.settings import Settings, load_settings
from schemas.catalogue import LOCATIONS, PRODUCTS
from schemas.registry import Registry
from stream_jobs.deliveries import DeliveryLog
from stream_jobs.master_reader import MasterReader

ROWS_SHOWN = 40
_AS_OF = re.compile(r"(delivery|offset):(\d{1,18})|time:(\S+)")
WRITERS = {
    ".csv": pl.DataFrame.write_csv,
    ".parquet": pl.DataFrame.write_parquet,
    ".jsonl": pl.DataFrame.write_ndjson,
}


@dataclass(frozen=True, slots=True)
class AsOf:
    """The moment as of which a table is wanted; all None means now.

    Attributes:
        delivery_id: As a sale of this delivery sees it.
        offset: When the table's topic had been read up to this offset.
        time: As a sale of a delivery that was accepted at this moment sees it, UTC.
    """

    delivery_id: int | None = None
    offset: int | None = None
    time: datetime | None = None

    @classmethod
    def parsed(cls, text: str | None) -> "AsOf":
        """What a person wrote.

        Raises:
            SettingError: It is none of the three forms.
        """
        if text is None:
            return cls()
        found = _AS_OF.fullmatch(text)
        try:
            if found and found[3]:
                time = datetime.fromisoformat(found[3])
                return cls(time=time if time.tzinfo else time.replace(tzinfo=UTC))
        except ValueError:
            found = None
        if found is None:
            raise SettingError(
                "--as-of: expected delivery:ID, offset:NUMBER or time:2026-11-01T12:00 (UTC unless it says "
                f"otherwise), found {text!r}"
            )
        number = int(found[2])
        return cls(delivery_id=number) if found[1] == "delivery" else cls(offset=number)

    def seen_from(self, log: DeliveryLog) -> int | None:
        """The delivery as whose sales see the table; None for all deliveries.

        Raises:
            SettingError: No such delivery was accepted yet.
        """
        if self.delivery_id is not None and self.delivery_id >= log.position:
            raise SettingError(
                f"--as-of: expected a delivery below {log.position}, found {self.delivery_id}; "
                "`headrace status` lists the newest"
            )
        if self.time is None:
            return self.delivery_id
        later = (one.delivery_id for one in log.deliveries.values() if one.accepted_at > self.time)
        return next(later, None)


def table(
    name: Annotated[Literal["locations", "products"], typer.Argument(help="locations or products.")],
    customer: Annotated[str, typer.Option(help="Whose.", show_default=False)],
    as_of: Annotated[
        str | None,
        typer.Option(
            help="delivery:ID, offset:NUMBER or time:2026-11-01T12:00; now by default.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write all of it to this .csv, .parquet or .jsonl file.", show_default=False),
    ] = None,
) -> None:
    """Show the locations or products of a customer as they are known now, or were."""
    console, moment = terminal(), AsOf.parsed(as_of)
    if out is not None and out.suffix not in WRITERS:
        raise SettingError(f"--out: expected a name that ends with {', '.join(WRITERS)}, found {out.name!r}")
    rows, offset = rows_as_of(load_settings(), name, customer, moment)
    if out is not None:
        WRITERS[out.suffix](rows, out)  # type: ignore[operator]
        console.print(f"{rows.height} {name} as of offset {offset} in {out}", markup=False)
        return
    console.print(frame_table(f"{name} of {customer}, as of offset {offset}", rows.head(ROWS_SHOWN)))
    if rows.height > ROWS_SHOWN:
        console.print(f"{rows.height - ROWS_SHOWN} more; --out FILE writes all")


def rows_as_of(
    settings: Settings, name: Literal["locations", "products"], customer: str, moment: AsOf
) -> tuple[pl.DataFrame, int]:
    """A customer's locations or products as of a moment, and the offset of their topic that was read up to.

    Raises:
        SettingError: The moment has not come yet.
        UnavailableError: The stream cannot be read to its end.
    """
    registry = Registry(settings)
    reader = None
    try:
        reader = MasterReader(settings, registry, open_store(settings), "table")
        reader.catch_up()
        known = reader.positions[LOCATIONS if name == "locations" else PRODUCTS, 0]
        if moment.offset is not None and moment.offset > known:
            raise SettingError(f"--as-of: expected an offset of at most {known}, found {moment.offset}")
        held = reader.tables.locations if name == "locations" else reader.tables.products
        rows = held.newest(customer, moment.seen_from(reader.log), moment.offset)
        return rows.drop("customer_id"), known if moment.offset is None else moment.offset
    finally:
        if reader is not None:
            reader.close()
        registry.close()
