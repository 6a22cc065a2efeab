"""A cluster of two machines, as its users bring it up: ray up, submit, job submit and down (make test-cluster).

What runs is clusters/onprem.yaml with its five lines changed, two CPUs a machine, and packages that need no download.
"""

import json
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from tests.cluster.machines import PATH, Machine, missing

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
QUICK = "--train.steps 20 --train.validate-every 20 --train.validation-frames 1 --report.frames 1 --report.film-frames"
SMALL = f"{QUICK} 0 --splats.steps 20 --texture.steps 2 --texture.checkpoint-every 2 --train.cpus-per-worker 1"

pytestmark = pytest.mark.cluster


def give_python(machine: Machine) -> None:
    """An environment whose packages are those of this one, where the setup commands look for it.

    pip finds them there, so it installs the project alone, and needs no network.
    """
    venv = machine.home / "na_ray_venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    site = next(venv.glob("lib/python*/site-packages"))
    (site / "outer.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for name in ("ray", "mlflow"):
        _, _, text = (BIN / name).read_text().partition("\n")
        (venv / "bin" / name).write_text(f"#!{venv}/bin/python\n{text}")
        (venv / "bin" / name).chmod(0o755)
    (machine.home / ".config" / "pip").mkdir(parents=True)
    # pip reads the value as "isolate the build", in spite of the option's name.
    settings = "[global]\nno-index = true\ndisable-pip-version-check = true\n[install]\nno-build-isolation = false\n"
    (machine.home / ".config" / "pip" / "pip.conf").write_text(settings)
    (machine.home / ".bashrc").touch()


def configuration(head: Machine, workers: list[Machine], shared: Path, key: Path) -> dict:
    """clusters/onprem.yaml with what a user changes: addresses, user, key and the place of the shared storage."""
    text = (ROOT / "clusters" / "onprem.yaml").read_text().replace("/shared", str(shared))
    config = yaml.safe_load(text)
    config["cluster_name"] = f"na-ray-test-{os.getpid()}"
    config["provider"] |= {"head_ip": head.address, "worker_ips": [w.address for w in workers]}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": str(key)}
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        start = "--num-cpus=2 --object-store-memory=300000000"
        config[commands] = [c.replace("ray start", f"ray start {start}") for c in config[commands]]
    return config


@dataclass
class Cluster:
    """The machines, the cluster's file and key, and the storage that all share."""

    laptop: Machine
    head: Machine
    workers: list[Machine]
    file: Path
    key: Path
    shared: Path
    say: Callable[[str], None]

    def ray(self, command: str, *arguments: str) -> subprocess.CompletedProcess:
        """`ray COMMAND ARGUMENTS...` on the laptop, in the repository's folder."""
        started = time.monotonic()
        words = ["env", "RAY_AUTH_MODE=token", str(BIN / "ray"), *command.split(), *arguments]
        done = self.laptop.run(*words, cwd=ROOT, path=f"{BIN}:{PATH}")
        self.say(f"ray {command}: {time.monotonic() - started:.0f} s, exit code {done.returncode}")
        return done

    def on_head(self, script: str) -> str:
        """What a Python script prints in the head's login shell."""
        (self.head.home / "asked.py").write_text(script)
        done = self.head.run("bash", "--login", "-c", "source ~/.bashrc; python ~/asked.py 2>/dev/null")
        return done.stdout

    def nodes(self) -> list[dict]:
        """Ray's nodes that are alive."""
        lines = self.on_head(
            "import json, ray\nray.init('auto', logging_level='error', log_to_driver=False)\n"
            "print(json.dumps([n for n in ray.nodes() if n['Alive']], default=str))"
        ).splitlines()
        return json.loads(lines[-1]) if lines else []


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two machines and a laptop, and `ray up` done."""
    reason = missing()
    if reason:
        pytest.fail(f"the cluster's test cannot run here: {reason}", pytrace=False)
    folder = tmp_path_factory.mktemp("cluster")
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(text, flush=True)

    laptop = Machine("laptop", "10.77.0.1", folder / "laptop")
    machines = [Machine(f"node{i}", f"10.77.0.{i}", folder / f"node{i}", bridge=laptop) for i in (2, 3)]
    try:
        key = folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        for machine in machines:
            give_python(machine)
            machine.allow(key)
        shared = folder / "shared"
        shared.mkdir()
        file = folder / "cluster.yaml"
        file.write_text(yaml.safe_dump(configuration(machines[0], machines[1:], shared, key), width=10_000))
        made = Cluster(laptop, machines[0], machines[1:], file, key, shared, say)
        token = laptop.run("sh", "-c", f"{BIN}/ray get-auth-token --generate >/dev/null && chmod 600 ~/.ray/auth_token")
        assert token.returncode == 0, token.stdout
        up = made.ray("up", "-y", str(file))
        assert up.returncode == 0, up.stdout
        yield made
    finally:
        for machine in (*machines, laptop):
            machine.stop()


def test_up_brings_every_machine_into_the_cluster(cluster: Cluster) -> None:
    started = time.monotonic()
    while len(nodes := cluster.nodes()) < 2:
        if time.monotonic() - started > 240:
            pytest.fail(cluster.head.run("tail", "-n", "40", "/tmp/ray/session_latest/logs/monitor.log").stdout)
        time.sleep(2)
    cluster.say(f"the second machine joined {time.monotonic() - started:.0f} s after ray up")
    assert {n["NodeManagerAddress"] for n in nodes} == {"10.77.0.2", "10.77.0.3"}
    for machine in (cluster.head, *cluster.workers):
        script = "source ~/.bashrc; python -c 'import na_ray; print(na_ray.__file__)'; pwd"
        where = machine.run("bash", "--login", "-c", script)
        assert where.stdout.split() == [f"{machine.home}/na_ray/na_ray/__init__.py", str(cluster.shared)]


KNOCK = """
import ray
ray.init("10.77.0.2:6379", logging_level="critical", log_to_driver=False)
print("let in", len(ray.nodes()))
"""


def knocking(cluster: Cluster, **environment: str) -> str:
    """What a process on the second machine gets that joins the cluster by the variables alone: its last line."""
    (worker,) = cluster.workers
    (worker.folder / "empty").mkdir(exist_ok=True)
    (worker.folder / "knock.py").write_text(KNOCK)
    given = {"HOME": str(worker.folder / "empty")} | environment
    command = [f"{name}={value}" for name, value in given.items()]
    done = worker.run("env", *command, "timeout", "90", sys.executable, str(worker.folder / "knock.py"))
    return done.stdout.strip().splitlines()[-1]


def test_a_process_without_the_token_is_refused(cluster: Cluster) -> None:
    token = (cluster.laptop.home / ".ray" / "auth_token").read_text().strip()
    for machine in (cluster.head, *cluster.workers):
        kept = machine.home / ".ray" / "auth_token"
        assert kept.read_text().strip() == token and kept.stat().st_mode & 0o077 == 0
    assert knocking(cluster, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token) == "let in 2"
    none = knocking(cluster, RAY_AUTH_MODE="disabled")
    wrong = knocking(cluster, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * len(token))
    cluster.say(f"without a token: {none}\nwith a wrong one: {wrong}")
    assert "let in" not in none and "let in" not in wrong
    # The dashboard's server, which starts jobs, is asked as a browser or `curl` would.
    for given, code in ((token, "200"), ("0" * len(token), "403"), ("", "401")):
        asked = cluster.head.run(
            *(sys.executable, "-c", STATUS, "http://127.0.0.1:8265/api/jobs/", given)
        ).stdout.split()
        cluster.say(f"jobs over HTTP, with {'a' if given else 'no'} token: {asked}")
        assert asked == [code]


STATUS = """
import sys, urllib.error, urllib.request
headers = {"Authorization": f"Bearer {sys.argv[2]}"} if sys.argv[2] else {}
try:
    print(urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers=headers), timeout=20).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def finished(cluster: Cluster, name: str) -> dict[str, Run]:
    """The MLflow runs of a training that went well, by name, read from the server's database."""
    client = MlflowClient(f"sqlite:///{cluster.shared}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("demo")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    (parent,) = [r.info.run_id for r in found if r.info.run_name == name]
    owned = [r for r in found if parent in (r.info.run_id, r.data.tags.get("mlflow.parentRunId"))]
    runs = {r.info.run_name: r for r in owned}
    assert {r.info.status for r in runs.values()} == {"FINISHED"} and {name, "nerf"} <= set(runs)
    assert [m.step for m in client.get_metric_history(runs["nerf"].info.run_id, "loss")] == [10, 20]
    return runs


def test_submit_trains_on_both_machines_and_mlflow_has_it(cluster: Cluster) -> None:
    # Three workers of a CPU each and one that decodes: no machine of two CPUs holds them all.
    batches = "--train.global-batch 3 --texture.global-batch 3 --splats.global-batch 6"
    options = f"{SMALL} --train.num-workers 3 {batches}".split()
    done = cluster.ray("submit", str(cluster.file), "experiments/demo.py", "--", *options)
    cluster.say(done.stdout)
    assert done.returncode == 0 and "best checkpoint: " in done.stdout
    run = cluster.shared / "demo" / "runs" / "demo"
    assert (run / "texture" / "checkpoints" / "step_000002").is_dir()
    assert (run / "nerf" / "checkpoints" / "step_000020").is_dir()
    metrics = finished(cluster, "demo")["nerf"].data.metrics
    assert {"psnr", "validation/psnr", "cameras/nerf/box/psnr"} <= set(metrics)
    assert list((cluster.shared / "mlflow" / "artifacts").rglob("images/validation~*+step+20+*.png"))


def test_job_submit_trains_through_a_tunnel_to_the_dashboard(cluster: Cluster) -> None:
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    tunnel = ["-f", "-N", "-L", "8265:127.0.0.1:8265", f"root@{cluster.head.address}"]
    opened = cluster.laptop.run(
        "sh", "-c", 'exec "$@" >/dev/null 2>&1', "-", "ssh", "-i", str(cluster.key), *options, *tunnel
    )
    assert opened.returncode == 0
    script = f"cd {cluster.shared} && python ~/na_ray/experiments/demo.py --name job {SMALL} --train.num-workers 1"
    done = cluster.ray("job submit", "--address", "http://127.0.0.1:8265", "--", "sh", "-c", script)
    assert done.returncode == 0 and "best checkpoint: " in done.stdout, done.stdout
    finished(cluster, "job")


def test_a_script_that_fails_fails_submit_with_its_one_line(cluster: Cluster) -> None:
    done = cluster.ray("submit", str(cluster.file), "experiments/lan.py", "--", "--capture", "nowhere")
    cluster.say("\n".join(done.stdout.splitlines()[-6:]))
    errors = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1 and len(errors) == 1 and "nowhere" in errors[0]
    assert "Traceback" not in done.stdout and not (cluster.shared / "runs").exists()


def test_down_leaves_no_process_and_keeps_the_runs(cluster: Cluster) -> None:
    done = cluster.ray("down", "-y", str(cluster.file))
    assert done.returncode == 0, done.stdout
    # Workers stop by themselves: a minute after they lost the head.
    started = time.monotonic()
    while left := [m.name for m in (cluster.head, *cluster.workers) if "raylet" in m.run("ps", "-eo", "args").stdout]:
        assert time.monotonic() - started < 240, left
        time.sleep(2)
    cluster.say(f"no Ray process is left {time.monotonic() - started:.0f} s after ray down")
    assert (cluster.shared / "demo" / "runs" / "demo" / "experiment.json").exists()
