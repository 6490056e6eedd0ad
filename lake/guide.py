"""What the lake says of itself: a page for people with examples, the data dictionary, and the catalogue.

Guarantee: page and dictionary are those of the version that wrote last; neither is ever seen half written.
"""

import datetime as dt
from importlib.resources import files

from infra.blobs import BlobStore
from infra.errors import NotFoundError
from lake import catalogue, dictionary
from lake.manifests import Manifest

README = "README.md"


def markdown(location: str) -> str:
    """The page, with examples that run where the lake lies.

    Args:
        location: Folder or `s3://` URL of the lake.
    """
    return files("lake").joinpath("guide.md").read_text(encoding="utf-8").replace("{location}", location)


def explain(store: BlobStore, now: dt.datetime, sealed: Manifest | None = None) -> None:
    """Bring page, dictionary and catalogue of a lake up to date.

    Args:
        store: The lake.
        now: The time, UTC; stands in the catalogue.
        sealed: The manifest that has just been written: only what it changed, and what arrived lately, is counted.
            None counts the whole lake.
    """
    _put(store, README, markdown(store.location))
    _put(store, dictionary.PATH, dictionary.markdown())
    catalogue.write(store, now, sealed)


def _put(store: BlobStore, path: str, text: str) -> None:
    """Write a document unless it is there already."""
    data = text.encode()
    try:
        if store.read(path) == data:
            return
    except NotFoundError:
        pass
    store.replace(path, data)
