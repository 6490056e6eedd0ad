"""Installations whose files are delivered for real: a broker, a registry, topics, a store and a desk."""

from collections.abc import Iterator

import pytest

from infra.blobs import BlobStore, open_store
from stream_jobs.ingest.accept import Desk
from tests.stream_jobs.ingest.installation import Installation, running_installation


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One for all tests of a module; each test delivers as another customer."""
    with running_installation(tmp_path_factory.mktemp("installation")) as found:
        yield found


@pytest.fixture
def store(installation: Installation) -> BlobStore:
    return open_store(installation.settings)


@pytest.fixture
def desk(installation: Installation, store: BlobStore) -> Iterator[Desk]:
    desk = Desk(installation.settings, store)
    yield desk
    desk.close()


@pytest.fixture
def customer(request: pytest.FixtureRequest) -> str:
    """A customer of this test alone."""
    return f"c{abs(hash(request.node.nodeid)) % 10**12}"
