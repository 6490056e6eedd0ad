"""A filled lake, the stream's side in memory, and the service on both."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from infra.blobs import BlobStore, open_store
from infra.settings import HttpSettings, IngestSettings, Settings, load_settings
from serving.app import create_app
from serving.token_store import TokenStore
from serving.tokens import SCOPES
from tests.serving import lake_content as content
from tests.serving.parts import MemoryStream, header_of_new, listening

FILE_BYTES_MAX = 50_000_000
FAST = HttpSettings(requests_per_s=10_000)
"""Tests ask faster than people; those of the rate give their tokens one of their own."""


def settings_of(folder: Path) -> Settings:
    return load_settings(home=folder, ingest=IngestSettings(file_bytes_max=FILE_BYTES_MAX), http=FAST)


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> BlobStore:
    """A lake with sealed sales and a published run; only read it."""
    store = open_store(settings_of(tmp_path_factory.mktemp("filled")))
    days = [content.LAST_DAY - timedelta(days=back) for back in reversed(range(content.DAYS))]
    content.write_sales(store, content.sales(content.PLACES, content.THINGS, days))
    rows = content.forecast(list(content.PLACES), list(content.THINGS), content.LAST_DAY + timedelta(days=1))
    content.publish(store, "2026-11-20-a", rows)
    return store


@pytest.fixture
def stream() -> MemoryStream:
    """The stream's side with some locations and products."""
    made = MemoryStream()
    made.frames = content.master_frames(content.PLACES, content.THINGS)
    return made


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a lake of their own and a bound on files that a test can reach."""
    return settings_of(tmp_path)


@pytest.fixture
def store(settings: Settings) -> BlobStore:
    """An empty lake."""
    return open_store(settings)


@pytest.fixture
def tokens(store: BlobStore) -> TokenStore:
    """The tokens of the service."""
    return TokenStore(store)


@pytest.fixture
def headers(tokens: TokenStore) -> dict[str, str]:
    """The header of somebody who may do everything."""
    return header_of_new(tokens, *SCOPES)


@pytest.fixture
def app_on(settings: Settings, stream: MemoryStream, tokens: TokenStore) -> Callable[[BlobStore], FastAPI]:
    """Makes a service on a lake."""
    return lambda store: create_app(settings, store, stream, stream, stream, stream, stream, stream, tokens)


@pytest.fixture
def app(app_on: Callable[[BlobStore], FastAPI], filled: BlobStore) -> FastAPI:
    """The service on the filled lake."""
    return app_on(filled)


@pytest.fixture
def client(app: FastAPI, headers: dict[str, str]) -> Iterator[TestClient]:
    """A client of the service that may do everything."""
    with TestClient(app, headers=headers) as made:
        yield made


@pytest.fixture
def served(app: FastAPI) -> Iterator[str]:
    """The address of the service, listening for real."""
    with listening(app) as address:
        yield address
