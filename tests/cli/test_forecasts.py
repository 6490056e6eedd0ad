"""Forecasts on the command line, as a person runs it and docs/daily.md says, on a lake in a directory."""

import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from flows.customer_day import seal_customer
from infra.blobs import open_store
from infra.settings import Settings, settings_environment
from lake.forecasts import ForecastRun
from tests.cli.commands import headrace
from tests.flows.retailer import deliver
from tests.flows.test_customer_day import one_day

PAGE = (Path(__file__).parents[2] / "docs" / "daily.md").read_text(encoding="utf-8")
LAST = date(2026, 11, 22)


@pytest.fixture
def lake(offline_settings: Settings) -> Settings:
    """An installation of which only the lake is there."""
    store = open_store(offline_settings)
    deliver(store, "acme", LAST)
    seal_customer(store, "acme", datetime(2026, 11, 23, 4, 30, tzinfo=UTC))
    return offline_settings


def test_a_forecast_of_any_day_is_written_without_any_server(lake: Settings, tmp_path: Path) -> None:
    out = tmp_path / "forecast.parquet"
    done = headrace(lake, "forecast", "--as-of", "2026-11-01", "--horizon", "28", "--out", str(out))
    assert done.returncode == 0, done.stdout
    assert "acme: 8 series" in done.stdout
    rows = pl.read_parquet(out)
    assert (rows["date"].min(), rows["date"].max()) == (date(2026, 11, 2), date(2026, 11, 29))


def test_of_several_customers_one_has_to_be_named(lake: Settings, tmp_path: Path) -> None:
    deliver(open_store(lake), "other", LAST, days=3)
    out = tmp_path / "forecast.parquet"
    asked = headrace(lake, "forecast", "--out", str(out))
    assert asked.returncode == 2
    assert "--customer: expected the name of a customer, for the lake has acme, other" in asked.stdout
    assert not out.exists()


def test_the_run_in_use_is_made_again_byte_for_byte(lake: Settings, tmp_path: Path) -> None:
    nothing = headrace(lake, "reproduce")
    assert nothing.returncode == 2
    assert "expected a run in use of customer acme, found none" in nothing.stdout
    run, _ = one_day(open_store(lake))
    assert isinstance(run, ForecastRun)
    out = tmp_path / "again.parquet"
    done = headrace(lake, "reproduce", "--out", str(out))
    assert done.returncode == 0, done.stdout
    assert f"{run.run_id}: the same forecast, sha256" in done.stdout
    assert out.read_bytes() == open_store(lake).read(run.rows_path)


def test_a_forecast_is_taken_apart(lake: Settings) -> None:
    one_day(open_store(lake))
    asked = ("--location", "north", "--product", "apple", "--day", "2026-11-25")
    done = headrace(lake, "explain", *asked)
    assert done.returncode == 0, done.stdout
    for words in (
        "apple at north, 2026-11-25",
        "forecast",
        "seasonal_naive",
        "quantiles q05 to q95",
        "stands in",
    ):
        assert words in done.stdout


@pytest.mark.parametrize("block", re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
def test_the_commands_of_the_page_run(lake: Settings, tmp_path: Path, block: str) -> None:
    one_day(open_store(lake))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=tmp_path,
        env={**os.environ, **settings_environment(lake), "PATH": path},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
