"""The command that predicts maps: na-ray predict-textures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from na_ray.cli.render import chosen_device, fetch
from na_ray.cli.train import ProgressBar, join
from na_ray.config.values import UserError


@dataclass(frozen=True)
class PredictTextures:
    """Predict the texture maps of any motion: na-ray render --textures draws an actor with them."""

    predictor: Positional[str]
    """A run's folder (runs/NAME), an actor's, a checkpoint's of the texture stage, or a model of MLflow: models:/lan/1,
    models:/lan@best."""
    capture: tuple[str, ...]
    """Captures that the motions come from. Poses are enough: images need not be there."""
    out: Annotated[Path, arg(name="output", aliases=["-o"])]
    """Folder for tex/NNNNNN.png or tex.avi; with several motions, for a folder each. An interrupted prediction goes
    on."""
    split: tuple[str, ...] = ("testing",)
    """Motions of each capture."""
    frames: str = "all"
    """Frames of each, in a row: `0..40` or `all`."""
    normals: Literal["auto", "capture", "poses"] = "auto"
    """Normal maps from the capture, or drawn from the poses. auto: from the capture where it has some."""
    normal_size: int = 512
    """Side at which they are drawn, texels: that of the maps that the predictor was trained on."""
    format: Literal["png", "avi"] = "png"
    """png: lossless. avi: motion JPEG, as published."""
    fps: float = 25.0
    """Frames a second of an .avi."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to predict."""
    workers: int = 0
    """Motions predicted at a time, each on a worker of Ray's. 0: one after the other, without Ray."""
    ray_address: str = ""
    """Ray cluster of these workers: HOST:PORT, or `local` for one of its own on this machine. Empty: $RAY_ADDRESS, else
    what `ray start` started here, else one of its own."""
    overwrite: bool = False
    """Replace existing maps."""

    def run(self) -> int:
        """Predict."""
        from na_ray.actor import open_actor
        from na_ray.motion.predict import Request
        from na_ray.run.inference import motions, predict_motions

        if self.workers < 0:
            raise UserError(f"--workers is {self.workers}: expected 0, for this process, or more")
        join(self.ray_address)
        tasks = motions(self.capture, self.split, self.out)
        here = "cpu" if self.workers else chosen_device(self.device)
        actor = open_actor(fetch(self.predictor), ["texture"])
        predictor = actor.predictor(here)
        if predictor is None:
            has = ", ".join(actor.networks)
            raise UserError(f"{actor.folder} has no texture predictor; it has: {has}: train the texture stage first")
        request = Request(self.frames, self.normals, self.normal_size, self.format, self.fps, self.overwrite)
        with ProgressBar("frames" if self.workers == 0 else "motions") as progress:
            results = predict_motions(predictor, tasks, request, self.workers, self.device, progress)
        for task, result in zip(tasks, results, strict=True):
            motion = f"--capture {task.capture} --split {task.split} --textures {task.out}"
            print(f"wrote {result}\nfilm it: na-ray render ACTOR {motion} --output film")
        return 0
