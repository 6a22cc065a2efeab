"""What a registered model carries beside the actor, so that a machine without na_ray opens it; and, of any model, the
actor in it, looked for without running a line of what else is there."""

from importlib.metadata import version
from pathlib import Path

from na_ray.actor import FILE
from na_ray.config.values import UserError

CODE = Path(__file__).parents[2]
"""The package, which a model holds as it was when the actor was trained: no index has one of that name."""

NEEDED = (
    "av",
    "fsspec",
    "jaxtyping",
    "mlflow",
    "numpy",
    "pandas",
    "pillow",
    "safetensors",
    "scipy",
    "torch",
    "warp-lang",
)
"""The packages that opening and drawing an actor import."""


def requirements() -> list[str]:
    """These, in the versions that are installed here; builds of torch, as 2.13.0+cpu, are the machine's affair."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in NEEDED]


def actor_in(model: Path, told: str) -> Path:
    """The folder of the actor (before 0.3: of the checkpoint) in the folder of a registered model.

    What else a model may hold, loader modules, code and pickles, is not opened. `told`: how the user named the model.
    Raises UserError, one line, where there is no actor, or where it leads out of the model's folder.
    """
    found = next((file for name in (FILE, "experiment.json") for file in sorted(model.glob(f"**/{name}"))), None)
    if found is None:
        raise UserError(f"{told}: no actor is in it: give a model that na_ray registered, or runs:/ID/actor")
    inside = model.resolve()
    for path in (found.parent, *found.parent.rglob("*")):
        if not path.resolve().is_relative_to(inside):
            raise UserError(
                f"{told}: {path.relative_to(model)} leads out of the model's folder, which no model of na_ray does: "
                "do not trust it, and register the actor again"
            )
    return found.parent
