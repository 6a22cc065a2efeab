import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from na_ray.body.body import Body
from na_ray.config import NerfConfig
from na_ray.models import optim
from na_ray.models.nerf.renderer import Nerf
from na_ray.original import renderer as original
from tests.models.bodies import bent, blob, rays

OPTIONS = {
    "arch": "joint_nerf_coarse",
    "use_local_coordinate": True,
    "use_texture_encoder": True,
    "texture_to_deformation": True,
    "additional_deform": "pos",
    "feature_layers": 6,
    "feature_field_skip_connect": 3,
    "texture_layers": 3,
    "no_layernorm_mlp": True,
    "hierarchical_sampling": False,
    "use_fine_model": False,
    "raymarching_tolerance": 0,
    "background_stop_gradient": True,
    "min_color": -1,
    "feature_embed_dim": 8,
    "texture_embed_dim": 8,
    "density_embed_dim": 4,
    "inputs_to_density": "pos:6:3",
    "inputs_to_texture": "feat:0:8,attnout:0:8,texture:0:512,ray:4:3:b",
    "fixed_num_samples": 8,
    "min_dis_eps": 0.06,
    "joint_filter_size": 6,
    "discrete_regularization": True,
    "transparent_background": "1.0,1.0,1.0",
    "lr": [0.0002],
    "adam_betas": "(0.9,0.999)",
    "adam_eps": 1e-8,
    "decay_rate": 0.1,
    "decay_steps": 250000,
    "color_weight": 1.0,
    "alpha_weight": 0.01,
    "clip_norm": 0.0,
    "background_depth": 4.0,
    "mesh": "/laboratory/canonical.obj",
    "train_views": "0..11",
    "pixel_per_view": 1024.0,
    "view_resolution": "512x256",
    "seed": 2,
    "L1": False,
}
CONFIG = NerfConfig(hidden=8, samples_per_ray=8, parity=True)
LAYER4 = "encoder.texture_encoder.model.layer4.0.conv1.weight"


THEIRS = {
    "encoder.": "encoder.texture_encoder.model.",
    "field.surface_encoding.frequencies": "encoder.joint_filter.emb",
    "field.position_encoding.frequencies": "field.den_filters.pos.emb",
    "field.direction_encoding.frequencies": "field.tex_filters.ray.emb",
    "field.deformation.hidden.": "encoder.skinning_deform.net.0.net.0.",
    "field.deformation.residual.": "encoder.skinning_deform.net.1.",
    **{f"field.surface.{i}.": f"encoder.merge_joint_field.net.{i}.net.0." for i in range(4)},
    **{f"field.shape.{i}.": f"field.feature_field.net.{i}.net.0." for i in range(8)},
    "field.density_hidden.": "field.predictor.hidden_layer.net.0.",
    "field.density.": "field.predictor.output_layer.",
    "field.color_input.": "field.renderer.net.0.net.0.",
    "field.color.0.": "field.renderer.net.1.net.0.",
    "field.color.1.": "field.renderer.net.2.net.0.",
    "field.color.2.": "field.renderer.net.3.net.0.",
    "field.color.3.": "field.renderer.net.4.",
}
"""Beginnings of names: ours, the original's, as section 4 of the parity page has them (tests/test_original_numbers.py
computes with them)."""


def their_names() -> dict[str, str]:
    """Our names to theirs."""
    names = {}
    for name in Nerf(CONFIG, Body.from_rig(blob())).state_dict():
        start = max((ours for ours in THEIRS if name.startswith(ours)), key=len)
        names[name] = THEIRS[start] + name[len(start) :]
    return names


