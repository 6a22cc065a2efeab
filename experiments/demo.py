"""Minutes on a laptop: python experiments/demo.py [train|sweep] [--KNOB VALUE ...].

Makes a synthetic actor, learns to predict its texture maps from its poses and to render it from some of its cameras,
then looks at it from cameras and in motions that training never saw: scores beside simple baselines, and a video.
Everything lies in one folder (`demo/`).
"""

from pathlib import Path

from na_ray.cli.train import main
from na_ray.config import Experiment
from na_ray.recipes.demo import DEMO


def synthesize(experiment: Experiment) -> None:
    """Make the demo's actor, unless it is there or another capture was asked for."""
    from na_ray.synthetic.write import write_capture  # torch takes seconds to import: --help need not wait

    if experiment.capture == DEMO.capture and not Path(DEMO.capture).exists():
        print(f"making a synthetic actor in {DEMO.capture}", flush=True)
        # Of the cameras that training sees: maps made from all of them would flatter the scores on the others.
        views = DEMO.data.train_views
        write_capture(Path(DEMO.capture), cameras=8, resolution=128, seed=0, texture_cameras=views)


if __name__ == "__main__":
    main(DEMO, resume="auto", before=synthesize)
