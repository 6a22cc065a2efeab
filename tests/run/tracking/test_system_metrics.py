"""System metrics of machines that this program does not run on: what Ray's agents say of them."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import ray

from na_ray.run.tracking import system_metrics
from na_ray.run.tracking.system_metrics import gpus_here, other_machines, parse, read_agent

ANSWER = """# HELP ray_node_cpu_utilization Total CPU usage on a ray node
# TYPE ray_node_cpu_utilization gauge
ray_node_cpu_utilization{IsHeadNode="false",ip="10.0.0.2"} 37.5
ray_node_mem_used{ip="10.0.0.2"} 2.5e+09
ray_node_mem_total{ip="10.0.0.2"} 8e+09
ray_node_disk_utilization_percentage{ip="10.0.0.2"} 81.25
ray_node_gpus_utilization{GpuDeviceName="H100",GpuIndex="0",ip="10.0.0.2"} 93.0
ray_node_gpus_utilization{GpuDeviceName="H100",GpuIndex="1",ip="10.0.0.2"} 0.0
ray_node_gram_used{GpuDeviceName="H100",GpuIndex="1",ip="10.0.0.2"} 40960.0
ray_node_cpu_count{ip="10.0.0.2"} NaN
"""


def test_gauges_of_ray_s_agents_bear_mlflow_s_names_and_units() -> None:
    assert parse(ANSWER) == {
        "cpu_utilization_percentage": 37.5,
        "system_memory_usage_megabytes": 2500.0,
        "disk_usage_percentage": 81.25,
        "gpu_0_utilization_percentage": 93.0,
        "gpu_1_utilization_percentage": 0.0,
        "gpu_1_memory_usage_megabytes": 40960.0,
    }


def test_an_agent_is_read_and_one_that_does_not_answer_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    class Agent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(ANSWER.encode())

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Agent) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        assert read_agent(f"127.0.0.1:{server.server_address[1]}") == parse(ANSWER)
        server.shutdown()
    assert read_agent(f"127.0.0.1:{server.server_address[1]}") == {}


def test_the_other_machines_of_a_cluster_are_found(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert other_machines() == {}, "this machine is sampled here"
    nodes = [{**ray.nodes()[0], "NodeID": f"{i}" * 56, "NodeManagerAddress": f"10.0.0.{i}"} for i in (1, 2)]
    nodes += [{**nodes[0], "NodeID": "3" * 56, "NodeManagerHostname": "other"}, {**nodes[0], "Alive": False}]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    port = nodes[0]["MetricsExportPort"]
    found = {"11111111": f"10.0.0.1:{port}", "22222222": f"10.0.0.2:{port}", "other": f"10.0.0.1:{port}"}
    assert system_metrics.other_machines() == found


def test_gpus_are_sampled_where_there_are_some() -> None:
    found = gpus_here()
    assert all(name.startswith("gpu_") and value >= 0 for name, value in found.items())