def checkpoint() -> dict:
    """A checkpoint in the original's layout, with small MLPs and random weights."""
    torch.manual_seed(1)
    rig, nerf = blob(), Nerf(CONFIG, Body.from_rig(blob()))
    torch.nn.init.normal_(nerf.field.deformation.residual.weight, std=0.1)
    names = their_names()
    model = {
        "encoder.vertices": torch.tensor(rig.vertices),
        "encoder.faces": torch.tensor(rig.faces),
        "encoder.weights": torch.tensor(rig.weights),
        "encoder.face_uv": torch.tensor(rig.uv[rig.uv_faces]),
        "field.bg_color.bg_color": torch.ones(3),
    }
    model |= {names[name]: value.clone() for name, value in nerf.state_dict().items()}
    model |= {LAYER4: torch.zeros(512, 256, 3, 3)}
    buffers = ("running_mean", "running_var", "num_batches_tracked", ".emb", "bg_color")
    trained = [n for n in model if not n.endswith(buffers) and n not in original.RIG]
    state = {
        i: {"step": 7, "exp_avg": torch.full_like(model[n], i), "exp_avg_sq": torch.full_like(model[n], i / 2)}
        for i, n in enumerate(trained)
    }
    return {
        "args": argparse.Namespace(**OPTIONS),
        "model": model,
        "optimizer_history": [{"num_updates": 12000}],
        "last_optimizer_state": {"state": state, "param_groups": []},
    }


def save(tmp_path: Path, contents: object) -> str:
    path = str(tmp_path / "nerf.pt")
    torch.save(contents, path)
    return path


def test_an_imported_checkpoint_renders_as_the_weights_do(tmp_path):
    contents = checkpoint()
    found = original.import_checkpoint(save(tmp_path, contents), blob())
    assert found.nerf == CONFIG
    assert found.num_updates == 12000
    assert found.notes == ()
    expected = Nerf(CONFIG, Body.from_rig(blob()))
    expected.load_state_dict({ours: contents["model"][theirs] for ours, theirs in their_names().items()})
    nerf = Nerf(found.nerf, Body.from_rig(found.rig))
    nerf.load_state_dict(found.state)
    texture, scene = torch.rand(3, 32, 32), rays(20, torch.float32)
    pictures = [r.eval()(r.body.pose(bent()), texture, *scene).colors for r in (nerf, expected)]
    assert torch.equal(*pictures)


def test_options_become_our_knobs(tmp_path):
    found = original.import_checkpoint(save(tmp_path, checkpoint()), blob())
    assert (found.optim.lr, found.optim.betas, found.optim.decay_steps) == (2e-4, (0.9, 0.999), 250_000)
    assert found.optim.alpha_weight == 0, "it never acts there"
    assert found.nerf.background_depth == 5.0, "background_depth is ignored there"
    assert found.settings == {
        "data.background": (1.0, 1.0, 1.0),
        "data.train_views": "0..11",
        "data.rays_per_view": 1024,
        "data.resolution": (512, 256),
        "train.seed": 2,
    }


def test_adams_state_goes_to_the_same_parameters(tmp_path):
    contents = checkpoint()
    found = original.import_checkpoint(save(tmp_path, contents), blob())
    nerf = Nerf(found.nerf, Body.from_rig(found.rig))
    optimizer = optim.adam(nerf.parameters(), found.optim, parity=True)
    optimizer.load_state_dict(found.adam)
    order = [n for n in contents["model"] if contents["model"][n].is_floating_point()]
    order = [n for n in order if not n.endswith((".emb", "bg_color", "running_mean", "running_var"))]
    order = [n for n in order if n not in original.RIG]
    names = their_names()
    for name, parameter in nerf.named_parameters():
        index = order.index(names[name])
        state = optimizer.state[parameter]
        assert float(state["step"]) == 7
        assert bool((state["exp_avg"] == index).all()), name
        assert bool((state["exp_avg_sq"] == index / 2).all()), name


def test_without_a_capture_the_rig_is_the_files(tmp_path):
    path = save(tmp_path, checkpoint())
    with pytest.raises(ValueError, match="rest pose is not in the file"):
        original.import_checkpoint(path)
    rig = original.import_checkpoint(path, tpose=blob().tpose).rig
    np.testing.assert_array_equal(rig.vertices, blob().vertices)
    np.testing.assert_array_equal(rig.uv[rig.uv_faces], blob().uv[blob().uv_faces])


