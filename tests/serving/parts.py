"""The stream's side as the service sees it, held in memory: every Protocol of `serving.ports`."""

import hashlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

import polars as pl
import uvicorn
from fastapi import FastAPI

from infra.errors import DeliveryError, UnavailableError
from serving.ports import (
    WINDOW_COLUMNS,
    Content,
    Delivery,
    Finish,
    Lag,
    MasterTable,
    PartHealth,
    Receipt,
    State,
    WindowTable,
)
from serving.token_store import TokenStore
from serving.tokens import Scope, made_token, new_secret

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def header_of_new(tokens: TokenStore, *scopes: Scope, **more: object) -> dict[str, str]:
    """The header of a new token's holder.

    Args:
        tokens: Where it is kept.
        scopes: What it may do.
        more: Further fields of the token.
    """
    secret = new_secret()
    tokens.add(made_token(secret, "somebody", "a test", scopes, **more))
    return {"Authorization": f"Bearer {secret}"}


@contextmanager
def listening(app: FastAPI, stop_s: float = 30) -> Iterator[str]:
    """The address of a service that listens for real, until the end of the block.

    Args:
        app: The service.
        stop_s: Longest wait for what is under way at the end.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            deadline = time.monotonic() + 30
            while not server.started and time.monotonic() < deadline:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(stop_s)


class MemoryStream:
    """Accepts files, keeps their digests and counts, and answers for what became of them."""

    def __init__(self) -> None:
        self.kept: dict[int, Delivery] = {}
        self.digests: dict[tuple[str, str], int] = {}
        self.frames: dict[str, pl.DataFrame] = {}
        self.offsets: Mapping[int, int] = {0: 7}
        self.health = [PartHealth("stream", ready=True, detail="followed to its end")]
        self.window_rows = window_frame()
        self.behind = [Lag("validate", "sales-input", 0, 17, 40), Lag("join", "sales-validated", 0, 0, 23)]
        self.down = False
        self.largest_read_bytes = 0
        self.reading = 0

    def accept(self, customer_id: str, content: Content | None, name: str, stream: BinaryIO) -> Receipt:
        if self.down:
            raise UnavailableError("the broker does not answer")
        self.reading += 1
        try:
            digest, size_bytes = hashlib.sha256(), 0
            while piece := stream.read(256 * 1024):
                self.largest_read_bytes = max(self.largest_read_bytes, len(piece))
                size_bytes += len(piece)
                digest.update(piece)
        finally:
            self.reading -= 1
        found: str | None = content or name.split("-")[0].split(".")[0]
        if found not in ("sales", "locations", "products", "prices", "events"):
            raise DeliveryError(
                f"the name {name!r} does not begin with what the file holds; say it with content"
            )
        key = (customer_id, digest.hexdigest())
        repeated = key in self.digests
        delivery_id = self.digests.setdefault(key, len(self.digests))
        if not repeated:
            self.add(
                delivery_id, customer_id, content=found, name=name, size_bytes=size_bytes, state="accepted"
            )
        return Receipt(delivery_id, repeated, found, "csv", key[1], size_bytes)

    def add(
        self,
        delivery_id: int,
        customer_id: str,
        *,
        state: State,
        content: str = "sales",
        name: str = "sales.csv",
        size_bytes: int = 1_000,
        records: int = 0,
        by_code: Mapping[str, int] | None = None,
        reason: str | None = None,
    ) -> Delivery:
        invalid = max((by_code or {}).values(), default=0)
        at = NOON + timedelta(minutes=delivery_id)
        done_at = at + timedelta(seconds=20) if state in ("done", "rejected") else None
        self.kept[delivery_id] = Delivery(
            delivery_id, customer_id, content, "csv", name, size_bytes, state, records, records - invalid,
            invalid, at, at, dict(by_code or {}), reason, done_at)  # fmt: skip
        return self.kept[delivery_id]

    def customers(self) -> Sequence[str]:
        return sorted({one.customer_id for one in self.kept.values()})

    def get(self, delivery_id: int) -> Delivery | None:
        return self.kept.get(delivery_id)

    def page(
        self, customer_id: str, state: State | None, before: int | None, limit: int
    ) -> Sequence[Delivery]:
        newest_first = sorted(self.kept.values(), key=lambda one: -one.delivery_id)
        found = [
            one
            for one in newest_first
            if one.customer_id == customer_id
            and state in (None, one.state)
            and (before is None or one.delivery_id < before)
        ]
        return found[:limit]

    def last_finish(self, customer_id: str) -> Finish | None:
        return max(self._finishes(customer_id), default=None)

    def finished(self, customer_id: str, after: Finish | None, limit: int) -> Sequence[Delivery]:
        found = [one for one in sorted(self._finishes(customer_id)) if after is None or one > after]
        return [self.kept[delivery_id] for _, delivery_id in found[:limit]]

    def _finishes(self, customer_id: str) -> list[Finish]:
        mine = [one for one in self.kept.values() if one.customer_id == customer_id]
        return [(one.done_at, one.delivery_id) for one in mine if one.done_at is not None]

    def locations(self, customer_id: str) -> MasterTable:
        return MasterTable(self._of(self.frames["locations"], customer_id), self.offsets)

    def products(self, customer_id: str) -> MasterTable:
        return MasterTable(self._of(self.frames["products"], customer_id), self.offsets)

    def windows(self, customer_id: str) -> WindowTable:
        return WindowTable(self._of(self.window_rows, customer_id).select(WINDOW_COLUMNS), ready=True)

    def lags(self) -> Sequence[Lag]:
        if self.down:
            raise UnavailableError("the broker does not answer")
        return self.behind

    def parts(self) -> Sequence[PartHealth]:
        return self.health

    def _of(self, frame: pl.DataFrame, customer_id: str) -> pl.DataFrame:
        return frame.filter(pl.col("customer_id") == customer_id)


def window_frame() -> pl.DataFrame:
    """Ten days of two products at two locations of Berlin, and the weeks that end with them; the last days are open."""
    rows = []
    for location in ("berlin-1", "berlin-2"):
        for product in ("milk", "tea"):
            for number in range(10):
                for window, days in (("day", 1), ("week", 7)):
                    starts_at = datetime(2026, 11, 9 + number, 23, tzinfo=UTC)
                    rows.append(
                        {
                            "customer_id": "corner-shops",
                            "location_id": location,
                            "product_id": product,
                            "window": window,
                            "starts_on": starts_at.date() + timedelta(days=1),
                            "starts_at": starts_at,
                            "ends_at": starts_at + timedelta(days=days),
                            "time_zone": "Europe/Berlin",
                            "quantity": 1.5 * days,
                            "revenue": None if product == "tea" else 2.25,
                            "sales": days,
                            "final": number < 7,
                            "updated_at": NOON,
                        }
                    )
    return pl.DataFrame(rows, schema_overrides={"revenue": pl.Float64})
