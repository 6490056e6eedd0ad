"""A client of the HTTP API for programs in Python.

    from serving.client import Headrace

    with Headrace("https://headrace.example.com", token) as headrace:
        receipt = headrace.deliver("acme", "sales-2026-11-20.csv.gz")
        report = headrace.wait(receipt.delivery_id)
        forecasts = headrace.forecasts("acme", location_id="L1", quantiles=["q05", "q95"]).polars()

Guarantee: what was not answered is asked again, a bounded number of times, and only where that is safe: what is read,
and a file, since the same bytes have one id. All rows of an answer are of one run. Fields that a newer service adds
are passed over.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeVar, cast

import httpx
import polars as pl
import pyarrow as pa

from infra.errors import HeadraceError, UnavailableError
from serving.ports import Delivery, Receipt

if TYPE_CHECKING:
    import pandas as pd

ARROW = "application/vnd.apache.arrow.stream"
PIECE_BYTES = 1 << 20
PAGE_ROWS = 100_000
TRIES = 4
PAUSE_S = 0.5
PAUSE_S_MAX = 30.0
POLL_S = 0.25
POLL_S_MAX = 5.0
FINAL = frozenset({"done", "rejected"})
AGAIN = frozenset({429, 502, 503, 504})
"""Answers after which the same request may succeed."""

Parameters = Mapping[str, str | int | None]
OnProgress = Callable[[int, int], None]
Record = TypeVar("Record")


class RefusedError(HeadraceError):
    """The service refused a request.

    Attributes:
        status: HTTP status.
        kind: Kind of problem, such as `unknown-delivery`; the reference lists them.
        action: What to do.
    """

    def __init__(self, status: int, kind: str, text: str, action: str) -> None:
        super().__init__(f"{text} {action}".strip())
        self.status = status
        self.kind = kind
        self.action = action


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of an answer, in the library of the caller.

    Attributes:
        table: The rows; fields carry their descriptions and units.
        run_id: The run that they are of; empty when they are of none.
    """

    table: pa.Table
    run_id: str = ""

    def arrow(self) -> pa.Table:
        """As an Arrow table."""
        return self.table

    def polars(self) -> pl.DataFrame:
        """As a Polars frame."""
        return cast("pl.DataFrame", pl.from_arrow(self.table))

    def pandas(self) -> "pd.DataFrame":
        """As a pandas frame, days as timestamps at midnight."""
        frame: pd.DataFrame = self.table.to_pandas(date_as_object=False)
        return frame