def set_option(name, value):
    return lambda c: setattr(c["args"], name, value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (set_option("arch", "nsvf_base"), "--arch is 'nsvf_base'"),
        (set_option("use_fine_model", True), "--use-fine-model is True"),
        (set_option("texture_layers", 5), "--texture-layers is 5"),
        (set_option("inputs_to_texture", "feat:0:8,ray:4"), "--inputs-to-texture is 'feat:0:8,ray:4'"),
        (set_option("transparent_background", "white"), "--transparent-background is 'white'"),
        (set_option("feature_embed_dim", "wide"), "--feature-embed-dim is 'wide'"),
        (set_option("min_dis_eps", None), "--min-dis-eps is None"),
        (set_option("train_views", "eleven"), "--train-views is 'eleven'"),
        (lambda c: delattr(c["args"], "min_dis_eps"), "no --min-dis-eps"),
        (lambda c: c.pop("model"), "no 'model'"),
        (lambda c: c["model"].pop("encoder.faces"), "no tensor 'encoder.faces'"),
        (lambda c: c["model"].pop("field.predictor.output_layer.bias"), "no tensor for 'field.density.bias'"),
        (lambda c: c["model"].update({"field.extra.weight": torch.ones(2)}), "unknown tensor 'field.extra.weight'"),
        (lambda c: c["model"].update({"field.predictor.output_layer.bias": torch.ones(2)}), "is (2,) torch.float32"),
        (lambda c: c["model"].update({"field.predictor.output_layer.bias": torch.ones(1).double()}), "torch.float64"),
        (lambda c: c["model"].update({"field.bg_color.bg_color": torch.zeros(3)}), "field.bg_color.bg_color is [0.0"),
        (
            lambda c: c["model"].update({"encoder.vertices": torch.zeros(42, 3)}),
            "encoder.vertices is not the capture's",
        ),
        (lambda c: c["model"].update({"encoder.weights": torch.zeros(1, 3)}), "encoder.weights is not the capture's"),
        (lambda c: c["last_optimizer_state"]["state"].pop(0), "optimizer's state 0"),
        (lambda c: c.pop("optimizer_history"), "optimizer_history"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, spoil, message):
    contents = checkpoint()
    spoil(contents)
    path = save(tmp_path, contents)
    with pytest.raises(ValueError, match=r"nerf\.pt") as error:
        original.import_checkpoint(path, blob())
    assert message in str(error.value)
    assert "\n" not in str(error.value)


class Malicious:
    """Would make a file when unpickled."""

    def __init__(self, target: str) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (Path(self.target),)


def test_nothing_but_data_is_unpickled(tmp_path):
    path = save(tmp_path, {"args": Malicious(str(tmp_path / "owned"))})
    with pytest.raises(ValueError, match=r"nerf\.pt: refused") as error:
        original.import_checkpoint(path, blob())
    assert not (tmp_path / "owned").exists()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("contents", [b"", b"junk", b"PK\x03\x04 cut off"])
def test_files_that_are_no_checkpoints_are_refused(tmp_path, contents):
    (tmp_path / "nerf.pt").write_bytes(contents)
    with pytest.raises(ValueError, match=r"nerf\.pt"):
        original.import_checkpoint(str(tmp_path / "nerf.pt"), blob())
    with pytest.raises(FileNotFoundError, match="no such file"):
        original.import_checkpoint(str(tmp_path / "none.pt"), blob())


def test_losses_without_counterpart_are_noted(tmp_path):
    contents = checkpoint()
    contents["args"].vgg_weight = 0.1
    (note,) = original.import_checkpoint(save(tmp_path, contents), blob()).notes
    assert "--vgg-weight 0.1" in note


def test_another_pose_of_the_same_body_is_another_rig(tmp_path):
    other = replace(blob(), vertices=blob().vertices + 1e-3)
    with pytest.raises(ValueError, match=r"differ by up to 0\.001"):
        original.import_checkpoint(save(tmp_path, checkpoint()), other)
