"""The files that describe clusters: what Ray's own schema takes, and what a cluster of ours promises."""

import contextlib
import json
import os
import re
import shlex
import ssl
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.node_provider_availability_tracker import NodeProviderAvailabilityTracker
from ray.autoscaler._private.resource_demand_scheduler import get_nodes_for
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.node_launch_exception import NodeLaunchException

from na_ray.config import Experiment, override
from na_ray.run.cluster import kuberay, resources
from na_ray.run.cluster.autoscaler_scorer import score
from na_ray.version import __version__

ROOT = Path(__file__).parents[1]
CLOUD, ONPREM = ROOT / "cluster.yaml", ROOT / "clusters" / "onprem.yaml"
RAYJOB, DOCKERFILE = ROOT / "clusters" / "rayjob.yaml", ROOT / "clusters" / "Dockerfile"
CLUSTERS = pytest.mark.parametrize("path", [CLOUD, ONPREM], ids=["cloud", "onprem"])


def cluster(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def rayjob() -> dict[str, Any]:
    claim, job = yaml.safe_load_all(RAYJOB.read_text())
    assert (claim["apiVersion"], claim["kind"]) == ("v1", "PersistentVolumeClaim")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    job["spec"]["claim"] = claim["metadata"]["name"]
    return job["spec"]


@CLUSTERS
def test_ray_takes_the_file(path: Path) -> None:
    prepared = prepare_config(cluster(path))
    validate_config(prepared)
    broken = prepared | {"idle_timeout": 5}
    with pytest.raises(Exception, match="idle_timeout"):
        validate_config(broken)


@CLUSTERS
def test_every_node_installs_this_folder_with_the_pins(path: Path) -> None:
    config = cluster(path)
    own = {remote: local for remote, local in config["file_mounts"].items() if not local.startswith("~")}
    for remote, local in own.items():
        assert (ROOT / local).exists(), local
        assert remote == f"~/na_ray/{local}"
    # `pip install` reads all of these; run `ray up` elsewhere than in the repository's folder, and it says so.
    assert {"na_ray", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"} <= set(
        config["file_mounts"].values()
    )
    prepared = prepare_config(config)
    for node in ("head_setup_commands", "worker_setup_commands"):
        installs = [c for c in prepared[node] if "pip install" in c]
        assert any("-e ~/na_ray " in c for c in installs)
        assert all("-c ~/na_ray/constraints.txt" in c for c in installs)
        assert any("profile.sh" in c for c in prepared[node])


@CLUSTERS
def test_every_node_asks_for_the_one_token_and_has_it(path: Path) -> None:
    """Ray turns authentication on by itself where it finds a token, on a head that ran `make demo`, but not on workers:
    so all of it is said, to each node."""
    config = cluster(path)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token", "in place of what a node had"
    prepared = prepare_config(config)
    for node in ("head", "worker"):
        assert prepared[f"{node}_setup_commands"][0] == "chmod 700 ~/.ray && chmod 600 ~/.ray/auth_token"
        (start,) = (c for c in prepared[f"{node}_start_ray_commands"] if "ray start" in c)
        before, _, _ = start.partition("ray start")
        script = f"unset RAY_AUTH_MODE; ulimit() {{ :; }}; {before} printenv RAY_AUTH_MODE"
        asked = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        assert asked.stdout == "token\n"
    login = ["bash", "-c", f"unset RAY_AUTH_MODE; . {ROOT}/clusters/profile.sh / && printenv RAY_AUTH_MODE"]
    assert subprocess.run(login, capture_output=True, text=True, check=True).stdout == "token\n"
    assert "ray get-auth-token --generate" in path.read_text(), "how the token is made"


@CLUSTERS
def test_commands_are_shell_and_name_what_exists(path: Path) -> None:
    prepared = prepare_config(cluster(path))
    for key in (k for k in prepared if k.endswith("_commands")):
        for command in prepared[key]:
            checked = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
            assert checked.returncode == 0, f"{command}: {checked.stderr}"
            for word in re.findall(r"~/na_ray/[\w./]+", command):
                assert (ROOT / word.removeprefix("~/na_ray/")).exists(), word


@pytest.mark.parametrize("script", ["mlflow.sh", "profile.sh"])
def test_scripts_are_shell(script: str) -> None:
    subprocess.run(["bash", "-n", str(ROOT / "clusters" / script)], check=True)


SHADOWED = """
import importlib.util, sys
from importlib.machinery import PathFinder
from pathlib import Path
class Editable:  # as `pip install -e` of setuptools finds a package: asked behind the path
    def find_spec(name, path=None, target=None):
        place = Path({root!r}, *name.split("."))
        if name.split(".")[0] == "na_ray":
            file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
            return importlib.util.spec_from_file_location(name, file)
sys.meta_path.insert(sys.meta_path.index(PathFinder) + 1, Editable)
import na_ray
from na_ray.export.glb import __version__
from na_ray.run.tracking.packaging import CODE
print(na_ray.__file__, __version__, CODE)
"""


def test_a_script_beside_the_project_s_folder_finds_the_package(tmp_path: Path) -> None:
    """`ray submit` copies it into the home folder, where ~/na_ray lies."""
    (tmp_path / "na_ray").mkdir()
    (tmp_path / "script.py").write_text(SHADOWED.format(root=str(ROOT)))
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=own, capture_output=True, text=True)
    assert done.stdout.split() == ["None", __version__, str(ROOT / "na_ray")], done.stderr
    login = f"HOME={tmp_path}; unset PYTHONPATH; . {ROOT}/clusters/profile.sh / && printenv PYTHONPATH"
    told = subprocess.run(["bash", "-c", login], capture_output=True, text=True)
    assert told.stdout.strip() == f"{tmp_path}/na_ray"


