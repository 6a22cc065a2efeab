"""A texel's numbers to its Gaussian, against the formulas in torch's float64, whose gradients autograd finds."""

import torch
from torch import Tensor

from na_ray.models.splats.make import THICKNESS, MakeGaussians
from na_ray.models.splats.texels import Texels
from tests.models.splats.actors import body_of, column_pose, column_rig

SIDE = 32
THICKEST, WIDEST, LEAST = 3.0, 1.8, -4.0


def reference(fixed: Tensor, posed: Tensor, texture: Tensor, lit: Tensor, scene: dict[str, Tensor]) -> list[Tensor]:
    """Means, factors, opacities and colors of float64 tensors: M = F U L, and so on."""

    def bounded(x: Tensor, reach: float) -> Tensor:
        return reach * (x / 3).tanh()

    frames, n, at = scene["frames"], fixed.shape[1], posed.view(14, -1)[:, scene["index"]]
    means = scene["points"] + torch.einsum("nij,jn->ni", frames, 0.01 * (fixed[:3] + bounded(at[:3], 3)))
    bounds = torch.tensor([WIDEST, WIDEST, THICKEST], dtype=torch.float64)[:, None]
    logarithms = torch.minimum((fixed[3:6] + bounded(at[3:6], 0.9)).clamp(min=LEAST), bounds)
    shears = 0.5 * (fixed[6:9] + bounded(at[6:9], 0.9))
    lower = torch.diag_embed(logarithms.exp().T)
    lower = lower + torch.zeros(n, 3, 3, dtype=torch.float64).index_put(
        (torch.arange(n)[:, None], torch.tensor([1, 2, 2]), torch.tensor([0, 0, 1])), shears.T
    )
    lu, shear, lv = scene["footprints"].T
    none = torch.zeros_like(lu)
    thick = torch.full_like(lu, THICKNESS)
    upper = torch.stack([lu, shear, none, none, lv, none, none, none, thick], dim=1).view(n, 3, 3)
    opacities = (5 * (fixed[9] + bounded(at[9], 0.9))).sigmoid()
    share = (3 + bounded(at[10], 6)).sigmoid()
    given = texture.view(3, -1)[:, scene["index"]]
    colors = share * given + (1 - share) * (fixed[10:13] + lit) + 0.3 * (fixed[13:16] + bounded(at[11:14], 3))
    return [means, frames @ upper @ lower, opacities, colors.T]


def in_squares(posed: Tensor) -> Tensor:
    """Texels as the decoder gives them: the corners of all squares of 4 x 4 first, then their second texels."""
    squares = [posed[:, y::4, x::4].reshape(len(posed), -1) for y in range(4) for x in range(4)]
    return torch.cat(squares, dim=1)


def made(seed: int, spread: float) -> tuple[Texels, dict[str, Tensor], list[Tensor]]:
    """Texels of the column, their tables in float64, and random numbers: (fixed, posed, texture, lit)."""
    body = body_of(column_rig())
    texels = Texels(body, SIDE)
    at = texels.pose(body.pose(column_pose(3)))
    scene = {"points": at.points, "frames": at.frames, "footprints": texels.footprints}
    scene = {name: t.double() for name, t in scene.items()} | {"index": texels.index.long()}
    rng = torch.Generator().manual_seed(seed)
    n = len(texels)
    shapes = ((16, n), (14, SIDE, SIDE), (3, SIDE, SIDE), (3, n))
    return texels, scene, [spread * torch.randn(*shape, generator=rng) for shape in shapes]


def both(seed: int, spread: float) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
    """(results, gradients of fixed and posed) of the kernels, and of the formulas."""
    texels, scene, (fixed, posed, texture, lit) = made(seed, spread)
    fast = [fixed.clone().requires_grad_(), posed.clone().requires_grad_()]
    found = MakeGaussians.apply(
        fast[0],
        in_squares(fast[1]),
        texture,
        lit,
        scene["points"].float(),
        scene["frames"].float().contiguous(),
        texels,
    )
    exact = [fixed.double().requires_grad_(), posed.double().requires_grad_()]
    expected = reference(*exact, texture.double(), lit.double(), scene)
    rng = torch.Generator().manual_seed(seed + 1)
    weights = [torch.randn(*value.shape, generator=rng) for value in found]
    torch.stack([(value * w).sum() for value, w in zip(found, weights, strict=True)]).sum().backward()
    torch.stack([(value * w).sum() for value, w in zip(expected, weights, strict=True)]).sum().backward()
    return list(found), [p.grad for p in fast], expected, [p.grad for p in exact]  # type: ignore[misc]


def test_gaussians_and_gradients_are_those_of_the_formulas() -> None:
    for seed, spread in ((0, 0.5), (1, 4.0)):  # within the bounds, and many scales beyond them
        found, gradients, expected, exact = both(seed, spread)
        for name, a, b in zip(("means", "factors", "opacities", "colors"), found, expected, strict=True):
            assert (a - b).abs().max() / b.abs().max() < 2e-6, name
        for name, a, b in zip(("fixed", "posed"), gradients, exact, strict=True):
            rows = b.reshape(len(b), -1).abs().amax(1)
            assert (rows > 0).all(), f"{name}: each number matters"
            error = (a - b).reshape(len(b), -1).abs().amax(1) / rows
            assert (error < 2e-5).all(), f"{name}: {error}"


def test_gradients_of_the_formulas_are_finite_differences() -> None:
    """The oracle's own: a few of its numbers, moved both ways."""
    _, scene, (fixed, posed, texture, lit) = made(4, 0.5)
    numbers = [fixed.double(), posed.double(), texture.double(), lit.double()]

    def total(values: list[Tensor]) -> Tensor:
        return torch.stack([part.square().sum() for part in reference(*values, scene)]).sum()

    leaves = [numbers[0].clone().requires_grad_(), numbers[1].clone().requires_grad_(), *numbers[2:]]
    total(leaves).backward()
    texel = int(scene["index"][40])
    for which, columns in ((0, 40), (1, texel)):
        for row in range(len(numbers[which])):
            moved = []
            for step in (1e-6, -1e-6):
                values = [x.clone() for x in numbers]
                values[which].view(len(values[which]), -1)[row, columns] += step
                moved.append(float(total(values)))
            slope = leaves[which].grad.view(len(numbers[which]), -1)[row, columns]  # type: ignore[union-attr]
            assert abs((moved[0] - moved[1]) / 2e-6 - float(slope)) < 1e-5 * max(1.0, abs(float(slope))), (which, row)


def test_numbers_of_texels_that_nothing_is_drawn_of_have_no_gradient() -> None:
    texels, scene, (fixed, posed, texture, lit) = made(0, 0.5)
    fixed, posed = fixed.requires_grad_(), posed.requires_grad_()
    found = MakeGaussians.apply(
        fixed, in_squares(posed), texture, lit, scene["points"].float(), scene["frames"].float().contiguous(), texels
    )
    found[3][:5].sum().backward()
    assert (fixed.grad[:, 5:] == 0).all() and (fixed.grad[10:16, :5] != 0).all()  # type: ignore[index]
    outside = torch.ones(SIDE**2, dtype=torch.bool)
    outside[texels.index.long()] = False
    assert (posed.grad.view(14, -1)[:, outside] == 0).all()  # type: ignore[union-attr]
