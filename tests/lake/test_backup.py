"""The copy that docs/backup.md describes, made while the lake is written, is a lake."""

import datetime as dt
import os
import re
import subprocess
from pathlib import Path

from docs.reference import ROOT
from infra.blobs import DirectoryStore
from lake.append import AppendTable
from lake.forecasts import current, publish
from lake.read import Lake
from lake.seal import seal
from lake.verify import verify
from tests.lake.frames import NOON, append, sale
from tests.lake.test_forecasts import RUN, frame

(PAGE_BLOCK,) = re.findall(r"```bash\n(mkdir.*?)```", (ROOT / "docs" / "backup.md").read_text(), re.DOTALL)
FIRST, SECOND = PAGE_BLOCK.split("done\n")


def run(commands: str, lake: Path, backup: Path) -> None:
    environment = {**os.environ, "LAKE": str(lake), "BACKUP": str(backup)}
    subprocess.run(["bash", "-euo", "pipefail", "-c", commands], env=environment, check=True)


def write(store: DirectoryStore, number: int) -> None:
    at = NOON + dt.timedelta(days=number)
    append(AppendTable(store, "sales_joined"), 0, [sale(sale_id=f"{number}", quantity=number + 1.0)], at)
    seal(store, "acme", NOON)


def test_a_copy_made_while_days_are_sealed_again_and_a_run_is_published_is_whole(tmp_path: Path) -> None:
    lake, backup = tmp_path / "lake", tmp_path / "backup"
    store = DirectoryStore(lake)
    write(store, 0)
    publish(store, RUN, frame(RUN))
    run(f"{FIRST}done", lake, backup)
    write(store, 1)
    run(f'cd "$LAKE"\n{SECOND}', lake, backup)
    restored = DirectoryStore(backup)
    assert {finding.kind for finding in verify(restored)} <= {"layout"}
    assert Lake(restored).manifests("acme") == [1]
    assert Lake(restored).sales("acme").polars()["sale_id"].to_list() == ["0"]
    assert current(restored, "acme") == RUN
    # The seal after the restore takes what had arrived, and mends the folders.
    assert seal(restored, "acme", NOON) is not None
    assert verify(restored) == []
    assert sorted(Lake(restored).sales("acme").polars()["sale_id"]) == ["0", "1"]
    write(restored, 2)
    assert verify(restored) == []
