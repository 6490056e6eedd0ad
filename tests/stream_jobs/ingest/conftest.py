"""An installation whose files are delivered for real: a desk and a store beside the world's topics."""

from collections.abc import Iterator

import pytest

from infra.blobs import BlobStore, open_store
from stream_jobs.ingest.accept import Desk
from tests.stream_jobs.world import World


@pytest.fixture
def store(world: World) -> BlobStore:
    return open_store(world.settings)


@pytest.fixture
def desk(world: World, store: BlobStore) -> Iterator[Desk]:
    desk = Desk(world.settings, store)
    yield desk
    desk.close()