@CLUSTERS
def test_servers_listen_on_the_head_s_loopback(path: Path) -> None:
    starts = [c for c in prepare_config(cluster(path))["head_start_ray_commands"] if "ray start" in c]
    assert len(starts) == 1 and "--dashboard-host=127.0.0.1" in starts[0] and "--dashboard-port=8265" in starts[0]
    server = (ROOT / "clusters" / "mlflow.sh").read_text()
    assert "--host 127.0.0.1" in server and "sqlite:///$store" in server and "--artifacts-destination" in server
    assert "MLFLOW_TRACKING_URI=http://127.0.0.1:5000" in (ROOT / "clusters" / "profile.sh").read_text()


@pytest.mark.parametrize("path", [CLOUD, ONPREM, RAYJOB, DOCKERFILE], ids=lambda p: p.name)
def test_no_file_holds_a_secret(path: Path) -> None:
    text = path.read_text()
    secrets = r"AKIA[0-9A-Z]{16}|-----BEGIN|aws_(secret|credentials|access)|secretKey|(password|token)\s*[:=]"
    secrets += r"(?! ~/\.ray/auth_token)"  # a file of the user's
    assert not re.search(secrets, text, re.IGNORECASE)
    # Five lines are to be changed, and marked; a sixth would be a surprise.
    if path.suffix == ".yaml":
        assert sorted(re.findall(r"# \((\d)\)", text)) == list("12345")


def test_the_cloud_head_has_no_gpu_and_workers_come_when_needed() -> None:
    config = cluster(CLOUD)
    types = config["available_node_types"]
    head = types.pop(config["head_node_type"])
    assert head["resources"]["GPU"] == 0 and "InstanceMarketOptions" not in head["node_config"]
    assert config["idle_timeout_minutes"] > 0 and config["provider"]["cache_stopped_nodes"] is False
    assert all(t["min_workers"] == 0 and t["max_workers"] == config["max_workers"] for t in types.values())
    assert all(t["resources"] == {"CPU": 16, "GPU": 1} for t in types.values())
    spot, full = types["spot_gpu"]["node_config"], types["on_demand_gpu"]["node_config"]
    assert spot.pop("InstanceMarketOptions") == {"MarketType": "spot"}
    assert spot == full


def to_add(demands: list[dict[str, float]], tracker: NodeProviderAvailabilityTracker) -> dict[str, int]:
    """What Ray's autoscaler would start on an empty cluster.yaml, by the rule that the file names."""
    config = prepare_config(cluster(CLOUD))
    command = next(c for c in config["head_start_ray_commands"] if "ray start" in c)
    assert f"RAY_AUTOSCALER_UTILIZATION_SCORER={score.__module__}.{score.__name__};" in command
    assert "RAY_enable_autoscaler_v2=0" in command, "the second generation takes no scorer"
    summary = tracker.summary()
    added, _ = get_nodes_for(
        config["available_node_types"],
        defaultdict(int, {config["head_node_type"]: 1}),
        config["head_node_type"],
        config["max_workers"],
        demands,
        lambda *args: score(*args, node_availability_summary=summary),
    )
    return dict(added)


