"""The commands of a page of the documents, to be run as they stand there."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from docs.reference import ROOT

Block = tuple[str, str]
"""A section, and the commands of one block in it."""


def blocks(page: str) -> list[Block]:
    """The blocks of a page in `docs` that are marked `sh`, in their order."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [
        (section.partition("\n")[0], block)
        for section in re.split(r"\n## |\A# ", text)
        for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    ]


def named(found: list[Block]) -> list[str]:
    """What each block is called in a list of tests."""
    return [f"{number}-{section}" for number, (section, _) in enumerate(found)]


def run_block(block: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the commands of a block in one shell, which the first that fails ends."""
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"set -m\n{block}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
