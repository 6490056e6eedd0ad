"""`headrace table`, `shadow` and `replay`: what the stream knows, and what other rules say of it."""

from pathlib import Path
from typing import Annotated, Literal

import polars as pl
import typer

from cli.admission import admitted
from cli.tables import frame_table, terminal
from infra.blobs import open_store
from infra.errors import SettingError
from infra.settings import Settings, load_settings
from schemas.catalogue import LOCATIONS, PRODUCTS
from schemas.registry import Registry
from stream_jobs.deliveries import DeliveryLog
from stream_jobs.master_reader import MasterReader
from stream_jobs.replay import Wanted, run_replay
from stream_jobs.rule_sets import load_rules
from stream_jobs.shadow import drop, read_differences
from stream_jobs.starting import Start

ROWS_SHOWN = 40
WRITERS = {
    ".csv": pl.DataFrame.write_csv,
    ".parquet": pl.DataFrame.write_parquet,
    ".jsonl": pl.DataFrame.write_ndjson,
}


shadows = typer.Typer(
    help="Other rules on the same sales, started by `headrace job validate --shadow NAME`.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@shadows.command()
def diff(
    name: Annotated[str, typer.Argument(help="Name of the shadow.", show_default=False)],
    examples: Annotated[int, typer.Option(min=0, help="How many differing sales to show.")] = 10,
    out: Annotated[
        Path | None,
        typer.Option(help="Write all of them to this .parquet or .jsonl file.", show_default=False),
    ] = None,
) -> None:
    """Say where the verdicts of a shadow differ from the live ones, by rule and with examples."""
    if out is not None and out.suffix not in {".parquet", ".jsonl"}:
        raise SettingError(f"--out: expected a name that ends with .parquet or .jsonl, found {out.name!r}")
    console = terminal()
    found = read_differences(admitted(load_settings()), name)
    refused = found.rows.filter(pl.col("live").list.len() == 0).height
    taken = found.rows.filter(pl.col("shadow").list.len() == 0).height
    console.print(frame_table(f"Refusals by rule, now and by {name}", found.by_code))
    if examples and found.rows.height:
        texts = found.rows.head(examples).with_columns(pl.col("live", "shadow").list.join(", "))
        shown = texts.select(
            "delivery_id", "sale_id", "location_id", "product_id", "live", "shadow", "message"
        )
        console.print(frame_table("Sales that are judged otherwise", shown))
    if out is not None:
        WRITERS[out.suffix](found.rows, out)  # type: ignore[operator]
    console.print(
        f"of {found.messages} messages that both have judged {found.rows.height} differ: {name} would refuse "
        f"{refused} that are valid now and take {taken} that are refused now",
        markup=False,
        highlight=False,
    )


@shadows.command(name="drop")
def drop_shadow(name: Annotated[str, typer.Argument(help="Name of the shadow.", show_default=False)]) -> None:
    """Remove the topics and the group of a shadow whose job has ended."""
    drop(admitted(load_settings()), name)
    terminal().print(f"shadow {name} is gone", markup=False)


def replay(
    customer: Annotated[
        str | None, typer.Option(help="Only this customer's sales.", show_default=False)
    ] = None,
    delivery: Annotated[
        int | None, typer.Option(min=0, help="Only this delivery's.", show_default=False)
    ] = None,
    code: Annotated[
        str | None, typer.Option(help="Only those that break this rule.", show_default=False)
    ] = None,
    known_now: Annotated[
        bool,
        typer.Option("--known-now", help="Judge by the master data of now, not as of each sale's delivery."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would come of it.")] = False,
) -> None:
    """Judge refused sales again by the rules of now; those that are valid go on as if they had at once."""
    settings, console = load_settings(), terminal()
    wanted = Wanted(customer, delivery, code, known_now)
    rules = load_rules(settings.stream.rules)
    found = run_replay(admitted(settings), open_store(settings), rules, wanted, dry=dry_run)
    if found.by_code:
        counts = pl.DataFrame(found.by_code.most_common(), schema=["code", "sales"], orient="row")
        console.print(frame_table("Refused still", counts))
    console.print(
        f"{found.judged} refused sales {'would be' if dry_run else 'were'} judged again: {found.valid} are valid now, "
        f"{found.otherwise} are refused for other reasons",
        highlight=False,
    )


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
    console, moment = terminal(), Start.parsed(as_of, "--as-of") if as_of else Start()
    if out is not None and out.suffix not in WRITERS:
        raise SettingError(f"--out: expected a name that ends with {', '.join(WRITERS)}, found {out.name!r}")
    rows, offset = rows_as_of(admitted(load_settings()), name, customer, moment)
    if out is not None:
        WRITERS[out.suffix](rows, out)  # type: ignore[operator]
        console.print(f"{rows.height} {name} as of offset {offset} in {out}", markup=False)
        return
    console.print(frame_table(f"{name} of {customer}, as of offset {offset}", rows.head(ROWS_SHOWN)))
    if rows.height > ROWS_SHOWN:
        console.print(f"{rows.height - ROWS_SHOWN} more; --out FILE writes all")


def rows_as_of(
    settings: Settings, name: Literal["locations", "products"], customer: str, moment: Start
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
        rows = held.newest(customer, _seen_from(moment, reader.log), moment.offset)
        return rows.drop("customer_id"), known if moment.offset is None else moment.offset
    finally:
        if reader is not None:
            reader.close()
        registry.close()


def _seen_from(moment: Start, log: DeliveryLog) -> int | None:
    """The delivery as whose sales see the table; None for all deliveries.

    Raises:
        SettingError: No such delivery was accepted yet.
    """
    if moment.delivery_id is not None and moment.delivery_id >= log.position:
        raise SettingError(
            f"--as-of: expected a delivery below {log.position}, found {moment.delivery_id}; "
            "`headrace status` lists the newest"
        )
    if moment.time is None:
        return moment.delivery_id
    later = (one.delivery_id for one in log.deliveries.values() if one.accepted_at > moment.time)
    return next(later, None)
