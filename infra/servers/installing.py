"""Programs that are installed once for a user, outside the checkout and the installation."""

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp

from infra.errors import MissingPartError


def installed(folder: Path, install: Callable[[Path], None]) -> Path:
    """A folder that `install` has filled, now or before; half of an installation is never seen.

    Args:
        folder: Where it shall lie.
        install: Fills the empty folder that it is given.
    """
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(mkdtemp(dir=folder.parent, prefix=".installing-"))
        try:
            install(scratch)
            # Of two that install at once the later finds the folder filled, with the same.
            if not folder.exists():
                scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder


def program(name: str, why: str) -> str:
    """The path of a program that the machine must have.

    Raises:
        MissingPartError: It has not.
    """
    found = shutil.which(name)
    if found is None:
        raise MissingPartError(f"{name} is not on the PATH: expected it, {why}")
    return found


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Run a program to its end.

    Raises:
        MissingPartError: It failed; the text ends with what it said last.
    """
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        words = "\n  ".join(done.stdout.strip().splitlines()[-8:])
        raise MissingPartError(f"{' '.join(command[:4])} … ended with {done.returncode}:\n  {words}")
