"""Whether the forecast that is served is the one that should be, and if not, why.

Guarantee: a reader sees the whole status or the one before it. It says nothing about which run is served: the pointer
does that, and a status that was not written leaves the pointer right.
"""

import datetime as dt
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from infra.blobs import BlobStore
from infra.errors import CorruptLakeError, NotFoundError

State = Literal["fresh", "degraded"]


@dataclass(frozen=True, slots=True)
class ForecastStatus:
    """How the forecast of a customer stands.

    Attributes:
        state: `fresh`, or `degraded` when a newer forecast should be served and is not.
        reasons: Why it is degraded, in words; empty when it is not.
        as_of: The last day whose sales should be in it; None before the first daily run.
        since: The first such day for which it was degraded; None when it is not.
        run_id: The run that was refused; None when none was made.
    """

    state: State = "fresh"
    reasons: tuple[str, ...] = ()
    as_of: dt.date | None = None
    since: dt.date | None = None
    run_id: str | None = None


def load_status(store: BlobStore, customer_id: str) -> ForecastStatus:
    """The status of a customer's forecast; a fresh one before the first daily run.

    Raises:
        CorruptLakeError: It cannot be read.
    """
    path = _path(customer_id)
    try:
        fields: dict[str, Any] = json.loads(store.read(path))
        days = {name: _day(fields[name]) for name in ("as_of", "since")}
        return ForecastStatus(**{**fields, **days, "reasons": tuple(fields["reasons"])})
    except NotFoundError:
        return ForecastStatus()
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptLakeError(
            f"{path}: expected the status of a forecast, found {error!r}; delete it"
        ) from error


def mark_fresh(store: BlobStore, customer_id: str, as_of: dt.date) -> None:
    """Say that the forecast served is the one that should be."""
    _write(store, customer_id, ForecastStatus("fresh", as_of=as_of))


def mark_degraded(
    store: BlobStore, customer_id: str, as_of: dt.date, reasons: tuple[str, ...], run_id: str | None = None
) -> None:
    """Say that an older forecast goes on being served.

    Args:
        store: The lake.
        customer_id: The customer.
        as_of: The last day whose sales should be in the forecast.
        reasons: Why they are not.
        run_id: The run that was refused; None when none was made.
    """
    since = load_status(store, customer_id).since or as_of
    _write(store, customer_id, ForecastStatus("degraded", reasons, as_of, min(since, as_of), run_id))


def _write(store: BlobStore, customer_id: str, status: ForecastStatus) -> None:
    if load_status(store, customer_id) != status:
        store.replace(_path(customer_id), json.dumps(asdict(status), default=str, indent=1).encode())


def _path(customer_id: str) -> str:
    return f"forecast_status/{customer_id}.json"


def _day(text: str | None) -> dt.date | None:
    return None if text is None else dt.date.fromisoformat(text)
