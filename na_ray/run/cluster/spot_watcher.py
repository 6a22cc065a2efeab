"""Watch for AWS's announcement that it takes this spot machine back, and pass it on to Ray, which training asks
(`notice.py`).

    python -m na_ray.run.cluster.spot_watcher [--once]

`cluster.yaml` starts it on every worker. AWS gives two minutes; the machine's metadata service shows the notice (404
until then). `AWS_EC2_METADATA_SERVICE_ENDPOINT` names another service, as in AWS's own tools.
"""

import datetime
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

import ray

# Seconds between two looks, as AWS advises, and the longest wait for an answer.
PERIOD = 5.0
TIMEOUT = 2.0


def endpoint() -> str:
    """The machine's metadata service."""
    return os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254").rstrip("/")


def _ask(method: str, path: str, headers: dict[str, str]) -> str:
    request = urllib.request.Request(f"{endpoint()}/latest/{path}", headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        return answer.read().decode()


def notice() -> datetime.datetime | None:
    """When AWS takes this machine (UTC), if it has said so. Raises OSError where there is no metadata service."""
    token = _ask("PUT", "api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    try:
        action = json.loads(_ask("GET", "meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token}))
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise
    return datetime.datetime.fromisoformat(action["time"].replace("Z", "+00:00"))


def drain(deadline: datetime.datetime) -> None:
    """Mark this node in Ray as taken at `deadline`: no new work comes to it, and training saves."""
    ray.init(address="auto", logging_level="error", log_to_driver=False)
    context = ray.get_runtime_context()
    address, node = context.gcs_address, context.get_node_id()
    ray.shutdown()  # a node that drains and has nothing to do ends at once, and its drivers with it
    left = (deadline - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    subprocess.run(
        [
            *(sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", address),
            *("--node-id", node, "--reason", "DRAIN_NODE_REASON_PREEMPTION"),
            *("--reason-message", f"AWS takes this spot machine at {deadline:%H:%M:%S} UTC"),
            *("--deadline-remaining-seconds", str(max(0, int(left)))),
        ],
        check=True,
    )


def main() -> int:
    """Ask until the machine's end is announced; `--once`: ask once. Exit code 1 where there is no metadata service."""
    while True:
        try:
            deadline = notice()
        except OSError as error:
            print(
                f"{endpoint()} does not answer ({error}): the end of a spot machine cannot be known in advance",
                flush=True,
            )
            if "--once" in sys.argv:
                return 1
            deadline = None
        if deadline is not None:
            print(f"AWS takes this machine at {deadline}", flush=True)
            drain(deadline)
            return 0
        if "--once" in sys.argv:
            return 0
        time.sleep(PERIOD)


if __name__ == "__main__":
    sys.exit(main())
