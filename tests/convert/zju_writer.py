"""Writes a scene as ZJU-MoCap's folders are, from the description of the format alone."""

import numpy as np
from PIL import Image


def write_zju(root, scene, masks=True, first=0, folders="Camera_B{}"):
    """annots.npy (T in millimetres), pictures, mask_cihp/ (labels of parts), new_params/."""
    root.mkdir(parents=True, exist_ok=True)
    names = [folders.format(i + 1) for i in range(len(scene.eyes))]
    ims = []
    for frame in range(scene.count):
        ims.append({"ims": [f"{name}/{frame:06d}.jpg" for name in names], "kpts2d": [np.zeros((25, 3))] * len(names)})
        for eye, name in zip(scene.eyes, names, strict=True):
            image, mask = scene.photograph(eye, frame)
            (root / name).mkdir(exist_ok=True)
            Image.fromarray(image).save(root / name / f"{frame:06d}.jpg", quality=98, subsampling=0)
            if masks:
                folder = root / "mask_cihp" / name
                folder.mkdir(parents=True, exist_ok=True)
                parts = np.where(mask > 127, 5, 0).astype(np.uint8)
                parts[: len(parts) // 3][parts[: len(parts) // 3] > 0] = 13
                Image.fromarray(parts).save(folder / f"{frame:06d}.png")
    cams = {
        "K": [eye.K for eye in scene.eyes],
        "R": [eye.R for eye in scene.eyes],
        "T": [1000 * eye.T.reshape(3, 1) for eye in scene.eyes],
        "D": [eye.dist.reshape(5, 1) for eye in scene.eyes],
    }
    np.save(root / "annots.npy", {"cams": cams, "ims": ims}, allow_pickle=True)
    params = root / "new_params"
    params.mkdir(exist_ok=True)
    for frame in range(scene.count):
        values = {
            "poses": scene.poses[frame][None],
            "Rh": scene.Rh[frame][None],
            "Th": scene.Th[frame][None],
            "shapes": scene.betas[None],
        }
        np.save(params / f"{frame + first}.npy", values, allow_pickle=True)
    return root
