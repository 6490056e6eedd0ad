"""The command: every look in its turn, and what is to be done."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import typer
from rich.markup import escape

from cli.doctor import machine, schedules, servers
from cli.doctor.finding import Finding, guarded
from cli.stack import Stack
from cli.tables import terminal, titled
from infra.blobs import open_store
from infra.errors import SettingError
from infra.settings import Settings, load_settings


def doctor() -> None:
    """Look over ports, servers, lake, clock, disk, versions and schedule; say what is wrong and what to do."""
    console = terminal()
    try:
        settings = load_settings()
    except SettingError as error:
        findings = [Finding("settings", str(error), "docs/settings.md lists them")]
    else:
        with console.status("looking"):
            findings = list(looked_over(settings))
    table = titled("", "", "what", "found", "what to do")
    for finding in findings:
        sign = "[green]✓[/]" if finding.good else "[red]✗[/]"
        table.add_row(sign, finding.what, escape(finding.found), escape(finding.remedy))
    console.print(table)
    if troubles := sum(not finding.good for finding in findings):
        console.print(f"{troubles} to be mended", highlight=False)
        raise typer.Exit(1)
    console.print("nothing is wrong")


def looked_over(settings: Settings) -> Iterator[Finding]:
    """All findings, the nearest causes first."""
    stack = Stack(settings)
    runs = stack.runs
    yield from machine.versions()
    yield from machine.secrets(Path(".env"))
    yield from machine.disk(machine.folders_of(settings))
    yield from machine.ports(stack.parts, runs=runs)
    yield from schedules.schedule(settings.flow, dt.datetime.now(dt.UTC))
    yield from guarded("lake", lambda: servers.lake(open_store(settings)))
    if not runs and not settings.broker:
        yield Finding(
            "parts", "nothing runs here, so servers are not looked at; `headrace up` starts everything"
        )
        return
    if runs:
        yield from guarded("parts", lambda: servers.parts(stack.views()))
    brokers = list(guarded("broker", lambda: servers.broker(settings)))
    yield from brokers
    if all(finding.good for finding in brokers):
        yield from guarded("topics", lambda: servers.topics(settings))
    yield from schedules.deployment(settings)
    yield from servers.clocks(servers.clock_urls(settings))
