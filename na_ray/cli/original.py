"""The command that reads checkpoints of the original implementation: na-ray import."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from na_ray.config import Experiment, override

if TYPE_CHECKING:
    from na_ray.capture.dataset import Capture


@dataclass(frozen=True)
class Import:
    """Turn a checkpoint of the original implementation, nerf or texture predictor, into one of ours."""

    checkpoint: Positional[Path]
    """The original's file: nerf_checkpoint.pt, or vid2vid's epoch_N_iteration_N_checkpoint.pt."""
    capture: str
    """The capture it was trained on: its body is compared with the NeRF's file, and goes with the predictor."""
    out: Annotated[Path, arg(name="output", aliases=["-o"])]
    """Folder to write the checkpoint to."""
    resolution: tuple[int, int] | None = None
    """Texture predictor: HEIGHT WIDTH of its maps. Needed where they are no squares."""

    def run(self) -> int:
        """Import, strictly."""
        from na_ray.capture.dataset import Capture
        from na_ray.original.renderer import read_file
        from na_ray.original.texture_predictor import is_predictor

        capture = Capture.open(self.capture)
        contents = read_file(str(self.checkpoint))
        save = self._save_predictor if is_predictor(contents) else self._save_nerf
        notes, num_updates = save(contents, capture)
        lines = [*(f"note   {note}" for note in notes), f"wrote {self.out}, trained for {num_updates} steps"]
        print("\n".join(lines))
        return 0

    def _save_nerf(self, contents: Any, capture: "Capture") -> tuple[tuple[str, ...], int]:
        from na_ray import checkpoint
        from na_ray.body.body import Body
        from na_ray.models.nerf.renderer import Nerf
        from na_ray.original.renderer import from_contents

        found = from_contents(contents, str(self.checkpoint), capture.rig)
        nerf = Nerf(found.nerf, Body.from_rig(found.rig))
        nerf.load_state_dict(found.state)
        config = Experiment(name=self.out.name, capture=capture.path, nerf=found.nerf, optim=found.optim)
        config = override(config, found.settings)
        training = None if found.adam is None else {"optimizer": found.adam}
        checkpoint.save(self.out, "nerf", nerf.state_dict(), found.rig, config, found.num_updates, training)
        return found.notes, found.num_updates

    def _save_predictor(self, contents: Any, capture: "Capture") -> tuple[tuple[str, ...], int]:
        from na_ray import checkpoint
        from na_ray.original.texture_predictor import from_contents

        found = from_contents(contents, str(self.checkpoint), self.resolution)
        config = Experiment(name=self.out.name, capture=capture.path, vid2vid=found.vid2vid, texture=found.texture)
        notes = found.notes
        if len(set(found.vid2vid.resolution)) == 1:
            config = override(config, {"stages": ("texture",)})
        else:
            notes = (*notes, "its maps are no squares: it predicts, but the texture stage cannot train it")
        weights, rig = found.weights, capture.rig
        checkpoint.save(self.out, "texture", weights, rig, config, found.num_updates, found.training)
        return notes, found.num_updates
