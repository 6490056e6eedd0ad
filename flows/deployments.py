"""What the Prefect server is told of the flows: names, schedule, limits and the words beside them.

Guarantee: applying the deployments again changes nothing but what the settings say otherwise. No deployment
is run twice at once; should that ever happen, one run writes an object and the other finds it there.
"""

from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger, ResourceSpecification
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

from flows.daily import CUSTOMER_LABEL, DAY_SEALED, daily, publish, seal, train
from infra.settings import Settings

ONE_AT_A_TIME = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)
"""A second run of the same deployment waits for the first: a fit takes most of the machine's memory."""


WHOLE_DAY = DeploymentEventTrigger(
    name="a day is whole",
    expect={DAY_SEALED},
    match=ResourceSpecification({"prefect.resource.id": "headrace.customer.*"}),
    parameters={
        "customer_id": {
            "__prefect_kind": "jinja",
            "template": f"{{{{ event.resource['{CUSTOMER_LABEL}'] }}}}",
        }
    },
)
"""Starts the daily flow for the customer of the event. An event may be lost: the schedule is the net under it."""


def deployments(settings: Settings) -> list[RunnerDeployment]:
    """The deployments of all flows, each named like its flow; `daily` and `seal` have the schedules of the settings."""
    zone = settings.flow.time_zone
    schedules = {
        "daily": [Cron(settings.flow.cron, timezone=zone)],
        "seal": [Cron(settings.flow.seal_cron, timezone=zone)],
    }
    return [
        # The flows are found by their module, so that a run needs no path to the code.
        RunnerDeployment.from_flow(
            flow,
            name=flow.name,
            description=flow.description,
            tags=["headrace"],
            concurrency_limit=ONE_AT_A_TIME,
            schedules=schedules.get(flow.name, []),
            triggers=[WHOLE_DAY] if flow is daily else [],
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        for flow in (daily, seal, train, publish)
    ]
