"""The simulation of many GPUs beside what one can work out by hand."""

from dataclasses import replace

import pytest

from tests.benchmark_modules import module

simulation = module("scaling_simulation")
scaling = module("scaling")
FREE = simulation.Scenario(compute=0.1)
WIRED = replace(FREE, gradient_bytes=1e9, link=1e9, inside=1e10)


@pytest.mark.parametrize("n", [1, 3, 24])
def test_without_limits_nothing_is_lost(n: int) -> None:
    result = scaling.simulate(replace(FREE, rows=4, updates=3), n)
    assert result.shares["compute"] == pytest.approx(1)
    assert result.rows == pytest.approx(n * 4 / 0.3)
    assert result.limit == "-"


def test_slow_decoding_gives_the_rows_that_the_cores_decode() -> None:
    result = scaling.simulate(replace(FREE, rows=2, decode=0.4, cores=3), 4)
    assert result.rows == pytest.approx(4 * 3 / 0.4, rel=0.1)
    assert result.limit == "data"
    fast = scaling.simulate(replace(FREE, rows=2, decode=0.14, cores=3), 4)
    assert fast.shares["compute"] == pytest.approx(1)


def test_slow_storage_gives_the_rows_that_it_reads() -> None:
    slow = replace(FREE, row_bytes=1e6, storage=1e8, cores=2, decode=1e-3)
    one, many = scaling.simulate(slow, 4), scaling.simulate(slow, 40)
    assert one.shares["compute"] == pytest.approx(1)
    assert many.rows == pytest.approx(1e8 / 1e6, rel=0.05)
    assert many.limit == "storage"


@pytest.mark.parametrize("n, seconds", [(1, 0), (2, 0.1), (8, 0.175), (16, 0.175 + 1), (64, 0.175 + 1.75)])
def test_an_all_reduce_is_a_ring_in_each_node_and_one_between_them(n: int, seconds: float) -> None:
    """1 GB by 10 GB/s within a node of eight and 1 GB/s between nodes: 2 (n - 1) / n times the bytes."""
    assert simulation.all_reduce_seconds(WIRED, n) == pytest.approx(seconds)
    result = scaling.simulate(WIRED, n)
    assert result.step == pytest.approx(0.1 + seconds)
    assert result.rows == pytest.approx(n / (0.1 + seconds))
    assert result.limit == ("network" if n > 1 else "-")


def test_every_hop_of_a_ring_takes_the_latency() -> None:
    far = replace(FREE, gradient_bytes=1.0, latency=1e-3, gpus_per_node=1, bucket_bytes=0.1)
    assert simulation.all_reduce_seconds(far, 5) == pytest.approx(2 * 4 * 1e-3)


def test_computing_hides_an_all_reduce_but_for_its_last_bucket() -> None:
    hidden = replace(WIRED, overlap=0.5, bucket_bytes=1e8)
    assert simulation.exposed_seconds(hidden, 16) == pytest.approx(1.175 - 0.05)
    assert simulation.exposed_seconds(hidden, 2) == pytest.approx(0.1 - 0.05)
    assert simulation.exposed_seconds(replace(hidden, overlap=1.0), 2) == pytest.approx(0.1 * 0.1)


def test_the_efficiency_rises_with_the_bandwidth() -> None:
    rough = replace(WIRED, inside=1e12, jitter=0.05, overlap=0.3)
    found = [scaling.simulate(replace(rough, link=b), 16).shares["compute"] for b in (1e8, 1e9, 1e10, 1e11)]
    assert found == sorted(found) and found[0] < 0.05 < 0.5 < found[-1]


def test_the_slowest_worker_is_waited_for() -> None:
    """The largest of 100 draws of a normal distribution lies 2.51 deviations above its mean."""
    result = scaling.simulate(replace(FREE, jitter=0.05), 100)
    assert result.step == pytest.approx(0.1 * (1 + 2.51 * 0.05), rel=0.01)
    assert result.shares["stragglers"] == pytest.approx(1 - 0.1 / result.step)


