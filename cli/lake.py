"""`headrace lake` and `dataset`: make the lake, look it over, and write its tables anew beside the old ones."""

import datetime as dt
from typing import Annotated

import polars as pl
import typer

from cli.admission import admitted
from cli.tables import frame_table, terminal
from infra.blobs import open_dataset, open_store
from infra.errors import SettingError
from infra.extents import extents
from infra.settings import Settings, load_settings
from lake import datasets, retention
from lake.append import AppendTable
from lake.guide import explain
from lake.verify import verify as findings_of
from schemas.catalogue import SALES_VALIDATED
from schemas.lake_tables import LAKE_TABLES, RAW_TABLES
from schemas.registry import Registry
from stream_jobs.master_reader import MasterReader
from stream_jobs.starting import Start, start_offsets

lake = typer.Typer(help="Make the lake and look it over.", no_args_is_help=True, rich_markup_mode=None)
dataset = typer.Typer(
    help="Write the lake's tables anew, beside the old ones.", no_args_is_help=True, rich_markup_mode=None
)

Name = Annotated[str, typer.Argument(help="Name of the dataset.", show_default=False)]


@lake.command()
def make() -> None:
    """Make the bucket or the folder that HEADRACE_LAKE names, and write its README, data dictionary and catalogue."""
    settings = load_settings()
    store = open_store(settings)
    store.make()
    explain(datasets.dataset_in_use(settings), dt.datetime.now(dt.UTC))
    terminal().print(f"{store.location} is there", markup=False, highlight=False)


@lake.command()
def verify() -> None:
    """Read the whole lake and tell what is not as it promises: gaps, doubles, digests, columns."""
    store, console = datasets.dataset_in_use(load_settings()), terminal()
    with console.status("reading the lake"):
        found = findings_of(store)
    for finding in found:
        console.print(f"{finding.kind}: {finding.path}: {finding.text}", markup=False, highlight=False)
    if found:
        raise typer.Exit(1)
    console.print(f"{store.location} is as it promises", markup=False, highlight=False)


@lake.command()
def ls() -> None:
    """List the tables with their objects and sizes."""
    store, console = datasets.dataset_in_use(load_settings()), terminal()
    rows = []
    for name, table in LAKE_TABLES.items():
        stats = store.stats(name)
        if stats:
            size = sum(stat.size_bytes for stat in stats.values())
            rows.append((name, len(stats), round(size / 1e6, 2), table.description))
    found = pl.DataFrame(rows, schema=["table", "objects", "MB", "what"], orient="row")
    console.print(frame_table(store.location, found))


@lake.command()
def expire(
    days: Annotated[
        int, typer.Option(min=1, help="Days of arrival that are kept, besides today.", show_default=False)
    ],
    tables: Annotated[
        list[str] | None,
        typer.Option(
            "--table", help=f"Only this table; all of {', '.join(RAW_TABLES)} by default.", show_default=False
        ),
    ] = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete them; without it they are only counted.")
    ] = False,
) -> None:
    """Delete old files of what arrived, of sales and master data only those that every customer in them has sealed."""
    for name in tables or ():
        if name not in RAW_TABLES:
            raise SettingError(f"--table: expected one of {', '.join(RAW_TABLES)}, found {name!r}")
    store, console = datasets.dataset_in_use(load_settings()), terminal()
    today = dt.datetime.now(dt.UTC).date()
    rows = []
    with console.status("looking for old files"):
        for name in tables or RAW_TABLES:
            found = retention.expired(AppendTable(store, name), today - dt.timedelta(days=days))
            rows.append((name, len(found.files), found.rows, f"{found.held_back or ''}"))
            if delete:
                retention.delete(store, found)
    shown = pl.DataFrame(rows, schema=["table", "objects", "rows", "kept though old"], orient="row")
    console.print(frame_table(f"{'Deleted' if delete else 'Would be deleted'} in {store.location}", shown))


@dataset.command()
def begin(
    name: Name,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Copy what was written before delivery:ID, offset:NUMBER or time:2026-11-01T12:00 and write anew "
            "what came after; all that the topic still holds by default.",
            show_default=False,
        ),
    ] = None,
    compact: Annotated[
        bool, typer.Option("--compact", help="Merge the many small files of closed days into few large ones.")
    ] = False,
) -> None:
    """Make a dataset; `HEADRACE_DATASET=NAME headrace job join` then writes it."""
    settings, console = load_settings(), terminal()
    datasets.check_name(name)
    moment = Start.parsed(start, "--from") if start else None
    with console.status("copying"):
        cuts = _cuts(admitted(settings), moment)
        files, became = datasets.begin(open_store(settings), name, cuts, compact=compact)
        explain(open_dataset(settings.model_copy(update={"dataset": name})), dt.datetime.now(dt.UTC))
    console.print(
        f"{files} files copied{f' into {became}' if compact else ''}; "
        f"HEADRACE_DATASET={name} headrace job join (and sink) writes what follows",
        highlight=False,
    )


def _cuts(settings: Settings, moment: Start | None) -> dict[int, datasets.Cut]:
    registry = Registry(settings)
    reader = None
    try:
        reader = MasterReader(settings, registry, open_store(settings), "dataset")
        reader.catch_up()
        starts = start_offsets(settings, SALES_VALIDATED, moment, reader.log)
        held = extents(settings, [SALES_VALIDATED])
        return {place[1]: datasets.Cut(start, held[place].first) for place, start in starts.items()}
    finally:
        if reader is not None:
            reader.close()
        registry.close()


@dataset.command(name="list")
def list_datasets() -> None:
    """List the datasets, and which is in use."""
    settings, console = load_settings(), terminal()
    for name in datasets.names(open_store(settings)):
        console.print(f"{name}{' (in use)' if name == settings.dataset else ''}", markup=False)
    if not settings.dataset:
        console.print("the lake itself is in use")


@dataset.command()
def drop(name: Name) -> None:
    """Delete a dataset that is not in use."""
    settings, console = load_settings(), terminal()
    if name == settings.dataset:
        raise typer.BadParameter(f"{name} is in use: set HEADRACE_DATASET to another one first")
    count = datasets.drop(open_store(settings), name)
    console.print(f"{count} objects deleted")
