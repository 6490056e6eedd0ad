"""What the process that serves the flows does about the runs of one that was killed.

Guarantee: one process serves the flows of an installation, so a run that is under way when it starts has nobody any
more. Such a run is said to have crashed, which frees its place, and is begun again once.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Crashed

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

RUNS_MAX = 200
"""Runs asked for at once: Prefect's own limit of a page."""
UNDER_WAY = FlowRunFilterState(
    type=FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING, StateType.CANCELLING])
)
MESSAGE = "The process that served it ended without it; it is begun again"


def take_over(deployments: Sequence[str]) -> int:
    """Mark the runs that an earlier process left behind as crashed, and begin them again.

    Args:
        deployments: Names of the deployments that this process serves.

    Returns:
        Number of runs that were begun again.
    """
    named = DeploymentFilter(name=DeploymentFilterName(any_=list(deployments)))
    with get_client(sync_client=True) as client:
        left = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=UNDER_WAY),
            deployment_filter=named,
            sort=FlowRunSort.ID_DESC,
            limit=RUNS_MAX,
        )
        for run in left:
            _crash(client, run)
            if run.deployment_id is not None:
                client.create_flow_run_from_deployment(
                    run.deployment_id, parameters=run.parameters, idempotency_key=f"after-{run.id}"
                )
    return len(left)


def _crash(client: "SyncPrefectClient", run: "FlowRun") -> None:
    """Say that a run and those within it have crashed."""
    within = FlowRunFilterParentFlowRunId(any_=[run.id])
    parts = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=UNDER_WAY, parent_flow_run_id=within),
        sort=FlowRunSort.ID_DESC,
        limit=RUNS_MAX,
    )
    for left in (*parts, run):
        client.set_flow_run_state(left.id, Crashed(message=MESSAGE), force=True)
