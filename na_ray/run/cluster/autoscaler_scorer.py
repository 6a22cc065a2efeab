"""Which machines Ray's autoscaler starts: at the spot price first, at the full price where the cloud refuses.

`cluster.yaml` names `score` in RAY_AUTOSCALER_UTILIZATION_SCORER, and the autoscaler calls it for every type of node
that could be added. Ray's own choice knows which types were refused in the last half hour
(AUTOSCALER_NODE_AVAILABILITY_MAX_STALENESS_S), and makes no use of it: it would ask for spot nodes for ever. Its second
generation takes only nodes into account that were granted and never came up, so the first one runs.
"""

from typing import Any

from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
from ray.autoscaler._private.resource_demand_scheduler import _resource_based_utilization_scorer

SPOT = "spot"
"""How the names of node types at the spot price begin."""


def score(
    node_resources: dict[str, int | float],
    resources: list[dict[str, int | float]],
    node_type: str,
    *,
    node_availability_summary: NodeAvailabilitySummary,
) -> tuple[Any, ...] | None:
    """How well a node of a type would serve the demands; the largest wins, None: not at all.

    Ray's own measure, with the launches that failed lately right behind its first rule (no GPU node for work without
    GPUs), and spot before on demand among equals.
    """
    fit = _resource_based_utilization_scorer(
        node_resources, resources, node_availability_summary=node_availability_summary
    )
    if fit is None:
        return None
    record = node_availability_summary.node_availabilities.get(node_type)
    refused = record is not None and not record.is_available
    return fit[0], not refused, *fit[1:], node_type.startswith(SPOT)
