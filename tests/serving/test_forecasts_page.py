"""The commands of docs/forecasts.md, run as they stand there against a service that listens."""

import os
import re
import subprocess
from pathlib import Path

import polars as pl
from fastapi import FastAPI

from tests.serving import lake_content as content
from tests.serving.parts import listening

PAGE = (Path(__file__).parents[2] / "docs" / "forecasts.md").read_text(encoding="utf-8")
ROWS = len(content.PLACES) * len(content.THINGS) * content.HORIZON


def test_the_commands_of_the_page_run(app: FastAPI, headers: dict[str, str], tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) > 3
    with listening(app) as url:
        token = headers["Authorization"].removeprefix("Bearer ")
        done = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", "\n".join(blocks)],
            cwd=tmp_path,
            env={**os.environ, "URL": url, "TOKEN": token},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert pl.read_ipc_stream(tmp_path / "forecasts.arrows").height == ROWS
    assert pl.read_parquet(tmp_path / "forecasts.parquet").height == ROWS
    assert pl.read_csv(tmp_path / "forecasts.csv").height == ROWS
