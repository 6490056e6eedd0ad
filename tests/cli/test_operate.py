"""What an operator sees of an installation whose jobs do not run under this command line."""

from pathlib import Path

from tests.cli.commands import headrace
from tests.schemas.running import running_registry


def test_status_shows_lag_and_deliveries_where_the_jobs_run_elsewhere(broker: str, tmp_path: Path) -> None:
    with running_registry(broker, tmp_path / "home") as settings:
        found = headrace(settings, "status")
    assert found.returncode == 0, found.stdout
    assert f"no part runs under {tmp_path / 'home'}" in found.stdout
    assert "Lag" in found.stdout
    assert "Deliveries" in found.stdout
