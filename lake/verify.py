"""Looking over the whole lake for what must not be.

Guarantee: verifying changes nothing and goes on after a finding. Files are held one at a time, only the keys
of refused records together. Every byte of what a manifest names is read once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
import pyarrow.parquet as pq

from infra.blobs import BlobStat, BlobStore
from infra.errors import CorruptLakeError, NotFoundError
from lake.append import AppendTable, RawFile
from lake.manifests import Manifest, SealedObject, load_manifest, manifest_numbers, sealed_customers
from lake.objects import digest, kept_path
from lake.parquet import read_metadata
from lake.scan import collect, scan
from schemas.lake_tables import LAKE_TABLES, RAW_TABLES, LakeTable, is_file_schema


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as the lake promises.

    Attributes:
        kind: chain, gap, double, schema, manifest, digest, layout or unreadable.
        path: The object or folder.
        text: What was expected and found.
    """

    kind: str
    path: str
    text: str


def verify(store: BlobStore) -> list[Finding]:
    """Look over all raw tables and all manifests.

    Raises:
        UnavailableError: The store does not answer.
        SettingError: The store refuses.
    """
    findings: list[Finding] = []
    for name in RAW_TABLES:
        findings += _raw_findings(store, name)
    for customer_id in sealed_customers(store):
        findings += _sealed_findings(store, customer_id)
    return findings


def _raw_findings(store: BlobStore, name: str) -> Iterator[Finding]:
    table = AppendTable(store, name)
    try:
        files = table.files()
    except CorruptLakeError as error:
        yield Finding("chain", name, str(error))
        return
    previous: RawFile | None = None
    end = 0
    for file in files:
        if previous is None or previous.partition != file.partition:
            previous, end = None, 0
        if file.first_offset < end:
            yield Finding(
                "chain", file.path, f"expected to begin at {end} or later, where the file before it ends"
            )
        if previous is not None and file.arrived_on < previous.arrived_on:
            yield Finding(
                "chain", file.path, f"expected to lie on {previous.arrived_on} or later as the file before it"
            )
        try:
            footer = table.footer(file)
            if previous is not None and footer.follows is not None and footer.follows > end:
                yield Finding(
                    "gap",
                    file.path,
                    f"expected the file before it to end at {footer.follows}, found {previous.path}, which ends at "
                    f"{end}: files between them are gone; restore them from a backup",
                )
            previous = file
            end = max(end, footer.next_offset)
            yield from _schema_findings(store, file.path, table.table)
            yield from _content_findings(store, file, footer.next_offset, table.table)
        except (CorruptLakeError, NotFoundError) as error:
            # Where it ends is not known, so nothing is said of what follows it.
            previous, end = None, 0
            yield Finding("unreadable", file.path, str(error))
    if name == "sales_error":
        yield from _repeated_errors(store, files)


def _schema_findings(store: BlobStore, path: str, table: LakeTable) -> Iterator[Finding]:
    with store.open(path) as file:
        found = pq.read_schema(file)
    if not is_file_schema(found, table):
        yield Finding(
            "schema", path, f"expected the columns of {table.name}: {table.file_schema}, found {found}"
        )


def _content_findings(
    store: BlobStore, file: RawFile, next_offset: int, table: LakeTable
) -> Iterator[Finding]:
    """What is wrong with the offsets of the rows. Chains that do not overlap then hold no row twice."""
    if table.name == "sales_error":
        return  # Its sources are other topics, not the one that the chain follows.
    places = collect(scan(store, [file.path], table).select("source_partition", "source_offset"), store)
    outside = places.filter(
        (pl.col("source_partition") != file.partition)
        | ~pl.col("source_offset").is_between(file.first_offset, next_offset - 1)
    )
    if len(outside):
        yield Finding(
            "chain",
            file.path,
            f"expected rows of partition {file.partition}, offsets {file.first_offset} to {next_offset - 1}, "
            f"found {len(outside)} others such as {outside.row(0)}",
        )
    if doubles := len(places) - places.n_unique():
        yield Finding("double", file.path, f"expected each source offset once, found {doubles} repeated")


def _repeated_errors(store: BlobStore, files: list[RawFile]) -> Iterator[Finding]:
    """Refused messages that lie in the lake twice; of master data the place in its delivery counts."""
    source = ["source_topic", "source_partition", "source_offset", "judged_at"]
    rows = scan(store, [file.path for file in files], LAKE_TABLES["sales_error"])
    for key, read in ((source, True), (["customer_id", "delivery_id", "position"], False)):
        wanted = rows.filter(pl.col("source_topic").is_not_null() == read)
        doubles = collect(wanted.group_by(key).len().filter(pl.col("len") > 1), store)
        if len(doubles):
            yield Finding(
                "double",
                "sales_error",
                f"expected each refused record once by {', '.join(key)}, found {len(doubles)} repeated, "
                f"such as {doubles.row(0)[:-1]}",
            )


def _sealed_findings(store: BlobStore, customer_id: str) -> Iterator[Finding]:
    try:
        numbers = manifest_numbers(store, customer_id)
    except CorruptLakeError as error:
        yield Finding("manifest", f"manifests/{customer_id}", str(error))
        return
    if numbers != list(range(1, len(numbers) + 1)):
        yield Finding(
            "manifest", f"manifests/{customer_id}", f"expected 1 to {len(numbers)}, found {numbers}"
        )
    looked_at: set[str] = set()
    last: Manifest | None = None
    for number in numbers:
        try:
            last = load_manifest(store, customer_id, number)
        except CorruptLakeError as error:
            yield Finding("manifest", f"manifests/{customer_id}", str(error))
            continue
        for item in last.objects if last else ():
            yield from _object_findings(store, item, looked_at)
    for item in last.objects if last else ():
        stat = store.stat(item.path)
        if stat != BlobStat(item.size_bytes, item.etag) and digest(store, item.path) != item.sha256:
            yield Finding(
                "layout",
                item.path,
                f"expected the content of manifest {numbers[-1]}, found another; seal again",
            )


def _object_findings(store: BlobStore, item: SealedObject, looked_at: set[str]) -> Iterator[Finding]:
    """Whether the content that a manifest names is there; each object is read once, however many name it."""
    kept = kept_path(item.path, item.sha256)
    if kept in looked_at:
        return
    looked_at.add(kept)
    found = digest(store, kept)
    if found != item.sha256:
        laid_out = digest(store, item.path) == item.sha256
        hint = f"it still lies at {item.path}: copy it" if laid_out else "restore it from a backup"
        yield Finding("digest", kept, f"expected sha256 {item.sha256}, found {found or 'no object'}; {hint}")
        return
    yield from _schema_findings(store, kept, LAKE_TABLES[item.table])
    rows = read_metadata(store, kept).num_rows
    if rows != item.rows:
        yield Finding("manifest", kept, f"expected {item.rows} rows as the manifest says, found {rows}")
