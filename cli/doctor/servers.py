"""What can be wrong with the servers and parts: brokers, topics, registry, lake, clocks, parts that do not come up.

Guarantee: looking leaves nothing behind. In the lake one small object is written and removed, because rights and
conditional writes show only then.
"""

import contextlib
import time
import uuid
from collections.abc import Iterable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from cli.doctor.finding import Finding
from cli.stack import PartView
from infra.blobs import BlobStore
from infra.errors import AlreadyExistsError
from infra.kafka import check_broker
from infra.settings import Settings
from schemas import catalogue

CLOCK_S_MAX = 30.0
"""Difference between two clocks from which on times in data and messages mislead, seconds."""
TIMEOUT_S = 3.0
PROBE = "doctor"


def parts(views: Iterable[PartView]) -> Iterator[Finding]:
    """Whether each part of the running stack takes work."""
    count = 0
    for view in views:
        count += 1
        if not view.ready:
            yield Finding(
                "parts",
                f"{view.name} is {view.state} and not ready: {view.detail}",
                f"`headrace logs {view.name}` says why",
            )
    yield Finding("parts", f"{count} parts looked at")


def broker(settings: Settings) -> Iterator[Finding]:
    """Whether the brokers answer and let this installation in."""
    check_broker(settings)
    yield Finding("broker", f"{settings.bootstrap_servers} answers")


def topics(settings: Settings) -> Iterator[Finding]:
    """Whether topics and schemas are those of this version."""
    for difference in catalogue.check(settings):
        yield Finding(
            "topics",
            str(difference),
            "`headrace topics apply` makes what is missing; docs/runbook.md has the rest",
        )
    yield Finding("topics", f"{len(catalogue.CATALOGUE)} topics looked at")


def lake(store: BlobStore) -> Iterator[Finding]:
    """Whether the lake can be written, read and listed, and refuses to overwrite what must stay."""
    if "://" not in store.location and not Path(store.location).exists():
        yield Finding("lake", f"{store.location} is not there yet; the first start makes it")
        return
    path = f"{PROBE}/{uuid.uuid4().hex}"
    try:
        store.put_if_absent(path, b"headrace doctor")
        if store.read(path) != b"headrace doctor" or path not in store.list(PROBE):
            yield Finding(
                "lake",
                f"{store.location} does not show what was written",
                "use a store that is consistent after each write",
            )
        try:
            store.put_if_absent(path, b"twice")
        except AlreadyExistsError:
            yield Finding("lake", f"{store.location} can be written, and keeps what is there")
        else:
            yield Finding(
                "lake",
                f"{store.location} overwrites an object though it was told not to (If-None-Match)",
                "use a server with conditional writes: without them rows can be there twice",
            )
    finally:
        store.delete(path)


def clocks(urls: Iterable[str]) -> Iterator[Finding]:
    """Whether this machine's clock and those of the servers agree, as far as the servers tell.

    Args:
        urls: Addresses of servers that speak HTTP; those that do not answer are for others to find.
    """
    for url in urls:
        with contextlib.suppress(httpx.HTTPError):
            before = time.time()
            date = httpx.get(url, timeout=TIMEOUT_S).headers.get("date")
            if date is None:
                continue
            ahead = (before + time.time()) / 2 - parsedate_to_datetime(date).timestamp()
            remedy = "" if abs(ahead) <= CLOCK_S_MAX else "set both clocks by NTP, this one and the server's"
            side = "ahead of" if ahead > 0 else "behind"
            found = f"this clock is {abs(ahead):.0f} s {side} that of {url}" if remedy else f"as at {url}"
            yield Finding("clock", found, remedy)


def clock_urls(settings: Settings) -> list[str]:
    """The servers that tell the time."""
    s3 = settings.s3.endpoint_url if settings.lake_url.startswith("s3://") else None
    return [settings.registry, f"{settings.prefect}/api/health", *([s3] if s3 else [])]