def test_spot_comes_first_and_on_demand_when_it_is_refused() -> None:
    tracker, demand = NodeProviderAvailabilityTracker(), [{"CPU": 1.0, "GPU": 1.0}] * 3
    assert to_add(demand, tracker) == {"spot_gpu": 3}
    fits = [
        score({"CPU": 16, "GPU": 1}, demand, name, node_availability_summary=tracker.summary())
        for name in ("spot_gpu", "on_demand_gpu")
    ]
    assert fits[0] > fits[1], "by rule, not by the order of the names"
    refusal = NodeLaunchException("InsufficientInstanceCapacity", "no capacity", None)
    tracker.update_node_availability("spot_gpu", int(time.time()), refusal)
    assert to_add(demand, tracker) == {"on_demand_gpu": 3}
    tracker.update_node_availability("on_demand_gpu", int(time.time()), refusal)
    assert to_add(demand, tracker) == {"spot_gpu": 3}, "both refused: the cheaper one is tried again"
    tracker.update_node_availability("spot_gpu", int(time.time()), None)
    assert to_add(demand, tracker) == {"spot_gpu": 3}


@pytest.mark.parametrize(
    ("knobs", "gpus", "expected"),
    [
        ({"train.num_workers": 2}, 1, 1),  # the demo's, on a machine with one GPU
        ({"train.num_workers": 8}, 7, 4),
        ({"train.num_workers": 8}, 8, 8),
        ({"train.num_workers": 8}, 0, 8),
        ({"train.num_workers": 0}, 4, 0),
        ({"train.num_workers": 8, "train.device": "cuda"}, 7, 8),
        ({"train.num_workers": 8, "train.min_workers": 2}, 7, 8),
    ],
)
def test_workers_are_no_more_than_the_gpus_where_nobody_insists(
    knobs: dict[str, object], gpus: int, expected: int
) -> None:
    train = override(Experiment(), knobs).train
    assert resources.num_workers(train, {"CPU": 99.0, "GPU": float(gpus)}) == expected


def test_an_autoscaling_head_counts_what_it_may_start(tmp_path: Path, ray_cluster: None) -> None:
    present = resources.reachable(tmp_path)
    assert present["CPU"] == 4 and "GPU" not in present
    (tmp_path / resources.BOOTSTRAP).write_text(json.dumps(prepare_config(cluster(CLOUD))))
    # Eight workers of both types together, and the head's four CPUs.
    assert {k: resources.reachable(tmp_path)[k] for k in ("CPU", "GPU")} == {"CPU": 8 * 16 + 4, "GPU": 8}
    (tmp_path / resources.BOOTSTRAP).write_text(json.dumps(prepare_config(cluster(ONPREM))))
    assert resources.reachable(tmp_path) == present, "machines of one's own are counted when they are there"


def test_the_rayjob_is_one_cluster_for_one_training() -> None:
    spec = rayjob()
    assert spec["shutdownAfterJobFinishes"] is True and spec["backoffLimit"] >= 1
    words = shlex.split(spec["entrypoint"])
    assert words == spec["entrypoint"].split(), "no argument needs quotes"
    assert words[0] == "python" and (ROOT / words[1].removeprefix("/home/ray/na_ray/")).exists()
    options = dict(zip(words[3::2], words[4::2], strict=True))
    assert options["--resume"] == "auto" and options["--train.device"] == "cuda"
    worker = spec["rayClusterSpec"]["workerGroupSpecs"][0]
    assert int(options["--train.num-workers"]) == worker["replicas"] == worker["minReplicas"] == worker["maxReplicas"]
    assert options["--storage"].startswith("/shared/") and options["--capture"].startswith("/shared/")


