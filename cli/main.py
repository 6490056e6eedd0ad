"""The `headrace` command: the one composition root.

Exit codes: 0 done; 1 something was refused; 2 the command line or a setting is wrong; 3 a server cannot be
reached or a part is missing; 4 Headrace itself is at fault.
"""

import sys

import typer

from cli import data, demo, jobs, operate
from infra.errors import (
    DeliveryError,
    HeadraceError,
    IncompatibleSchemaError,
    MissingPartError,
    SettingError,
    UnavailableError,
)

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
demo.add_to(app)
app.add_typer(jobs.app, name="job")


def exit_code(error: HeadraceError) -> int:
    """The code that a process ends with after this error."""
    if isinstance(error, DeliveryError | IncompatibleSchemaError):
        return 1
    if isinstance(error, SettingError):
        return 2
    return 3 if isinstance(error, MissingPartError | UnavailableError) else 4


def main() -> None:
    """Run one command; an error that Headrace foresees is one line on standard error and an exit code."""
    try:
        app()
    except HeadraceError as error:
        sys.stderr.write(f"headrace: {error}\n")
        sys.exit(exit_code(error))


if __name__ == "__main__":
    main()