class Headrace:
    """A connection to a service; a context manager that closes it. May be used from several threads.

    Args:
        url: Address of the service, such as `https://headrace.example.com`.
        token: The secret of a token.
        timeout_s: Longest wait for a part of an answer, seconds.
        tries: Most times that a request is made.
    """

    def __init__(self, url: str, token: str, timeout_s: float = 60.0, tries: int = TRIES) -> None:
        self._tries = tries
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=httpx.Timeout(timeout_s)
        )

    def __enter__(self) -> Self:
        """Be used in a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def forecasts(
        self,
        customer_id: str,
        *,
        location_id: str | None = None,
        product_id: str | None = None,
        start: date | None = None,
        end: date | None = None,
        quantiles: Sequence[str] | None = None,
        run_id: str | None = None,
    ) -> Rows:
        """Forecasts, sorted by location, product and day; all pages of them.

        Args:
            customer_id: The retailer.
            location_id: Only this location.
            product_id: Only this product.
            start: First day, inclusive.
            end: Last day, inclusive.
            quantiles: Only these, such as `["q05", "q95"]`; all without it, none when empty.
            run_id: An earlier run instead of the current one.

        Raises:
            RefusedError: There is no forecast, or the token may not read it.
            UnavailableError: The service cannot be reached.
        """
        asked: Parameters = {
            "customer_id": customer_id, "location_id": location_id, "product_id": product_id, "run_id": run_id,
            **_days(start, end), "quantiles": _listed(quantiles), "limit": PAGE_ROWS,
        }  # fmt: skip
        answer = self._read("/v1/forecasts", asked)
        pages = [_table(answer)]
        while following := answer.links.get("next"):
            answer = self._read(following["url"])
            pages.append(_table(answer))
        return Rows(pa.concat_tables(pages), answer.headers["headrace-run-id"])

    def series(
        self,
        customer_id: str,
        keys: Sequence[tuple[str, str]],
        *,
        start: date | None = None,
        end: date | None = None,
        quantiles: Sequence[str] | None = None,
        run_id: str | None = None,
    ) -> Rows:
        """Forecasts of up to a thousand pairs of location and product, in the order asked; otherwise as `forecasts`."""
        asked = {
            "customer_id": customer_id, "run_id": run_id, **_days(start, end), "quantiles": _listed(quantiles),
            "series": [{"location_id": location, "product_id": product} for location, product in keys],
        }  # fmt: skip
        answer = self._ask("POST", "/v1/forecasts/series", headers={"Accept": ARROW}, json=asked)
        return Rows(_table(answer), answer.headers["headrace-run-id"])

    def groups(
        self,
        customer_id: str,
        by: Sequence[str] = (),
        *,
        start: date | None = None,
        end: date | None = None,
        run_id: str | None = None,
    ) -> Rows:
        """Expected sums by group and day.

        Args:
            customer_id: The retailer.
            by: Some of location, region, kind, product, category, department; one group of all when empty.
            start: First day, inclusive.
            end: Last day, inclusive.
            run_id: An earlier run instead of the current one.

        Raises:
            RefusedError: There is no forecast, or the token may not read it.
            UnavailableError: The service cannot be reached.
        """
        asked = {"customer_id": customer_id, "by": ",".join(by), "run_id": run_id, **_days(start, end)}
        answer = self._read("/v1/forecasts/groups", asked)
        return Rows(_table(answer), answer.headers["headrace-run-id"])

    def run(self, customer_id: str, run_id: str = "current", quantiles: Sequence[str] | None = None) -> Rows:
        """All forecasts of a run in one answer; otherwise as `forecasts`."""
        asked = {"customer_id": customer_id, "quantiles": _listed(quantiles)}
        answer = self._read(f"/v1/forecasts/runs/{run_id}/rows", asked)
        return Rows(_table(answer), answer.headers["headrace-run-id"])

    def history(
        self,
        customer_id: str,
        location_id: str,
        product_id: str,
        *,
        start: date | None = None,
        end: date | None = None,
    ) -> Rows:
        """What one location sold of one product, by sealed day; the last 84 without a start."""
        asked = {
            "customer_id": customer_id, "location_id": location_id, "product_id": product_id, **_days(start, end)
        }  # fmt: skip
        return Rows(_table(self._read("/v1/history", asked)))

    def deliver(
        self,
        customer_id: str,
        file: str | Path | BinaryIO,
        *,
        name: str | None = None,
        content: str | None = None,
        key: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Receipt:
        """Send a file of sales, locations, products, prices or events.

        Args:
            customer_id: Who delivers.
            file: Its path, or a seekable file that is open for reading bytes.
            name: What to call it: its beginning tells the content, its ending the format; the path's name without it.
            content: What it holds, when its name does not say.
            key: A key of this file's own, such as a UUID, for a file whose bytes change when it is made again.
            on_progress: Told the bytes sent so far and those that there are; begins anew when it is sent again.

        Returns:
            The delivery's id; that of the first delivery when the same bytes were sent before.

        Raises:
            RefusedError: The file cannot be accepted, or the token may not deliver.
            UnavailableError: The service cannot be reached; sending it again is safe.
        """
        if isinstance(file, str | Path):
            with Path(file).open("rb") as opened:
                return self.deliver(
                    customer_id,
                    opened,
                    name=name or Path(file).name,
                    content=content,
                    key=key,
                    on_progress=on_progress,
                )
        if name is None:
            raise ValueError("name: expected the name of the file, since a file that is open may have none")
        size_bytes = file.seek(0, 2)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size_bytes)}
        if key is not None:
            headers["Idempotency-Key"] = key
        asked = _given({"customer_id": customer_id, "name": name, "content": content})
        answer = self._ask(
            "POST", "/v1/deliveries", params=asked, headers=headers,
            body=lambda: _pieces(file, size_bytes, on_progress),
        )  # fmt: skip
        return _record(Receipt, answer.json())

    def delivery(self, delivery_id: int) -> Delivery:
        """What became of a delivery so far.

        Raises:
            RefusedError: There is none of this id, or it is another customer's.
            UnavailableError: The service cannot be reached.
        """
        return _record(Delivery, self._read_json(f"/v1/deliveries/{delivery_id}"))

    def wait(self, delivery_id: int, timeout_s: float = 600.0) -> Delivery:
        """Wait until a delivery is done or rejected, and tell what became of it.

        Raises:
            RefusedError: There is none of this id, or it is another customer's.
            UnavailableError: The service cannot be reached, or the delivery is not done in time.
        """
        deadline, pause_s = time.monotonic() + timeout_s, POLL_S
        while True:
            try:
                found = self.delivery(delivery_id)
            except RefusedError as error:
                # What was accepted a moment ago may not have come to every process yet.
                if error.kind != "unknown-delivery" or time.monotonic() > deadline - timeout_s + POLL_S_MAX:
                    raise
            else:
                if found.state in FINAL:
                    return found
                if time.monotonic() > deadline:
                    raise UnavailableError(
                        f"delivery {delivery_id}: expected it to be done within {timeout_s:g} s, found it {found.state}"
                        f"{': ' + found.reason if found.reason else ''}; wait longer, or ask the operator"
                    )
            time.sleep(min(pause_s, max(deadline - time.monotonic(), 0.0)))
            pause_s = min(2 * pause_s, POLL_S_MAX)

    def errors(self, delivery_id: int) -> pl.DataFrame:
        """The refused records of a delivery by their place in the file, with every reason; all pages of them."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = self._read_json(
                f"/v1/deliveries/{delivery_id}/errors", {"limit": PAGE_ROWS, "cursor": cursor}
            )
            found += page["errors"]
            cursor = page["next_cursor"]
            if cursor is None:
                return pl.DataFrame(found, infer_schema_length=None)

    def _read(self, address: str, parameters: Parameters | None = None) -> httpx.Response:
        return self._ask("GET", address, params=_given(parameters), headers={"Accept": ARROW})

    def _read_json(self, address: str, parameters: Parameters | None = None) -> dict[str, Any]:
        answer = self._ask("GET", address, params=_given(parameters), headers={"Accept": "application/json"})
        found: dict[str, Any] = answer.json()
        return found

    def _ask(
        self,
        method: str,
        address: str,
        *,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        body: Callable[[], Iterator[bytes]] | None = None,
    ) -> httpx.Response:
        """Make a request, again while that may help, and refuse an answer that is none."""
        for number in range(1, self._tries + 1):
            pause_s = min(PAUSE_S * 2 ** (number - 1), PAUSE_S_MAX)
            try:
                answer = self._http.request(
                    method, address, params=params, headers=headers, json=json,
                    content=None if body is None else body(),
                )  # fmt: skip
            except httpx.TransportError as error:
                if number == self._tries:
                    raise UnavailableError(
                        f"{method} {self._http.base_url}{address} got no answer ({error!r}); try again later"
                    ) from error
            else:
                if answer.is_success:
                    return answer
                if answer.status_code not in AGAIN or number == self._tries:
                    raise _refusal(answer)
                pause_s = min(float(answer.headers.get("retry-after", pause_s)), PAUSE_S_MAX)
            time.sleep(pause_s)
        raise ValueError(f"tries: expected 1 or more, found {self._tries}")


