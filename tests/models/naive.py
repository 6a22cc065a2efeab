"""The NeRF from its formulas, sample by sample in numpy float64: no code shared with the package's."""

import numpy as np

State = dict[str, np.ndarray]


def linear(state: State, name: str, x: np.ndarray) -> np.ndarray:
    return state[f"{name}.weight"] @ x + state[f"{name}.bias"]


def encode(x: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    parts = []
    for value in x:
        parts += [np.sin(f * value) for f in frequencies] + [np.cos(f * value) for f in frequencies]
    return np.array([*parts, *x])


def closest(point: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Face, barycentrics and closest point: the best of all faces' planes, edges and corners."""
    best = (np.inf, -1, np.zeros(3))
    for index, face in enumerate(faces):
        corners = vertices[face]
        for chosen in ([0, 1, 2], [0, 1], [0, 2], [1, 2], [0], [1], [2]):
            base = corners[chosen[0]]
            edges = (corners[chosen[1:]] - base).T
            inner = np.linalg.lstsq(edges, point - base, rcond=None)[0] if len(chosen) > 1 else np.zeros(0)
            weights = np.zeros(3)
            weights[chosen] = [1 - inner.sum(), *inner]
            distance = np.linalg.norm(weights @ corners - point)
            if (weights >= 0).all() and distance < best[0] - 1e-12:
                best = (distance, index, weights)
    return best[1], best[2], best[2] @ vertices[faces[best[1]]]


def bilinear(features: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Of a map (h, w, c) with row 0 at v = 1, zeros outside."""
    height, width, _ = features.shape
    x, y = uv[0] * width - 0.5, (1 - uv[1]) * height - 0.5
    total = np.zeros(features.shape[2])
    for i in (int(np.floor(x)), int(np.floor(x)) + 1):
        for j in (int(np.floor(y)), int(np.floor(y)) + 1):
            if 0 <= i < width and 0 <= j < height:
                total += (1 - abs(x - i)) * (1 - abs(y - j)) * features[j, i]
    return total


def pyramid(latents: list[np.ndarray]) -> np.ndarray:
    """Maps (c, h, w) at the size of the first, one after the other, (h, w, c): bilinear, corner pixels aligned."""
    height, width = latents[0].shape[1:]
    stacked = []
    for latent in latents:
        rows = np.arange(height) * (latent.shape[1] - 1) / max(height - 1, 1)
        columns = np.arange(width) * (latent.shape[2] - 1) / max(width - 1, 1)
        for channel in latent:
            narrow = np.array([np.interp(columns, np.arange(len(row)), row) for row in channel])
            stacked.append(np.array([np.interp(rows, np.arange(len(narrow)), column) for column in narrow.T]).T)
    return np.stack(stacked, axis=2)


def field(
    state: State, surface: np.ndarray, position: np.ndarray, direction: np.ndarray, texture: np.ndarray
) -> tuple[float, np.ndarray]:
    """Density and color; `texture` are the encoder's features, all channels."""

    def relu(name: str, x: np.ndarray) -> np.ndarray:
        return np.maximum(linear(state, name, x), 0)

    h = encode(surface, state["surface_encoding.frequencies"])
    for i in range(4):
        h = relu(f"surface.{i}", h)
    if "deformation.hidden.weight" in state:
        hidden = relu("deformation.hidden", np.concatenate([h, texture]))
        position = position + linear(state, "deformation.residual", hidden)
    encoded = encode(position, state["position_encoding.frequencies"])
    shape = encoded
    for i in range(8):
        shape = relu(f"shape.{i}", np.concatenate([encoded, shape]) / np.sqrt(2) if i == 4 else shape)
    sigma = linear(state, "density", relu("density_hidden", shape))[0]
    direction = encode(direction, state["direction_encoding.frequencies"])
    color = relu("color_input", np.concatenate([shape, h, texture, direction]))
    for i in range(3):
        color = relu(f"color.{i}", color)
    return sigma, linear(state, "color.3", color)
