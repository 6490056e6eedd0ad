"""The `headrace` command: the one composition root."""

import typer

from cli import data, demo, forecasts, jobs, lake, operate, servers, state, tokens
from cli.doctor.command import doctor
from cli.exits import run

app = typer.Typer(
    name="headrace",
    help="Carries a retailer's sales as a stream to batch machine learning, and the forecasts back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
operate.add_to(app)
data.add_to(app)
forecasts.add_to(app)
demo.add_to(app)
app.command()(doctor)
app.command()(state.table)
app.command()(state.replay)
app.command()(tokens.page)
app.add_typer(jobs.app, name="job")
app.add_typer(servers.app, name="servers")
app.add_typer(tokens.app, name="token")
app.add_typer(state.shadows, name="shadow")
app.add_typer(lake.lake, name="lake")
app.add_typer(lake.dataset, name="dataset")


def main() -> None:
    """Run one command."""
    run(app)


if __name__ == "__main__":
    main()
