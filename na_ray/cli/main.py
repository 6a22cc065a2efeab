"""The command line `na-ray`: the first word names a command, and only what that command needs is imported."""

import importlib
import sys
from dataclasses import dataclass

from na_ray.cli.arguments import hide_secrets
from na_ray.version import __version__


@dataclass(frozen=True)
class Command:
    """Where a command is, and what it does in one line."""

    module: str
    """Module of `na_ray.cli` that holds it."""
    name: str
    """Its class there: its fields are the options, and `run` returns the exit code."""
    summary: str
    """The first line of what `--help` says."""


COMMANDS = {
    "synth": Command("data", "Synth", "Make an actor from nothing: a complete capture in the published layout."),
    "inspect": Command("data", "Inspect", "Say what a capture holds, and everything that is wrong with it."),
    "extract": Command("data", "Extract", "Write frames of a raw split as pictures, in the extracted layout."),
    "convert": Command(
        "convert", "Convert", "Make a capture from EasyMocap or ZJU-MoCap; cameras of COLMAP, nerfstudio."
    ),
    "prepare": Command("prepare", "Prepare", "Make what a capture lacks: normal maps, texture maps; repair its track."),
    "train": Command("train", "TrainCommand", "Train a recipe: na-ray train lan --capture PATH --name anna."),
    "sweep": Command("train", "SweepCommand", "Train a recipe with many settings of some knobs, and compare them."),
    "predict-textures": Command("predict", "PredictTextures", "Predict the texture maps of any motion."),
    "animate": Command("animate", "Animate", "Film an actor in any motion: BVH, AMASS, EasyMocap, a capture's."),
    "cameras": Command(
        "cameras", "Cameras", "Make a path of a camera: orbit, zoom, key frames; or convert nerfstudio's."
    ),
    "render": Command("render", "Render", "Film an actor: the poses and texture maps of any capture, any camera."),
    "export": Command("export", "Export", "Take an actor to other programs: splats, a skinned mesh, a page."),
    "view": Command("view", "ViewCommand", "Show actors live in the browser: any pose, any view, without a GPU."),
    "evaluate": Command("render", "Evaluate", "Score an actor against photographs, beside the textured mesh."),
    "report": Command("report", "ReportCommand", "Compare runs on one page that opens offline."),
    "runs": Command("runs", "Runs", "List the runs of a storage, or delete one."),
    "actors": Command("runs", "Actors", "List the trained actors of a storage, and those registered in MLflow."),
    "import": Command("original", "Import", "Turn a checkpoint of the original implementation into one of ours."),
}
"""What `na-ray` can do, in the order of a project."""


PREPARE_WORDS = ("all", "normals", "textures", "track")
"""What `na-ray prepare` takes as its first word; without one it is `all`."""


def overview() -> str:
    """What `na-ray --help` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()]
    head = (
        "usage: na-ray COMMAND [OPTIONS]\n\nAnimatable people from multi-view video (Neural Actor), on Ray and MLflow."
    )
    tail = """
na-ray COMMAND --help lists a command's options. With any of them, --traceback shows where in the program a mistake was
found. na-ray --version says which one this is."""
    return "\n".join([head, "", *lines, tail])


def main() -> None:
    """Run `na-ray`. A user's mistake is printed, one line per defect, with exit code 2."""
    hide_secrets()
    words = [word for word in sys.argv[1:] if word != "--traceback"]  # which every command has
    word, arguments = (words[:1] or [""])[0], words[1:]
    if word in ("", "-h", "--help"):
        print(overview())
        sys.exit(0 if word else 2)
    if word == "--version":
        print(f"na-ray {__version__}")
        sys.exit(0)
    if word not in COMMANDS:
        print(f"error: na-ray has no command {word!r}; it has: {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    sys.exit(run(word, arguments, show_traceback=len(words) < len(sys.argv) - 1))


def run(word: str, arguments: list[str], show_traceback: bool = False) -> int:
    """Run one command and return its exit code."""
    # tyro takes longer to import than the overview may take.
    import tyro

    from na_ray.cli.train import guarded, run_recipe

    if word in ("train", "sweep"):
        return guarded(lambda: run_recipe(word, arguments), show_traceback)
    command = COMMANDS[word]
    arguments = with_word(word, arguments)
    kind = getattr(importlib.import_module(f"na_ray.cli.{command.module}"), command.name)
    return guarded(lambda: tyro.cli(kind, prog=f"na-ray {word}", args=arguments).run(), show_traceback)


def with_word(command: str, arguments: list[str]) -> list[str]:
    """The arguments as the command's parser takes them: `prepare CAPTURE` is `prepare all CAPTURE`."""
    if command == "prepare" and arguments and arguments[0] not in ("-h", "--help", *PREPARE_WORDS):
        return ["all", *arguments]
    return arguments
