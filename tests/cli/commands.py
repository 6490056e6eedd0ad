"""The command line, run as a person runs it."""

import os
import subprocess
import sys

from infra.settings import Settings, settings_environment


def headrace(settings: Settings, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command line to its end; its standard error is joined to what it prints."""
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env={**os.environ, **settings_environment(settings), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
