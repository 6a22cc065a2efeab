import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from na_ray import checkpoint
from na_ray.capture.dataset import Capture
from na_ray.cli.original import Import
from na_ray.config import TextureConfig
from na_ray.models.optim import predictor_adam
from na_ray.models.vid2vid.average import Average
from na_ray.models.vid2vid.discriminator import Discriminator
from na_ray.models.vid2vid.generator import Generator
from na_ray.models.vid2vid.iteration import Networks, iterate
from na_ray.models.vid2vid.perceptual import LaplacianPyramid
from na_ray.original.names import to_original
from na_ray.original.texture_predictor import import_predictor, is_predictor
from tests.make_capture import write_tiny_capture
from tests.models.vid2vid.tiny import CONFIG, window

# What the shapes cannot tell: max_discriminator_filters beyond the widest layer that there is.
SMALL = replace(CONFIG, resolution=(32, 32), temporal_scales=1, max_discriminator_filters=4)


@pytest.fixture(scope="module")
def trained() -> tuple[dict, Networks, Average]:
    """A short training of ours, and its state in the original's layout."""
    torch.manual_seed(0)
    generator, discriminator = Generator(SMALL).train(), Discriminator(SMALL).train()
    texture = TextureConfig(parity=True, shared_step_count=True)
    optimizers = [predictor_adam(n.parameters(), 1e-4 * k, texture) for n, k in ((generator, 1), (discriminator, 4))]
    networks = Networks(generator, discriminator, LaplacianPyramid(), *optimizers, texture)
    average = Average(generator, 0.999, 1)
    maps = [window(3, dtype=torch.float32, seed=s)[..., :32] for s in (0, 1)]
    for _ in range(2):
        iterate(networks, *maps)
        average.update(generator)
    return as_original(networks, average), networks, average


def as_original(networks: Networks, average: Average) -> dict:
    """The checkpoint that the original would have written."""
    net_G = {"module.num_updates_tracked": torch.tensor(average.updates)}
    net_G |= {f"module.module.{to_original(k)}": v for k, v in theirs_first(networks.generator).items()}
    net_G |= {f"module.averaged_model.{to_original(k, folded=True)}": v for k, v in average.weights.items()}
    contents = {
        "net_G": net_G,
        "net_D": {f"module.{to_original(k)}": v for k, v in theirs_first(networks.discriminator).items()},
        "current_epoch": 1,
        "current_iteration": 2,
        "sch_G": {"last_epoch": 1},
        "sch_D": {"last_epoch": 1},
    }
    for side, network, optimizer in (
        ("G", networks.generator, networks.generator_optimizer),
        ("D", networks.discriminator, networks.discriminator_optimizer),
    ):
        parameters = dict(network.named_parameters())
        order = [k for k in theirs_first(network) if k in parameters]
        states = [(i, optimizer.state.get(parameters[k])) for i, k in enumerate(order)]
        moments = {i: {m: s[m] for m in ("exp_avg", "exp_avg_sq")} for i, s in states if s}
        group = {"lr": optimizer.param_groups[0]["lr"], "betas": (0.0, 0.999), "eps": 1e-8, "weight_decay": 0.0}
        group |= {"step": optimizer.param_groups[0]["shared_step"], "params": list(range(len(order)))}
        contents[f"opt_{side}"] = {"state": moments, "param_groups": [group]}
    return contents


