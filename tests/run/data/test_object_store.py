"""Training from an object store: a real server that speaks S3 over HTTP on this machine."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from na_ray import checkpoint
from na_ray.capture.dataset import Capture
from na_ray.config import Experiment, override
from na_ray.run.data.frames import FrameDataset, FrameSampler, Row
from na_ray.run.data.loader import StepLoader
from na_ray.run.data.sequences import SequenceDataset, SequenceSampler
from na_ray.run.train.driver import train
from tests.object_store import serve

# Another bucket than other tests use: a process remembers what it opened at their server.
URL = "s3://training/tiny"


@pytest.fixture(scope="module")
def server(tiny_capture: Path) -> Iterator:
    with serve() as server:
        server.upload(tiny_capture, "training/tiny")
        yield server


def assert_same(ours: list[list[Row]], theirs: list[list[Row]]) -> None:
    assert len(ours) == len(theirs) > 0
    for (a,), (b,) in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_rows_are_the_same_as_from_the_local_folder(server, tiny: Experiment) -> None:
    datasets = [FrameDataset.make(Capture.open(place), tiny) for place in (tiny.capture, URL)]
    assert_same(
        *(list(islice(StepLoader(FrameSampler(dataset, (0,), 1, 0), distributed=False), 30)) for dataset in datasets)
    )


def test_windows_are_the_same_as_from_the_local_folder(server, tiny_texture: Experiment) -> None:
    datasets = [SequenceDataset.make(Capture.open(place), tiny_texture) for place in (tiny_texture.capture, URL)]
    assert_same(
        *(list(islice(StepLoader(SequenceSampler(dataset, (0,), 1, 0), distributed=False), 6)) for dataset in datasets)
    )


def test_training_gives_the_same_weights_bit_for_bit(server, tiny: Experiment) -> None:
    places = {"local": tiny.capture, "remote": URL}
    folders = [train(override(tiny, {"capture": place, "name": name})) for name, place in places.items()]
    local, remote = (checkpoint.load_weights(folder) for folder in folders)
    assert local.keys() == remote.keys()
    for name in local:
        assert torch.equal(local[name], remote[name]), name


def test_a_shard_on_a_storage_that_is_away_is_not_skipped(server, tiny: Experiment) -> None:
    """Unlike a damaged one: what is skipped would be lost from the training, and all the others with it."""
    dataset = FrameDataset.make(Capture.open(URL), override(tiny, {"data.on_bad_shard": "skip"}))
    shard = dataset.shards(0)[0]
    assert dataset.decode(shard)
    server.fail(*["503"] * 100)
    with pytest.raises(OSError, match="^s3://training/tiny/training/.*: could not be read"):
        dataset.decode(shard)
    server.fail()
    assert dataset.decode(shard)
