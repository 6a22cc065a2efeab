"""What KubeRay's autoscaler may add, asked of Kubernetes from within the head's pod."""

import json
import os
import ssl
import urllib.request
from pathlib import Path
from typing import Any

from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes gives a pod its namespace, and what it needs to ask."""
TIMEOUT = 10.0
"""Seconds that Kubernetes may take to answer."""


def promised() -> dict[str, Any] | None:
    """The cluster's configuration in the autoscaler's own form, its types of nodes and their limits.

    None outside of KubeRay, where the cluster has no autoscaler, and where the pod may not ask: KubeRay allows it to
    those that have one.
    """
    name, host = os.environ.get("RAY_CLUSTER_NAME"), os.environ.get("KUBERNETES_SERVICE_HOST")
    if not name or not host or not (ACCOUNT / "namespace").is_file():
        return None
    port = os.environ.get("KUBERNETES_SERVICE_PORT_HTTPS", "443")
    namespace = (ACCOUNT / "namespace").read_text().strip()
    place = f"https://{host}:{port}/apis/ray.io/v1/namespaces/{namespace}/rayclusters/{name}"
    token = (ACCOUNT / "token").read_text().strip()
    request = urllib.request.Request(place, headers={"Authorization": f"Bearer {token}"})
    trusted = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT, context=trusted) as answer:
            cluster = json.load(answer)
    except (OSError, ValueError):
        return None
    if not cluster["spec"].get("enableInTreeAutoscaling"):
        return None
    return _derive_autoscaling_config_from_ray_cr(cluster)