def test_a_checkpoint_takes_its_bytes_over_the_bandwidth_once_an_interval() -> None:
    result = scaling.simulate(replace(FREE, checkpoint_bytes=5e9, save=1e9, every=100), 8)
    assert result.shares["checkpoint"] == pytest.approx(5 / (100 * 0.1 + 5))
    assert sum(result.shares.values()) == pytest.approx(1)


def test_a_lost_node_costs_its_restart_and_half_an_interval() -> None:
    spot = replace(FREE, every=1000, loss_rate=1e-6, restart=30.0)
    days = simulation.run_days(spot, 80, step=0.1, seconds=2e8)
    assert days.losses == pytest.approx(10 * 1e-6 * 2e8, rel=0.07)
    assert days.losing / days.losses == pytest.approx(30 + 1000 * 0.1 / 2, rel=0.05)
    assert days.seconds == pytest.approx(days.steps * 0.1 + days.saving + days.losing)


def test_an_announced_loss_costs_what_is_done_behind_the_last_checkpoint() -> None:
    spot = replace(FREE, every=10_000, loss_rate=1e-6, restart=30.0, notice=20.0, checkpoint_bytes=1e10, save=1e9)
    days = simulation.run_days(spot, 80, step=0.1, seconds=2e8)
    assert days.losing / days.losses == pytest.approx(30 + 20, rel=0.02)
    assert days.seconds == pytest.approx(days.steps * 0.1 + days.saving + days.losing)
    unannounced = simulation.run_days(replace(spot, notice=float("inf")), 80, step=0.1, seconds=2e8)
    assert unannounced.steps < days.steps


def test_the_best_interval_loses_least() -> None:
    spot = replace(FREE, checkpoint_bytes=1e10, save=1e9, loss_rate=1e-5, restart=60.0)
    best = simulation.best_interval(spot, 64, 0.1)
    assert best == round((2 * 10 / 8e-5) ** 0.5 / 0.1)
    done = {
        every: simulation.run_days(replace(spot, every=every), 64, 0.1, 3e7).steps
        for every in (best // 6, best, best * 6)
    }
    assert max(done, key=lambda every: done[every]) == best


def test_the_costs_are_those_of_the_published_networks() -> None:
    cost = scaling.nerf_cost(views=1)
    assert cost.trained == 9_556_807
    assert cost.multiply_adds == pytest.approx(323e9, rel=0.01)
    s = scaling.scenario(scaling.Options(), "nerf", scaling.CARDS["a10g"], cost)
    assert s.gradient_bytes == 4 * cost.trained and s.checkpoint_bytes == 12 * cost.trained
    assert s.decode == pytest.approx(5 / (1100 * 0.63))
    several = scaling.scenario(scaling.Options(rows=4), "nerf", scaling.CARDS["a10g"], cost)
    assert several.compute == pytest.approx(4 * s.compute)
    assert several.overlap * several.compute == pytest.approx(s.overlap * s.compute)


def test_an_option_replaces_what_is_assumed() -> None:
    options = scaling.Options(step_ms=50.0, link_gbs=3.0, cores=2, checkpoint_mb=7.0)
    s = scaling.scenario(options, "texture", scaling.CARDS["h100"], scaling.Cost(10, 1.0, 1.0))
    assert (s.compute, s.link, s.cores, s.checkpoint_bytes) == pytest.approx((0.05, 3e9, 2, 7e6))
    assert (s.rows, s.updates) == (4, 16)


def test_the_table_and_the_figure_show_every_number_of_gpus() -> None:
    results = [scaling.simulate(FREE, n) for n in (1, 2)]
    table = list(scaling.lines(FREE, results))
    assert [line.split()[0] for line in table[-2:]] == ["1", "2"]
    picture = scaling.draw({("nerf", "h100"): results})
    assert picture.startswith("<svg") and picture.count("<polyline") == 1
