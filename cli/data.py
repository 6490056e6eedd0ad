"""`headrace deliver` and `import`: files in."""

import time
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from cli.admission import admitted
from cli.m5 import import_m5
from cli.stream_view import StreamView
from cli.tables import deliveries_table, terminal
from infra.blobs import open_store
from infra.errors import DeliveryError, UnavailableError
from infra.settings import load_settings
from serving.ports import Delivery
from stream_jobs.ingest.accept import Desk

CONTENTS = Literal["sales", "locations", "products", "prices", "events"]
FINAL = {"done", "rejected"}
POLL_S = 0.25


def add_to(app: typer.Typer) -> None:
    """Add the commands that bring data in to the command line."""
    app.command()(deliver)
    imports = typer.Typer(help="Turn well-known sales data into delivery files.", no_args_is_help=True)
    imports.command("m5")(m5)
    app.add_typer(imports, name="import")


def deliver(
    paths: Annotated[list[Path], typer.Argument(help="Files to deliver, in this order.", show_default=False)],
    customer: Annotated[str, typer.Option(help="Id of the retailer that delivers.", show_default=False)],
    content: Annotated[
        CONTENTS | None,
        typer.Option(help="What the files hold; without it their names' beginning says.", show_default=False),
    ] = None,
    wait_s: Annotated[
        float,
        typer.Option(
            "--wait",
            min=0,
            help="Wait so many seconds at most until all are done, and show what became of them.",
        ),
    ] = 0,
) -> None:
    """Deliver files as a retailer would. Sending a file again does nothing but tell its first id."""
    settings, console = load_settings(), terminal()
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise typer.BadParameter(f"no such file: {', '.join(missing)}")
    desk = Desk(admitted(settings), open_store(settings))
    delivery_ids = []
    try:
        with upload_progress(console) as progress:
            for path in paths:
                task = progress.add_task(path.name, total=path.stat().st_size)
                with path.open("rb") as file, progress.wrap_file(file, task_id=task) as stream:
                    receipt = desk.accept(customer, content, path.name, stream)
                delivery_ids.append(receipt.delivery_id)
                again = " (delivered before)" if receipt.repeated else ""
                progress.update(task, description=f"{path.name} → delivery {receipt.delivery_id}{again}")
    finally:
        desk.close()
    if wait_s:
        view = StreamView(settings, open_store(settings))
        try:
            found = wait_for_deliveries(view, delivery_ids, wait_s, console)
        finally:
            view.close()
        console.print(deliveries_table(found))
        if any(delivery.state == "rejected" for delivery in found):
            raise DeliveryError("a delivery was rejected; the table says why")


def m5(
    folder: Annotated[Path, typer.Argument(help="Folder with its CSV or Parquet files.")],
    out: Annotated[Path, typer.Option(help="Folder to write the deliveries into.")] = Path("m5-deliveries"),
    store: Annotated[
        list[str] | None, typer.Option(help="Only this store, such as CA_1; may be repeated.")
    ] = None,
    first_day: Annotated[str | None, typer.Option(help="First day of sales, ISO 8601.")] = None,
    last_day: Annotated[str | None, typer.Option(help="Last day of sales, ISO 8601.")] = None,
    period: Annotated[
        Literal["month", "quarter"], typer.Option(help="What a file of sales holds of a store.")
    ] = "quarter",
    extension: Annotated[
        str, typer.Option(help="Format of the files, such as xml, csv.gz or jsonl.zst.")
    ] = "xml",
) -> None:
    """Turn the M5 competition's sales into delivery files, and list them in the order to deliver them."""
    written = import_m5(
        folder, out, stores=store, first_day=first_day, last_day=last_day, period=period, extension=extension
    )
    for file in written:
        typer.echo(str(file.path))
    total = sum(file.records for file in written if file.content == "sales")
    typer.echo(
        f"{len(written)} files, {total:,} sales; deliver them with `headrace deliver --customer NAME`",
        err=True,
    )


def upload_progress(console: Console) -> Progress:
    """A progress display in bytes."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn(), console=console
    )


def wait_for_deliveries(
    view: StreamView, delivery_ids: list[int], wait_s: float, console: Console
) -> list[Delivery]:
    """Wait until every delivery is done or rejected, showing how far they are.

    Raises:
        UnavailableError: They were not done within `wait_s` seconds; the text says what is open and why.
    """
    deadline = time.monotonic() + wait_s
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("deliveries done", total=len(delivery_ids))
        while True:
            view.read_to_end()
            found = [delivery for delivery in map(view.get, delivery_ids) if delivery is not None]
            waiting = [delivery for delivery in found if delivery.state not in FINAL]
            progress.update(task, completed=len(delivery_ids) - len(waiting))
            if not waiting and len(found) == len(delivery_ids):
                return found
            if time.monotonic() > deadline:
                text = "; ".join(
                    f"{d.delivery_id} ({d.name}) is {d.state}: {d.reason or 'no reason known'}"
                    for d in waiting
                )
                raise UnavailableError(f"not all deliveries were done within {wait_s:g} s: {text}")
            time.sleep(POLL_S)
