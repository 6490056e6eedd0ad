"""The commands of docs/forecasts.md, run as they stand there against a service that listens."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from fastapi import FastAPI

from tests.serving import lake_content as content
from tests.serving.parts import MemoryStream, listening

PAGE = (Path(__file__).parents[2] / "docs" / "forecasts.md").read_text(encoding="utf-8")
ROWS = len(content.PLACES) * len(content.THINGS) * content.HORIZON


@contextmanager
def judged_at_once(stream: MemoryStream) -> Iterator[None]:
    """What is delivered in the block is done a moment later, as if the jobs ran."""
    over = threading.Event()

    def judge() -> None:
        while not over.wait(0.05):
            for one in list(stream.kept.values()):
                if one.state == "accepted":
                    stream.add(one.delivery_id, one.customer_id, state="done", records=1)

    thread = threading.Thread(target=judge)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_the_program_of_the_page_runs(
    app: FastAPI, stream: MemoryStream, headers: dict[str, str], tmp_path: Path
) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "sales.csv").write_text("sale_id\ns1\n")
    with listening(app) as url, judged_at_once(stream):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**os.environ, "URL": url, "TOKEN": headers["Authorization"].removeprefix("Bearer ")},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "11 of 11 bytes" in done.stdout
    assert "is done: 1 valid, 0 refused" in done.stdout


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
