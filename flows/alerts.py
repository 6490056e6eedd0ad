"""An example of an automation that notifies: a POST to one address when a day went wrong.

Guarantee: applying it again changes it to what the settings say; without an address it is taken away.
"""

from prefect.automations import Automation
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events import EventTrigger, ResourceSpecification
from prefect.events.actions import CallWebhook

from flows.outcome import STATE_NAMES
from infra.settings import Settings

NAME = "headrace: a day went wrong"
BLOCK = "headrace-alerts"
STATES = ("Crashed", *(STATE_NAMES[verdict] for verdict in ("failed", "refused", "held")))
"""Names of the states of a run that somebody is told of."""
TEXT = '"Headrace, " ~ flow_run.name ~ ": " ~ flow_run.state.name ~ ": " ~ flow_run.state.message'
PAYLOAD = f'{{"text": {{{{ ({TEXT}) | tojson }}}}}}'
"""What is sent; chat programs show the text."""


def apply_alerts(settings: Settings) -> None:
    """Make the automation what the settings say."""
    with get_client(sync_client=True) as client:
        for found in client.read_automations_by_name(NAME):
            client.delete_automation(found.id)
    if not settings.alert_url.get_secret_value():
        return
    block_id = Webhook(url=settings.alert_url).save(BLOCK, overwrite=True)
    Automation(
        name=NAME,
        description="Made by the process that serves the flows, from HEADRACE_ALERT_URL.",
        trigger=EventTrigger(
            expect={f"prefect.flow-run.{state}" for state in STATES},
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ResourceSpecification(
                {"prefect.resource.role": "deployment", "prefect.resource.name": "daily"}
            ),
        ),
        actions=[CallWebhook(block_document_id=block_id, payload=PAYLOAD)],
    ).create()
