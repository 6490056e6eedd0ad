"""The data dictionary: every table and column of the lake with description and unit, for people to read.

Guarantee: it is made from `schemas.lake_tables` alone, so it says what the files hold.
"""

import pyarrow as pa

from schemas.lake_tables import ARRIVED_ON, LAKE_TABLES, LakeTable

PATH = "data-dictionary.md"
_PREFACE = """# Data dictionary

What lies in the lake. Every column's description and unit also stand in the Arrow metadata of each file
(`pyarrow.parquet.read_schema`).

- A column marked *folder* is the name of a folder (`column=value`) and does not stand in the files. Readers guess its
  type unless they are told, and take a customer `007` for the number 7: `README.md` shows how each of them is told.
- Times are UTC. Days are local to the location unless they say otherwise.
- `sales_sealed`, `sales_daily` and the master data are as of the customer's last manifest,
  `manifests/CUSTOMER/NUMBER.json`. What an older manifest names lies under `objects/`, by its digest.
- `forecast_runs/CUSTOMER/current.json` names the run whose forecasts count.
"""


def markdown() -> str:
    """The dictionary as Markdown."""
    return _PREFACE + "".join(_section(table) for table in LAKE_TABLES.values())


def _section(table: LakeTable) -> str:
    fields = [*table.schema]
    if "arrived_on" in table.partitioning:
        fields.append(ARRIVED_ON)
    folders = "".join(f"{name}=…/" for name in table.partitioning)
    lines = [
        f"\n## {table.name}\n",
        f"{table.description}\n",
        f"Files: `{table.name}/{folders}*.parquet`, sorted by {', '.join(table.order)}.\n",
        "| column | type | unit | null | description |",
        "|---|---|---|---|---|",
        *(_row(field, folder=field.name in table.partitioning) for field in fields),
    ]
    return "\n".join(lines) + "\n"


def _row(field: "pa.Field[pa.DataType]", *, folder: bool) -> str:
    metadata = field.metadata or {}
    description, unit = (metadata[name].decode() for name in (b"description", b"unit"))
    kind = f"{field.type}, folder" if folder else str(field.type)
    return f"| `{field.name}` | {kind} | {unit} | {'yes' if field.nullable else 'no'} | {description} |"
