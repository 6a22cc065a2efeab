"""Pictures of a run in MLflow, with a slider over the steps."""

from pathlib import Path

from mlflow.tracking import MlflowClient
from PIL import Image


def log_pictures(client: MlflowClient, run_id: str, folder: Path, step: int) -> None:
    """Log a validation's pictures at its step, one slider for each name; what is there from a call that was cut off
    stays. Films, which have no slider, become artifacts.
    """
    known = [Path(f.path).name for f in client.list_artifacts(run_id, "images")]
    for path in sorted(folder.iterdir()):
        if path.suffix != ".png":
            client.log_artifact(run_id, str(path), f"validation/{folder.name}")
            continue
        key = f"validation/{path.stem}"
        # MLflow's own file names: a key's slash becomes ~, and the small copy is written last.
        start = f"{key.replace('/', '~')}+step+{step}+"
        if not any(name.startswith(start) and name.endswith(".webp") for name in known):
            with Image.open(path) as image:
                client.log_image(run_id, image, key=key, step=step, synchronous=True)
