"""An empty lake in a directory."""

from pathlib import Path

import pytest

from infra.blobs import DirectoryStore


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "lake")
