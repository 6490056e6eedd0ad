"""A model's manifest, the model that it names, and the same forecast made again from both."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from flows import customer_day as day
from flows.publication import load_run_model, publish_run
from flows.reproduction import reproduce
from flows.training_data import read_panel
from infra.blobs import BlobStore
from infra.code_version import code_version
from infra.errors import CorruptLakeError, SettingError
from infra.settings import FlowSettings
from lake.forecasts import ForecastRun, current, load_run
from lake.manifests import load_manifest
from lake.model_manifests import load_model_manifest
from tests.flows.conftest import WEEK
from tests.flows.retailer import deliver
from tests.flows.test_customer_day import LAST, NOW, one_day

TREES = FlowSettings(horizon_days=7, training_rows_max=2000, backtest_origins=1)
THINGS = tuple(f"thing-{number:03d}" for number in range(55))


@pytest.fixture
def run(store: BlobStore) -> ForecastRun:
    """A run whose model is of trees."""
    deliver(store, "acme", LAST, days=110, things=THINGS)
    made, _ = one_day(store, flow=TREES)
    assert isinstance(made, ForecastRun)
    return made


def test_a_run_made_again_gives_the_same_bytes_whatever_was_sealed_since(
    store: BlobStore, run: ForecastRun
) -> None:
    deliver(store, "acme", LAST + timedelta(days=1), days=30, seed=2, things=THINGS)
    day.seal_customer(store, "acme", NOW)
    again = reproduce(store, "acme", run.run_id)
    assert again.identical
    assert again.data == store.read(run.rows_path)
    assert again.differences == ()


def test_the_manifest_names_code_data_parameters_and_outcome(store: BlobStore, run: ForecastRun) -> None:
    found = load_model_manifest(store, "acme", run.run_id)
    assert found.code == code_version()
    assert found.code["lock_sha256"] is not None
    assert (found.parameters["seed"], found.parameters["rows_max"]) == (7, TREES.training_rows_max)
    assert {"mean_7", "price", "weekday"} <= set(found.features)
    sealed = load_manifest(store, "acme", run.manifest)
    assert sealed is not None
    assert found.offsets == sealed.offsets
    days = [item.day for item in found.inputs if item.table == "sales_daily"]
    assert (min(d for d in days if d), max(d for d in days if d)) == (LAST - timedelta(days=109), LAST)
    assert {item.table for item in found.inputs} == {"sales_daily", "locations", "products"}
    assert all(len(item.sha256) == 64 and item.rows and item.size_bytes for item in found.inputs)
    assert found.metrics == run.metrics
    assert found.champion is None


def test_a_manifest_is_written_once(store: BlobStore, run: ForecastRun) -> None:
    path = load_model_manifest(store, "acme", run.run_id).path
    before = store.read(path)
    store.delete(run.path)
    one_day(store, flow=TREES)
    assert store.read(path) == before


def test_a_model_that_was_tampered_with_is_refused(store: BlobStore, run: ForecastRun) -> None:
    assert load_run_model(store, run).name == run.model
    assert run.model_path is not None
    data = bytearray(store.read(run.model_path))
    data[len(data) // 2] ^= 1
    store.replace(run.model_path, bytes(data))
    with pytest.raises(
        CorruptLakeError, match=f"expected the model with sha256 [0-9a-f]+.*reproduce {run.run_id}"
    ):
        load_run_model(store, run)
    store.delete(run.model_path)
    with pytest.raises(CorruptLakeError, match="found none"):
        load_run_model(store, run)


def test_other_code_is_named_and_other_data_is_refused(store: BlobStore, run: ForecastRun) -> None:
    path = load_model_manifest(store, "acme", run.run_id).path
    kept = json.loads(store.read(path))
    store.replace(path, json.dumps(kept | {"code": kept["code"] | {"lightgbm": "1.0"}}).encode())
    assert any(
        line.startswith("lightgbm was 1.0, is 4.")
        for line in reproduce(store, "acme", run.run_id).differences
    )
    store.replace(path, json.dumps(kept | {"parameters": {"depth": 3}}).encode())
    with pytest.raises(SettingError, match=r"parameters that this code does not know .*depth"):
        reproduce(store, "acme", run.run_id)
    store.replace(path, json.dumps(kept | {"inputs": kept["inputs"][1:]}).encode())
    with pytest.raises(CorruptLakeError, match="expected manifest 1 with the objects"):
        reproduce(store, "acme", run.run_id)
    with pytest.raises(SettingError, match="expected a run no-such-run"):
        reproduce(store, "acme", "no-such-run")


def test_a_run_that_was_cut_short_is_completed_on_another_day_as_it_was_begun(store: BlobStore) -> None:
    deliver(store, "acme", LAST)
    begun, _ = one_day(store)
    assert isinstance(begun, ForecastRun)
    # Killed between the rows and the record; meanwhile sales of the next day are sealed.
    store.delete(begun.path)
    store.delete("forecast_runs/acme/current.json")
    deliver(store, "acme", LAST + timedelta(days=1), days=1, seed=2, master=False)
    completed, _ = one_day(store)
    assert isinstance(completed, ForecastRun)
    assert completed.manifest == 1
    assert load_run(store, "acme", begun.run_id) == begun
    assert current(store, "acme") == begun


def test_of_two_processes_that_make_the_same_run_the_second_finds_what_stands(store: BlobStore) -> None:
    deliver(store, "acme", LAST)
    run, tried = one_day(store)
    assert isinstance(run, ForecastRun)
    assert tried is not None
    manifest = load_manifest(store, "acme")
    assert manifest is not None
    panel = read_panel(store, manifest, LAST, WEEK.horizon_days)
    refused = replace(run, accepted=False, reasons=("late",))
    assert publish_run(store, manifest, refused, day.train(panel, WEEK), day.model_of(WEEK)) == run
    assert current(store, "acme") == run
