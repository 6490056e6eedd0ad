"""How a command ends when something foreseen goes wrong: one line on standard error, and an exit code.

Exit codes: 0 done; 1 something was refused; 2 the command line or a setting is wrong; 3 a server cannot be
reached or a part is missing; 4 Headrace itself is at fault.
"""

import sys

import typer

from infra.errors import (
    DeliveryError,
    HeadraceError,
    IncompatibleSchemaError,
    MissingPartError,
    SettingError,
    UnavailableError,
)


def exit_code(error: HeadraceError) -> int:
    """The code that a process ends with after this error."""
    if isinstance(error, DeliveryError | IncompatibleSchemaError):
        return 1
    if isinstance(error, SettingError):
        return 2
    return 3 if isinstance(error, MissingPartError | UnavailableError) else 4


def run(app: typer.Typer) -> None:
    """Run one command of the command line to the end of this process."""
    try:
        app()
    except HeadraceError as error:
        sys.stderr.write(f"headrace: {error}\n")
        sys.exit(exit_code(error))
