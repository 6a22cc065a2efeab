"""Which Ray cluster to join: the one that is named, by RAY_ADDRESS (`--ray-address`) or by `ray start` on this machine.

Ray's own `auto` also joins what another program started for itself on the machine, and dies with it. An address where
nobody answers is told in one line: Ray itself would try for more than nine minutes.
"""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import ray
from ray._common.utils import get_ray_address_file
from ray._private.gcs_utils import create_gcs_channel
from ray.core.generated.gcs_service_pb2 import CheckAliveRequest
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

from na_ray.config.values import UserError

VARIABLE = "RAY_ADDRESS"

# Seconds for a head that is being started again, and between two questions.
PATIENCE = 10.0
PERIOD = 0.5

ALONE = "RAY_ADDRESS=local trains on this machine alone"


@dataclass(frozen=True)
class ClusterAddress:
    """A cluster's HOST:PORT, and who named it."""

    address: str
    source: str


def named_cluster() -> ClusterAddress | None:
    """The cluster that is to be joined; None: a private one is to be started here.

    Raises UserError, one line, for an address that is none of a cluster's head.
    """
    named = os.environ.get(VARIABLE, "").strip()
    if named == "local":
        return None
    if named in ("", "auto"):
        found = _started_here()
        if found is None and named:
            raise UserError(
                f"{VARIABLE} is auto, and no `ray start` runs on this machine: start it, or unset {VARIABLE}"
            )
        return found
    if named.startswith(("http://", "https://")):
        raise UserError(
            f"{VARIABLE} is {_without_password(named)}, which is for `ray job`: a training joins HOST:PORT, as "
            f"`ray start --head` prints it (6379 by default); {ALONE}"
        )
    if "://" in named:
        raise UserError(
            f"{VARIABLE} is {_without_password(named)}: a training is no client from afar; start it on the cluster, by "
            f"`ray job submit` or `ray submit`; {ALONE}"
        )
    if not re.fullmatch(r"\S+:[0-9]{1,5}", named):
        raise UserError(f"{VARIABLE} is {named!r}: expected HOST:PORT, or local; {ALONE}")
    return ClusterAddress(named, VARIABLE)


def _started_here() -> ClusterAddress | None:
    """What the last `ray start` on this machine left. A program's own Ray leaves nothing there."""
    path = Path(get_ray_address_file(None))
    return ClusterAddress(path.read_text().strip(), f"`ray start`, in {path}") if path.is_file() else None


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)


def check_cluster(cluster: ClusterAddress) -> None:
    """Ask a cluster's head whether it is there. Raises UserError, one line, within 15 seconds, where it is not."""
    until = time.monotonic() + PATIENCE
    while True:
        wrong, final = _ask(cluster.address)
        if wrong is None:
            return
        if final or time.monotonic() > until:
            break
        time.sleep(PERIOD)
    remedy = f"start it, or unset {VARIABLE}" if cluster.source == VARIABLE else "start it again, or remove that file"
    raise UserError(
        f"no Ray cluster answers at {cluster.address} ({wrong}), which {cluster.source} names: {remedy}; {ALONE}"
    )


def _ask(address: str) -> tuple[str | None, bool]:
    """What is wrong with a cluster's head, None: nothing, and whether waiting does not mend it."""
    with create_gcs_channel(address) as channel:
        try:
            reply = NodeInfoGcsServiceStub(channel).CheckAlive(CheckAliveRequest(), timeout=PATIENCE / 2)
        except grpc.RpcError as error:
            return _told(error)
    if reply.ray_version and reply.ray_version != ray.__version__:
        return f"it runs Ray {reply.ray_version}, and this program {ray.__version__}", True
    return None, False


def _told(error: grpc.RpcError) -> tuple[str | None, bool]:
    code, detail = error.code(), (error.details() or "").strip()
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return None, False  # a cluster that wants a token: Ray says so, and where it looks for it
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return "something else is there", True
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return "no answer in time", False
    return detail.rsplit(": ", 1)[-1][:120] or code.name, False
