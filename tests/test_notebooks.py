"""The notebooks run from the first cell to the last, and do what their words say."""

import datetime as dt
from pathlib import Path

import jupytext
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from docs.reference import ROOT
from infra.blobs import BlobStore, open_store
from infra.settings import Settings, load_settings, settings_environment
from lake.forecasts import current
from lake.seal import seal
from tests.flows.retailer import deliver

NOTEBOOK = ROOT / "docs" / "notebooks" / "own_model.py"
LAST_DAY = dt.date(2026, 3, 1)


def run_notebook(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> NotebookNode:
    for name, value in settings_environment(settings).items():
        monkeypatch.setenv(name, value)
    notebook = jupytext.read(NOTEBOOK)
    client = NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    )
    return client.execute()


def texts(notebook: NotebookNode) -> str:
    outputs = (output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs)
    return "".join(output.get("text", "") for output in outputs)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path, flow={"horizon_days": 14})


@pytest.fixture
def store(settings: Settings) -> BlobStore:
    """A retailer with half a year of sealed sales."""
    store = open_store(settings)
    deliver(store, "acme", LAST_DAY, days=180)
    seal(store, "acme", dt.datetime.now(dt.UTC))
    return store


def test_a_model_of_ones_own_goes_from_the_lake_through_the_gate_and_is_served(
    settings: Settings, store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = run_notebook(settings, monkeypatch)
    assert "8 series, 180 days known, 14 ahead" in texts(notebook)
    assert "accepted" in texts(notebook)
    served = current(store, "acme")
    assert served is not None
    assert f"served: {served.run_id}" in texts(notebook)
    assert (served.model, served.manifest, served.origin) == ("fading_weeks", 1, LAST_DAY)
    assert served.metrics["wrmsse"] < 1
    pictures = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 2
