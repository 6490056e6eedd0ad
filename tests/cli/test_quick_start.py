"""The commands of docs/quick-start.md, run as they stand there, on a stack that runs already."""

import os
import sys
from pathlib import Path

import pytest

from infra.settings import Settings, settings_environment
from tests.cli.pages import blocks, named, run_block

BLOCKS = blocks("quick-start.md")
SEEN = {"headrace deliver": "negative_quantity", "headrace daily": "published", "head -3": "mill-lane"}
"""What commands of the page print, among other things."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("newcomer")


@pytest.mark.parametrize(("section", "block"), BLOCKS, ids=named(BLOCKS))
def test_the_commands_of_the_page_run(stack: Settings, folder: Path, section: str, block: str) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = run_block(block, folder, {**os.environ, **settings_environment(stack), "PATH": path})
    assert done.returncode == 0, f"{section}: {done.stdout}\n{done.stderr}"
    for command, words in SEEN.items():
        if command in block:
            assert words in done.stdout
