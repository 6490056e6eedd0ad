"""The commands of docs/operate.md, run as they stand there."""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from cli.demo import await_lake
from cli.own_token import own_headers
from cli.tables import terminal
from infra.settings import Settings, settings_environment
from tests.cli.commands import headrace
from tests.cli.pages import blocks, named, run_block

PAGE = (Path(__file__).parents[2] / "docs" / "operate.md").read_text(encoding="utf-8")
BLOCKS = blocks("operate.md")
SEEN = {
    "headrace shadow diff": "too_many",
    "headrace replay": "refused sales were judged again",
    "headrace lake verify": "is as it promises",
    "headrace doctor": "nothing is wrong",
    "headrace lake expire": "kept though old",
    '--as-of "delivery': "Milk",
    "sales-refused.csv": "done",
}
"""What commands of the page print, among other things."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Where an operator sits.

    Attributes:
        folder: A folder with the rules of the page.
        environment: Settings of the stack, and the delivery that the page speaks of.
    """

    folder: Path
    environment: Mapping[str, str]


@pytest.fixture(scope="module")
def desk(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A customer has delivered what the page speaks of."""
    folder = tmp_path_factory.mktemp("operator")
    (rules,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (folder / "my_rules.py").write_text(rules)
    (folder / "locations.csv").write_text("location_id\nL1\n")
    (folder / "products.csv").write_text("product_id,name\nP1,Milk\n")
    (folder / "sales.csv").write_text(
        "sale_id,location_id,product_id,sold_at,quantity,unit_price\n"
        "s1,L1,P1,2026-11-02T10:00:00Z,2.0,1.5\ns2,L1,P1,2026-11-02T10:00:00Z,-1.0,1.5\n"
        "s3,L9,P1,2026-11-02T10:00:00Z,1.0,1.5\ns4,L1,P1,2026-11-02T10:00:00Z,500,1.5\n"
    )
    names = [str(folder / name) for name in ("locations.csv", "products.csv", "sales.csv")]
    delivered = headrace(stack, "deliver", "--customer", "acme", *names, "--wait", "90")
    assert delivered.returncode == 0, delivered.stdout
    await_lake(stack, terminal())
    url = f"http://127.0.0.1:{stack.ports.http}/v1/deliveries"
    newest = httpx.get(url, params={"customer_id": "acme"}, headers=own_headers(stack)).json()["deliveries"][
        0
    ]
    assert (newest["valid"], newest["invalid"]) == (2, 2)
    own = {
        "DELIVERY": str(newest["delivery_id"]),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    return Desk(folder, {**os.environ, **settings_environment(stack), **own})


@pytest.mark.parametrize(("section", "block"), BLOCKS, ids=named(BLOCKS))
def test_the_commands_of_the_page_run(desk: Desk, section: str, block: str) -> None:
    done = run_block(block, desk.folder, desk.environment)
    assert done.returncode == 0, f"{section}: {done.stdout}\n{done.stderr}"
    for command, words in SEEN.items():
        if command in block:
            assert words in done.stdout