def test_the_rayjob_s_pods_share_storage_and_only_workers_have_gpus() -> None:
    spec = rayjob()
    ray_cluster = spec["rayClusterSpec"]
    head = ray_cluster["headGroupSpec"]["template"]["spec"]
    worker = ray_cluster["workerGroupSpecs"][0]["template"]["spec"]
    for pod in (head, worker):
        claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v]
        assert claims == [spec["claim"]]
        for container in pod["containers"]:
            assert {"name": "shared", "mountPath": "/shared"} in container["volumeMounts"]
            assert container["resources"]["requests"] == container["resources"]["limits"]
            assert container["image"] == head["containers"][0]["image"]
    assert worker["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert ray_cluster["workerGroupSpecs"][0]["rayStartParams"]["num-gpus"] == "1"
    assert not any("nvidia.com/gpu" in c["resources"]["limits"] for c in head["containers"])
    assert ray_cluster["headGroupSpec"]["rayStartParams"]["num-gpus"] == "0"
    server = next(c for c in head["containers"] if c["name"] == "mlflow")["args"][0]
    assert "--host 127.0.0.1" in server and "sqlite:////shared/" in server


def test_the_rayjob_s_pods_have_a_token_room_for_objects_and_ports_that_can_be_reached() -> None:
    spec, text = rayjob()["rayClusterSpec"], RAYJOB.read_text()
    assert spec["authOptions"] == {"mode": "token"} and "(1.5.1 or newer)" in text
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for pod in (group["template"]["spec"] for group in groups):
        (shared,) = (v["emptyDir"] for v in pod["volumes"] if v["name"] == "shm")
        ray_container = pod["containers"][0]
        assert {"name": "shm", "mountPath": "/dev/shm"} in ray_container["volumeMounts"]
        # Ray's object store takes 0.3 of the memory, if it finds so much there.
        assert shared["medium"] == "Memory" and int(shared["sizeLimit"].removesuffix("Gi")) >= 20
        assert int(shared["sizeLimit"].removesuffix("Gi")) >= 0.3 * int(
            ray_container["resources"]["limits"]["memory"].removesuffix("Gi")
        )
    # A service forwards the ports that it names, and a pod all of them: MLflow listens on the pod's loopback.
    forward = next(line for line in text.splitlines() if "port-forward" in line)
    assert "get pod -o name" in forward and "service/" not in forward and forward.endswith(" 8265 5000")


def test_a_kuberay_head_counts_what_its_autoscaler_may_start(
    tmp_path: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = rayjob()["rayClusterSpec"]
    spec["workerGroupSpecs"][0] |= {"minReplicas": 0, "replicas": 0}
    answer = {"metadata": {"name": "lan-x", "namespace": "avatars"}, "spec": spec}
    with kubernetes(tmp_path, answer) as (account, port):
        monkeypatch.setattr(kuberay, "ACCOUNT", account)
        assert "GPU" not in resources.reachable(tmp_path), "not in a pod of KubeRay's"
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT_HTTPS", str(port))
        monkeypatch.setenv("RAY_CLUSTER_NAME", "lan-x")
        assert "GPU" not in resources.reachable(tmp_path), "the cluster has no autoscaler"
        spec["enableInTreeAutoscaling"] = True
        assert "# enableInTreeAutoscaling: true" in RAYJOB.read_text()
        # Four workers of 15 CPUs and a GPU, and the head, which offers four CPUs of its six.
        assert {k: resources.reachable(tmp_path)[k] for k in ("CPU", "GPU")} == {"CPU": 4 * 15 + 4, "GPU": 4}
        monkeypatch.setenv("RAY_CLUSTER_NAME", "another")
        assert "GPU" not in resources.reachable(tmp_path), "it may not ask for that one"


@contextlib.contextmanager
def kubernetes(folder: Path, cluster: dict[str, Any]) -> Iterator[tuple[Path, int]]:
    """What Kubernetes gives a pod to ask it with, and the port on which it answers for one cluster."""
    (folder / "namespace").write_text("avatars")
    (folder / "token").write_text("pod-token\n")
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(folder / "key"), "-out", str(folder / "ca.crt")]
    subprocess.run(["openssl", "req", "-x509", "-days", "2", *made, *subject], check=True, capture_output=True)

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/apis/ray.io/v1/namespaces/avatars/rayclusters/lan-x"
            self.send_response(200 if known and self.headers["Authorization"] == "Bearer pod-token" else 403)
            self.end_headers()
            self.wfile.write(json.dumps(cluster).encode())

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.crt", folder / "key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, server.server_port
    server.shutdown()
    server.server_close()


def test_the_image_has_the_pinned_ray_and_the_pins() -> None:
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    version = next(p.removeprefix("ray==") for p in pins if p.startswith("ray=="))
    text = DOCKERFILE.read_text()
    assert rayjob()["rayClusterSpec"]["rayVersion"] == version and f"rayproject/ray:{version}-" in text
    assert "-c /home/ray/na_ray/constraints.txt" in text
    for line in text.splitlines():
        if line.startswith("COPY"):
            assert all((ROOT / source).exists() for source in line.split()[2:-1]), line
