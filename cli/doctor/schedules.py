"""What can be wrong with the daily flow's schedule, so that no forecast would ever be made, and nobody told."""

import datetime as dt
import os
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
from cronsim import CronSim, CronSimError

from cli.doctor.finding import Finding
from infra.settings import FlowSettings, Settings

TIMEOUT_S = 5.0


def schedule(flow: FlowSettings, now: dt.datetime) -> Iterator[Finding]:
    """Whether the schedule that is set fires before a forecast has run out.

    Args:
        flow: The settings.
        now: The time, UTC.
    """
    try:
        zone = ZoneInfo(flow.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        yield Finding(
            "schedule",
            f"{flow.time_zone!r} is no time zone",
            "set HEADRACE_FLOW__TIME_ZONE to an IANA name such as Europe/Oslo",
        )
        return
    remedy = "set HEADRACE_FLOW__CRON to five fields such as '30 4 * * *'"
    try:
        first = next(CronSim(flow.cron, now.astimezone(zone)), None)
    except CronSimError as error:
        yield Finding("schedule", f"{flow.cron!r} is no schedule: {error}", remedy)
        return
    late = first is None or first - now > dt.timedelta(days=flow.horizon_days)
    found = f"{flow.cron!r} runs next at {first:%Y-%m-%d %H:%M %Z}" if first else f"{flow.cron!r} never runs"
    after = f", when a forecast of {flow.horizon_days} days has run out" if late else ""
    yield Finding("schedule", found + after, remedy if late else "")


def deployment(settings: Settings) -> Iterator[Finding]:
    """Whether the Prefect server would start the daily flow, and has a process to run it."""
    user, _, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    try:
        answer = httpx.post(
            f"{settings.prefect.rstrip('/')}/api/deployments/filter",
            json={"deployments": {"name": {"any_": ["daily"]}}},
            auth=(user, password) if user else None,
            timeout=TIMEOUT_S,
        )
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        yield Finding(
            "prefect",
            f"{settings.prefect} does not answer: {error}",
            "`headrace up` starts it, or set HEADRACE_PREFECT_URL",
        )
        return
    if not found:
        yield Finding(
            "schedule", "the Prefect server knows no deployment `daily`", "start flows: `headrace job flows`"
        )
        return
    yield from _of_deployment(found[0], settings)


def _of_deployment(daily: dict[str, Any], settings: Settings) -> Iterator[Finding]:
    page = f"{settings.prefect}/deployments"
    active = [entry["schedule"] for entry in daily.get("schedules", []) if entry.get("active")]
    if daily.get("paused"):
        yield Finding("schedule", "the deployment `daily` is paused", f"switch it on at {page}")
    elif not active:
        yield Finding(
            "schedule", "the deployment `daily` has no schedule that is on", f"switch one on at {page}"
        )
    elif settings.flow.cron not in [entry.get("cron") for entry in active]:
        crons = ", ".join(repr(entry.get("cron")) for entry in active)
        yield Finding(
            "schedule",
            f"Prefect runs by {crons}, HEADRACE_FLOW__CRON is {settings.flow.cron!r}",
            "start flows again",
        )
    if daily.get("status") == "NOT_READY":
        yield Finding(
            "schedule", "no process serves the deployment `daily`", "start flows: `headrace job flows`"
        )
    yield Finding("prefect", f"{settings.prefect} answers")
