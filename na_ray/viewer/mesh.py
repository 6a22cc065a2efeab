"""The posed mesh with its texture map as the browser takes it: a binary glTF that lights itself."""

from io import BytesIO

import numpy as np
import trimesh
from PIL import Image
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from na_ray.body.body import PosedBody
from na_ray.capture.image import Map, shrink_map

SIDE = 512
"""Longer side of the map that is sent, texels."""


def to_glb(posed: PosedBody, texture: Map) -> bytes:
    """The body at a pose (world, m). A texture map holds the light of its photographs: it glows, and nothing else."""
    body = posed.body
    uv, faces = body.uv.cpu().numpy(), body.uv_faces.cpu().numpy()
    vertex_of = np.zeros(len(uv), np.int64)
    vertex_of[faces.reshape(-1)] = body.faces.cpu().numpy().reshape(-1)
    image = Image.open(_as_jpeg(texture))
    material = PBRMaterial(
        emissiveTexture=image,
        emissiveFactor=[1.0, 1.0, 1.0],
        baseColorFactor=[0, 0, 0, 255],
        metallicFactor=0.0,
        roughnessFactor=1.0,
    )
    mesh = trimesh.Trimesh(
        posed.world_vertices.cpu().numpy()[vertex_of],
        faces,
        process=False,
        visual=TextureVisuals(uv, material=material),
    )
    data = mesh.export(file_type="glb")
    assert isinstance(data, bytes)
    return data


def _as_jpeg(texture: Map) -> BytesIO:
    """JPEG is a tenth of PNG's time and bytes; trimesh keeps the form that an image was opened from."""
    held = BytesIO()
    Image.fromarray(np.ascontiguousarray(shrink_map(texture, SIDE)).astype(np.uint8)).save(held, "JPEG", quality=92)
    held.seek(0)
    return held
