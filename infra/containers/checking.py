"""Checks of the container deployment by the programs that will read it: docker compose and promtool.

Both are built by Go on first use, in the cache folder of the user; neither needs a container engine.
"""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.containers.passwords import FOLDER, filled
from infra.errors import MissingPartError
from infra.servers.installing import installed, program, run
from infra.settings import load_settings

COMPOSE = "github.com/docker/compose/v5/cmd@v5.5.0"
PROMTOOL = "github.com/prometheus/prometheus/cmd/promtool@v0.316.0"
# Only the one way of finding services that prometheus.yaml uses: the others are most of the build.
PROMTOOL_TAGS = "remove_all_sd,enable_dns_sd"


def compose_program(cache: Path) -> Path:
    """Docker compose as a program of its own, built on first use (some minutes).

    Raises:
        MissingPartError: There is no Go, or it cannot build it.
    """

    def install(folder: Path) -> None:
        go, (package, _, _) = (
            program("go", "to build docker compose (https://go.dev/dl)"),
            COMPOSE.partition("@"),
        )
        with TemporaryDirectory() as module:
            # Its own go.mod excludes versions, so that it can be built as a dependency only.
            run([go, "-C", module, "mod", "init", "headrace.invalid/compose"])
            run([go, "-C", module, "get", COMPOSE])
            run([go, "-C", module, "build", "-o", str(folder / "docker-compose"), package])

    return installed(cache / f"compose-{COMPOSE.rpartition('@')[2]}", install) / "docker-compose"


def promtool_program(cache: Path) -> Path:
    """Prometheus' own checker, built on first use (some minutes).

    Raises:
        MissingPartError: There is no Go, or it cannot build it.
    """

    def install(folder: Path) -> None:
        go = program("go", "to build promtool (https://go.dev/dl)")
        run([go, "install", "-tags", PROMTOOL_TAGS, PROMTOOL], {**os.environ, "GOBIN": str(folder)})

    return installed(cache / f"promtool-{PROMTOOL.rpartition('@')[2]}", install) / "promtool"


def compose_command(compose: Path, env_file: Path) -> list[str]:
    """Docker compose on the deployment's file, with the passwords of `env_file`; a verb follows."""
    return [
        str(compose), "--file", str(FOLDER / "compose.yaml"), "--env-file", str(env_file), "--profile", "*",
    ]  # fmt: skip


def main() -> None:
    """Run every check; the first that fails ends it with what the program said."""
    cache = load_settings().cache
    try:
        compose, promtool = compose_program(cache), promtool_program(cache)
        with TemporaryDirectory() as folder:
            env_file = Path(folder) / "env"
            env_file.write_text(
                filled((FOLDER / ".env.example").read_text(encoding="utf-8")), encoding="utf-8"
            )
            run([*compose_command(compose, env_file), "config", "--quiet"])
        prometheus = FOLDER / "prometheus"
        run(
            [
                str(promtool),
                "check",
                "config",
                "--lint=all",
                "--lint-fatal",
                str(prometheus / "prometheus.yaml"),
            ]
        )
        run([str(promtool), "test", "rules", str(prometheus / "alerts.test.yaml")])
    except MissingPartError as error:
        sys.exit(str(error))
    print("compose file, Prometheus' settings and alerts are as their programs want them")


if __name__ == "__main__":
    main()
