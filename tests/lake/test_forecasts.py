"""Forecast runs: kept all, one of them current."""

import dataclasses
import datetime as dt
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from infra.blobs import DirectoryStore
from infra.errors import AlreadyExistsError, CorruptLakeError, FaultError
from lake.forecasts import ForecastRun, current, forecast_frame, publish, runs
from schemas.lake_tables import LAKE_TABLES, polars_schema
from tests.lake.frames import DAY

RUN = ForecastRun(
    run_id="2026-03-02-1",
    customer_id="acme",
    model="pooled",
    manifest=3,
    made_on=DAY,
    origin=DAY,
    horizon_days=2,
    accepted=True,
    metrics={"wrmsse": 0.55},
    details={"champion": None, "origins": ["2026-02-01"]},
)
AMOUNTS = ("mean", "q05", "q10", "q25", "q50", "q75", "q90", "q95")


def frame(run: ForecastRun, mean: float = 1.5) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "location_id": ["l2", "l1"],
            "product_id": ["p1", "p1"],
            "date": [DAY + dt.timedelta(days=1)] * 2,
            **{name: [mean, 2 * mean] for name in AMOUNTS},
            "model": [run.model] * 2,
            "manifest": [run.manifest] * 2,
            "made_on": [run.made_on] * 2,
        }
    )


def test_an_accepted_run_becomes_current_and_reads_as_published(store: DirectoryStore) -> None:
    assert current(store, "acme") is None
    publish(store, RUN, frame(RUN))
    assert current(store, "acme") == RUN
    rows = forecast_frame(store, RUN)
    assert dict(rows.schema) == polars_schema(LAKE_TABLES["forecasts"].schema)
    assert rows.select("location_id", "mean", "run_id").rows() == [
        ("l1", 3.0, "2026-03-02-1"),
        ("l2", 1.5, "2026-03-02-1"),
    ]
    assert len(pd.read_parquet(store.uri("forecasts"))) == 2


def test_a_refused_run_is_kept_with_its_reasons_and_not_current(store: DirectoryStore) -> None:
    publish(store, RUN, frame(RUN))
    refused = dataclasses.replace(
        RUN, run_id="2026-03-03-1", accepted=False, reasons=("worse than the champion",)
    )
    publish(store, refused, frame(refused))
    assert current(store, "acme") == RUN
    assert runs(store, "acme") == [RUN, refused]
    assert len(forecast_frame(store, refused)) == 2
    assert runs(store, "other") == []


def test_a_run_of_the_same_name_with_other_rows_is_refused(store: DirectoryStore) -> None:
    publish(store, RUN, frame(RUN))
    publish(store, RUN, frame(RUN))
    with pytest.raises(AlreadyExistsError):
        publish(store, RUN, frame(RUN, mean=9.0))
    assert forecast_frame(store, RUN)["mean"].max() == 3.0


def test_a_publication_that_dies_leaves_the_old_run_current_and_can_be_repeated(
    store: DirectoryStore,
) -> None:
    publish(store, RUN, frame(RUN))
    newer = dataclasses.replace(RUN, run_id="2026-03-04")

    class Dying(DirectoryStore):
        def replace(self, path: str, data: bytes) -> None:
            raise OSError("dies")

    with pytest.raises(OSError, match="dies"):
        publish(Dying(Path(store.location)), newer, frame(newer))
    assert current(store, "acme") == RUN
    publish(store, newer, frame(newer))
    assert current(store, "acme") == newer


@pytest.mark.parametrize("run_id", ["current", "", "a/b", "../x", ".hidden"])
def test_a_run_whose_name_is_no_name_is_refused(store: DirectoryStore, run_id: str) -> None:
    with pytest.raises(FaultError, match="run_id"):
        publish(store, dataclasses.replace(RUN, run_id=run_id), frame(RUN))


def test_rows_of_another_run_and_numbers_that_are_none_are_refused(store: DirectoryStore) -> None:
    with pytest.raises(FaultError, match="manifest: expected 3"):
        publish(store, RUN, frame(RUN).with_columns(manifest=pl.lit(4, pl.Int64)))
    with pytest.raises(FaultError, match="q05"):
        publish(store, RUN, frame(RUN).drop("q05"))
    with pytest.raises(FaultError, match="finite"):
        publish(store, dataclasses.replace(RUN, metrics={"wrmsse": float("nan")}), frame(RUN))
    assert store.list("") == []


def test_a_pointer_that_names_nothing_is_told(store: DirectoryStore) -> None:
    publish(store, RUN, frame(RUN))
    store.delete(RUN.path)
    with pytest.raises(CorruptLakeError, match="2026-03-02-1"):
        current(store, "acme")
    store.replace("forecast_runs/acme/current.json", b"[]")
    with pytest.raises(CorruptLakeError, match=r"current\.json"):
        current(store, "acme")
