"""A kept run made again from its model's manifest, and compared with what was published.

Guarantee: nothing in the lake changes. The data is that of the run's own manifest, whatever was sealed since, and
the parameters are those of the model, whatever the settings say now.
"""

import hashlib
from dataclasses import dataclass

from flows.customer_day import train_model
from flows.publication import rows_of
from flows.training_data import inputs_of, read_panel
from infra.blobs import BlobStore
from infra.code_version import code_version
from infra.errors import CorruptLakeError, NotFoundError, SettingError
from lake.forecasts import current, load_run, rows_bytes
from lake.manifests import load_manifest
from lake.model_manifests import ModelManifest, load_model_manifest
from ml.global_trees import GlobalTrees


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What came of making a run again.

    Attributes:
        run_id: The run.
        data: The Parquet file of the forecast made now.
        forecast_sha256: Digest of it.
        expected_sha256: Digest of what was published.
        differences: What is other than it was when the run was made: code, commit, libraries.
    """

    run_id: str
    data: bytes
    forecast_sha256: str
    expected_sha256: str
    differences: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Whether the forecast is the same, byte for byte."""
        return self.forecast_sha256 == self.expected_sha256


def reproduce(store: BlobStore, customer_id: str, run_id: str | None) -> Reproduction:
    """Make a run again.

    Args:
        store: The lake.
        customer_id: The customer.
        run_id: The run; None means the one in use.

    Raises:
        SettingError: There is no such run, or the model has parameters that this code does not know.
        CorruptLakeError: The data that the manifest pins is not there any more.
    """
    run = current(store, customer_id) if run_id is None else load_run(store, customer_id, run_id)
    if run is None:
        which = "a run in use" if run_id is None else f"a run {run_id}"
        raise SettingError(f"expected {which} of customer {customer_id}, found none; see /v1/forecasts/runs")
    try:
        made = load_model_manifest(store, customer_id, run.run_id)
    except NotFoundError as error:
        raise SettingError(
            f"run {run.run_id} has no manifest of its model: it was made before there were any"
        ) from error
    manifest = load_manifest(store, customer_id, made.manifest)
    if manifest is None or inputs_of(manifest, made.origin) != made.inputs:
        raise CorruptLakeError(
            f"run {run.run_id}: expected manifest {made.manifest} with the objects that its model was made from, "
            f"found {'none' if manifest is None else 'others'}; restore it from a backup"
        )
    panel = read_panel(store, manifest, made.origin, made.horizon_days)
    trained = train_model(_model_of(made), panel, made.horizon_days)
    data = rows_bytes(run, rows_of(run, trained))
    now = code_version()
    differences = tuple(
        f"{name} was {was or 'unknown'}, is {now.get(name) or 'unknown'}"
        for name, was in made.code.items()
        if was != now.get(name)
    )
    return Reproduction(run.run_id, data, hashlib.sha256(data).hexdigest(), made.forecast_sha256, differences)


def _model_of(made: ModelManifest) -> GlobalTrees:
    try:
        return GlobalTrees(**made.parameters)
    except TypeError as error:
        raise SettingError(
            f"run {made.run_id}: its model has parameters that this code does not know ({error}); "
            f"check out {made.code.get('revision') or made.code.get('version')}"
        ) from error
