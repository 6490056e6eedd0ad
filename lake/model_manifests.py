"""What each model was made from, beside the model: enough to make it again, byte for byte.

Guarantee: a manifest is written once and never changes. The model's bytes are handed out only when they have
the digest that it names.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from infra.blobs import BlobStore
from infra.errors import AlreadyExistsError, CorruptLakeError, NotFoundError
from lake.manifests import SealedObject, sealed_object

FOLDER = "models"


@dataclass(frozen=True, slots=True)
class ModelManifest:
    """What a model was made from.

    Attributes:
        run_id: The forecast run that the model was made for.
        customer_id: The retailer.
        model: Name of the model.
        made_on: Day on which it was made, UTC.
        code: Version, commit and digests of the code and of the locked dependencies, by name.
        parameters: All parameters of the model, the seed among them; JSON values.
        features: Names of its features, in order; empty for a model without any.
        origin: Last day of sales used.
        horizon_days: Days forecast.
        manifest: Number of the manifest that pins its data.
        first_day: First sealed day that was read.
        inputs: The sealed objects that were read.
        offsets: By raw table and partition the first offset that the manifest does not cover.
        metrics: Scores of the backtest, by name.
        champion: Id of the run that it was compared with; None when it was the first.
        model_path: Where the model lies.
        model_sha256: Digest of its bytes.
        forecast_sha256: Digest of the Parquet file of its forecast.
    """

    run_id: str
    customer_id: str
    model: str
    made_on: dt.date
    code: Mapping[str, str | None]
    parameters: Mapping[str, Any]
    features: tuple[str, ...]
    origin: dt.date
    horizon_days: int
    manifest: int
    first_day: dt.date
    inputs: tuple[SealedObject, ...]
    offsets: Mapping[str, Mapping[int, int]]
    metrics: Mapping[str, float]
    champion: str | None
    model_path: str
    model_sha256: str
    forecast_sha256: str

    @property
    def path(self) -> str:
        """Where the manifest lies."""
        return model_manifest_path(self.customer_id, self.run_id)

    def to_json(self) -> bytes:
        """The manifest as it is stored."""
        return json.dumps(asdict(self), default=_text, indent=1, allow_nan=False).encode()


def model_path(customer_id: str, run_id: str) -> str:
    """Where the model of a run lies."""
    return f"{FOLDER}/{customer_id}/{run_id}.skops"


def model_manifest_path(customer_id: str, run_id: str) -> str:
    """Where the manifest of a run's model lies."""
    return f"{FOLDER}/{customer_id}/{run_id}.json"


def keep_model(store: BlobStore, customer_id: str, run_id: str, data: bytes) -> str:
    """Store a model, unless an earlier try of the same run has; returns the digest of what lies there."""
    path = model_path(customer_id, run_id)
    try:
        store.put_if_absent(path, data)
    except AlreadyExistsError:
        # The same model, though not always the same bytes: the container notes when it was written.
        data = store.read(path)
    return hashlib.sha256(data).hexdigest()


def keep_model_manifest(store: BlobStore, manifest: ModelManifest) -> None:
    """Write a manifest, unless an earlier try of the same run has."""
    with suppress(AlreadyExistsError):
        store.put_if_absent(manifest.path, manifest.to_json())


def load_model_manifest(store: BlobStore, customer_id: str, run_id: str) -> ModelManifest:
    """The manifest of a run's model.

    Raises:
        NotFoundError: There is none.
        CorruptLakeError: It cannot be read.
    """
    path = model_manifest_path(customer_id, run_id)
    data = store.read(path)
    try:
        fields: dict[str, Any] = json.loads(data)
        days = {name: dt.date.fromisoformat(fields[name]) for name in ("made_on", "origin", "first_day")}
        offsets = {
            table: {int(partition): int(offset) for partition, offset in partitions.items()}
            for table, partitions in fields["offsets"].items()
        }
        inputs = tuple(sealed_object(item) for item in fields["inputs"])
        listed = {"features": tuple(fields["features"]), "inputs": inputs, "offsets": offsets}
        return ModelManifest(**{**fields, **days, **listed})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptLakeError(
            f"{path}: expected the manifest of a model, found {error!r}; restore it from a backup"
        ) from error


def read_model(store: BlobStore, manifest: ModelManifest) -> bytes:
    """The bytes of a model.

    Raises:
        CorruptLakeError: They are gone, or are not those that the manifest names.
    """
    try:
        data = store.read(manifest.model_path)
    except NotFoundError as error:
        raise CorruptLakeError(
            f"{manifest.model_path}: expected the model of run {manifest.run_id}, found none"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != manifest.model_sha256:
        raise CorruptLakeError(
            f"{manifest.model_path}: expected the model with sha256 {manifest.model_sha256}, found {found}: it was "
            f"changed after it was stored; make it anew with `headrace reproduce {manifest.run_id}`"
        )
    return data


def _text(value: object) -> str:
    if isinstance(value, dt.date):
        return value.isoformat()
    raise TypeError(f"a model's manifest holds no {type(value).__name__}")