def theirs_first(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state dict in another order of layers, a bias before its weight, as the original has them."""
    state = network.state_dict()
    order = {"bias": 0, "weight": 1, "u": 2, "v": 3}
    layers = sorted({name.rpartition(".")[0] for name in state}, reverse=True)
    names = [f"{layer}.{leaf}" for layer in layers for leaf in order]
    return {name: state[name] for name in names if name in state}


def write(folder: Path, contents: object) -> str:
    path = str(folder / "epoch_00001_iteration_000000002_checkpoint.pt")
    torch.save(contents, path)
    return path


def test_sizes_weights_and_counts_come_back(tmp_path, trained):
    contents, networks, average = trained
    found = import_predictor(write(tmp_path, contents))
    assert found.vid2vid == SMALL
    assert (found.texture.parity, found.texture.shared_step_count) == (True, True)
    assert (found.texture.lr_generator, found.texture.lr_discriminator, found.texture.betas) == (1e-4, 4e-4, (0, 0.999))
    assert found.num_updates == 2 and found.training is not None and found.training["average_updates"] == 2
    for mine, theirs in (
        (found.weights, average.weights),
        (found.training["generator"], networks.generator.state_dict()),
        (found.training["discriminator"], networks.discriminator.state_dict()),
    ):
        assert set(mine) == set(theirs) and all(torch.equal(mine[k], theirs[k]) for k in mine)


def test_training_goes_on_bit_by_bit(tmp_path, trained):
    contents, networks, _ = copy.deepcopy(trained)
    found = import_predictor(write(tmp_path, contents))
    assert found.training is not None
    generator, discriminator = Generator(found.vid2vid).train(), Discriminator(found.vid2vid).train()
    resumed = Networks(
        generator,
        discriminator,
        networks.perceptual,
        predictor_adam(generator.parameters(), found.texture.lr_generator, found.texture),
        predictor_adam(discriminator.parameters(), found.texture.lr_discriminator, found.texture),
        found.texture,
    )
    for name in ("generator", "discriminator", "generator_optimizer", "discriminator_optimizer"):
        getattr(resumed, name).load_state_dict(found.training[name])
    before = {k: v.clone() for k, v in networks.generator.state_dict().items()}
    maps = [window(3, dtype=torch.float32, seed=s)[..., :32] for s in (2, 3)]
    iterate(resumed, *maps)
    iterate(networks, *maps)
    after = networks.generator.state_dict()
    assert any(not torch.equal(before[k], after[k]) for k in after)
    for a, b in ((resumed.generator, networks.generator), (resumed.discriminator, networks.discriminator)):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_a_file_without_temporal_discriminators(tmp_path, trained):
    contents = trained[0] | {"net_D": {k: v for k, v in trained[0]["net_D"].items() if "net_DT" not in k}}
    kept = [k for k in contents["net_D"] if not k.endswith(("weight_u", "weight_v"))]
    full = [k for k in trained[0]["net_D"] if not k.endswith(("weight_u", "weight_v"))]
    states = trained[0]["opt_D"]["state"]
    moved = {i: states[full.index(k)] for i, k in enumerate(kept) if full.index(k) in states}
    found = import_predictor(write(tmp_path, contents | {"opt_D": trained[0]["opt_D"] | {"state": moved}}))
    assert found.vid2vid.temporal_scales == 0 and any("temporal" in note for note in found.notes)
    assert found.training is not None and not [k for k in found.training["discriminator"] if "temporal" in k]


@pytest.mark.parametrize("name", ["net_D", "opt_G", "opt_D"])
def test_a_file_without_training_state_predicts_only(tmp_path, trained, name):
    found = import_predictor(write(tmp_path, {k: v for k, v in trained[0].items() if k != name}))
    assert found.training is None and found.vid2vid.num_filters == SMALL.num_filters
    assert any(f"no training state ({name} missing)" in note for note in found.notes)


def changed(contents: dict, part: str, key: str, value: object) -> dict:
    state = dict(contents[part])
    state.pop(key, None)
    return contents | {part: state | ({} if value is None else {key: value})}


STEM = "module.averaged_model.down_first.layers.conv.weight"
ORIGINAL = "module.module.label_embedding.down_0.layers.conv.weight_u"
JUDGE = "module.net_D.discriminator_1.layer0.0.layers.conv.bias"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: changed(c, "net_G", STEM, None), "no tensor for 'stem.weight'"),
        (lambda c: changed(c, "net_G", STEM, torch.zeros(2, 4, 3, 3)), "'stem.weight' is (2, 4, 3, 3)"),
        (lambda c: changed(c, "net_G", STEM, torch.zeros(2, 3, 3, 3).half()), "torch.float16, expected"),
        (lambda c: changed(c, "net_G", "module.averaged_model.attention.weight", torch.zeros(1)), "unknown tensor"),
        (lambda c: changed(c, "net_G", "other.weight", torch.zeros(1)), "unknown tensor 'other.weight'"),
        (lambda c: changed(c, "net_G", ORIGINAL, None), "no tensor for 'label_embedder.down.0.u'"),
        (lambda c: changed(c, "net_D", JUDGE, torch.zeros(7)), "'image.1.layers.0.conv.bias' is (7,)"),
        (lambda c: changed(c, "net_G", "module.num_updates_tracked", None), "num_updates_tracked is None"),
        (lambda c: c | {"current_iteration": "two"}, "current_iteration is 'two'"),
        (lambda c: c | {"net_G": {}}, "expected a training that averages its generator"),
        (lambda c: c | {"net_G": 3}, "no dict 'net_G'"),
        (lambda c: c | {"opt_G": c["opt_D"]}, "opt_G"),
        (lambda c: c | {"opt_D": {"state": {}, "param_groups": []}}, "opt_D has no single group"),
        (
            lambda c: c | {"opt_D": {"state": {}, "param_groups": [c["opt_D"]["param_groups"][0] | {"eps": 1e-4}]}},
            "(eps, weight decay)",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, trained, spoil, message):
    with pytest.raises(ValueError, match="checkpoint.pt") as error:
        import_predictor(write(tmp_path, spoil(trained[0])))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_maps_that_are_no_squares_ask_for_their_size(tmp_path):
    torch.manual_seed(0)
    weights = Generator(CONFIG, spectral=False).state_dict()
    net_G = {f"module.averaged_model.{to_original(k, folded=True)}": v for k, v in weights.items()}
    path = write(tmp_path, {"net_G": net_G, "current_iteration": 5})
    with pytest.raises(ValueError, match="say --resolution HEIGHT WIDTH"):
        import_predictor(path)
    with pytest.raises(ValueError, match="64x64 was asked for"):
        import_predictor(path, (64, 64))
    assert import_predictor(path, (32, 64)).vid2vid.resolution == (32, 64)


def test_the_command_writes_a_checkpoint_that_predicts(tmp_path, trained, capsys):
    capture = tmp_path / "capture"
    write_tiny_capture(capture, frames=2, cameras=1, resolution=(16, 16))
    path = Path(write(tmp_path, trained[0]))
    assert is_predictor(trained[0]) and not is_predictor({"model": {}, "args": None})
    assert Import(checkpoint=path, capture=str(capture), out=tmp_path / "texture").run() == 0
    assert "trained for 2 steps" in capsys.readouterr().out
    predictor = checkpoint.load_predictor(tmp_path / "texture")
    expected = Generator(SMALL, spectral=False)
    expected.load_state_dict(trained[2].weights)
    label = window(1, dtype=torch.float32)[:, 0, :, :, :32]
    with torch.no_grad():
        assert torch.equal(predictor.generator(label).image, expected.eval()(label).image)
    assert predictor.config.stages == ("texture",) and predictor.config.texture.parity
    training = checkpoint.load_training(tmp_path / "texture")
    keys = {"generator", "discriminator", "average_updates", "generator_optimizer", "discriminator_optimizer", "step"}
    assert set(training) == keys and training["step"] == 2
    assert np.array_equal(checkpoint.load_rig(tmp_path / "texture").vertices, Capture.open(str(capture)).rig.vertices)
