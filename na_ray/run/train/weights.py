"""Files that training reads beside the capture, settled once, by the driver.

Workers have another working directory, and perhaps another environment: what each resolved for itself would differ.
"""

from pathlib import Path

from na_ray.capture.storage import is_url
from na_ray.config import Experiment, override
from na_ray.models.pretrained.imagenet import find_weights

VGG19 = ("vgg19.pth", "vgg19-*.pth")
"""Names of VGG-19's file in the folder of weights."""


def settle_files(experiment: Experiment, started: Experiment | None = None) -> Experiment:
    """The experiment with absolute paths, and with the perceptual loss that its workers will all use.

    `started`: what a resumed run was started with, which it keeps where it is asked for nothing else.
    """
    texture = experiment.texture
    if "texture" in experiment.stages and texture.perceptual != "pyramid" and not texture.vgg_weights:
        experiment = _settle_perceptual(experiment, started)
    named = {
        "nerf.encoder_weights": experiment.nerf.encoder_weights,
        "texture.vgg_weights": experiment.texture.vgg_weights,
        "texture.flow_folder": experiment.texture.flow_folder,
    }
    return override(experiment, {knob: absolute(place) for knob, place in named.items()})


def absolute(place: str) -> str:
    """A path that means the same in every process of this machine; URLs, and nothing, stay as they are."""
    return place if not place or is_url(place) else str(Path(place).expanduser().absolute())


def _settle_perceptual(experiment: Experiment, started: Experiment | None) -> Experiment:
    """VGG-19's file by its path or, where `auto` finds none, the pyramid by its name."""
    auto = experiment.texture.perceptual == "auto"
    if started is not None and started.texture.vgg_weights:
        return override(experiment, {"texture.vgg_weights": started.texture.vgg_weights})
    if started is not None and auto and started.texture.perceptual == "pyramid":
        return override(experiment, {"texture.perceptual": "pyramid"})
    try:
        return override(experiment, {"texture.vgg_weights": str(find_weights(*VGG19).absolute())})
    except FileNotFoundError as error:
        if not auto:
            return experiment  # the preflight says what to do
        print(
            f"perceptual loss: a Laplacian pyramid, since {error}: texture.vgg_weights names VGG-19's file", flush=True
        )
        return override(experiment, {"texture.perceptual": "pyramid"})