def _pieces(file: BinaryIO, size_bytes: int, on_progress: OnProgress | None) -> Iterator[bytes]:
    file.seek(0)
    sent_bytes = 0
    while piece := file.read(PIECE_BYTES):
        yield piece
        sent_bytes += len(piece)
        if on_progress is not None:
            on_progress(sent_bytes, size_bytes)


def _refusal(answer: httpx.Response) -> HeadraceError:
    """The error that an answer stands for."""
    try:
        found = answer.json()
        kind = str(found["type"]).rpartition("#")[2]
        text, action = f"{found['title']}: {found['detail']}", str(found["action"])
    except (ValueError, KeyError, TypeError):
        # A proxy may have answered.
        kind, text, action = "", f"{answer.url} answered with status {answer.status_code}.", ""
    return RefusedError(answer.status_code, kind, text, action)


def _table(answer: httpx.Response) -> pa.Table:
    return pa.ipc.open_stream(answer.content).read_all()


def _given(parameters: Parameters | None) -> Mapping[str, str | int] | None:
    """The parameters that have a value; None keeps the query that an address has already."""
    if parameters is None:
        return None
    return {name: value for name, value in parameters.items() if value is not None}


def _days(start: date | None, end: date | None) -> dict[str, str | None]:
    return {"start": None if start is None else str(start), "end": None if end is None else str(end)}


def _listed(quantiles: Sequence[str] | None) -> str | None:
    return None if quantiles is None else ",".join(quantiles)


def _record(kind: type[Record], found: Mapping[str, Any]) -> Record:
    """A record of an answer: the fields that it has, moments as datetimes."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    moments = {name for name in names if name.endswith("_at")}
    return kind(
        **{
            name: datetime.fromisoformat(found[name]) if name in moments and found[name] else found[name]
            for name in names
            if name in found
        }
    )
