"""Drawing one Gaussian after the other, nearest first: the way of a CPU, which has one thread and large caches.

Nothing depends on timing: results are the same to the bit from run to run. Pixels lie in planes, one a color, with
`LANES` more at the end of each, since so many are read where fewer are left.
"""

from typing import no_type_check

import warp as wp

from na_ray.models.splats.project_kernels import LEAST_ALPHA
from na_ray.models.splats.scan_native import draw_view, draw_view_back

OPAQUE = wp.constant(1.0e-3)
"""A pixel that lets less light pass is finished."""
MOST_ALPHA = wp.constant(0.995)
"""Greatest alpha of one Gaussian: what is behind it keeps a gradient."""


@wp.kernel(enable_backward=False)
@no_type_check
def draw_in_order(
    order: wp.array2d[wp.int64],
    windows: wp.array2d[wp.int32],
    centers: wp.array2d[wp.vec2],
    conics: wp.array2d[wp.vec3],
    shades: wp.array2d[wp.vec3],
    depths: wp.array2d[wp.float32],
    reaches: wp.array2d[wp.vec2],
    opacities: wp.array[wp.float32],
    height: wp.int32,
    width: wp.int32,
    with_depth: wp.bool,
    colors: wp.array2d[wp.float32],
    passing: wp.array[wp.float32],
    depth: wp.array[wp.float32],
    last: wp.array[wp.int32],
    touched: wp.array2d[wp.int32],
) -> None:
    """Front to back, view by view: colors over black, the light that passes (given as 1), the mean depth times alpha.

    Pictures are flat, `height` x `width` each. A view's window (left, top, width, height; px) is what is drawn of it.
    `last` is the place in the order of the last Gaussian that changed a pixel (given as -1), `touched` marks those that
    changed any.
    """
    k = wp.tid()
    draw_view(
        k,
        order,
        windows,
        centers,
        conics,
        shades,
        depths,
        reaches,
        opacities,
        height,
        width,
        colors.shape[1],
        with_depth,
        OPAQUE,
        MOST_ALPHA,
        LEAST_ALPHA,
        colors,
        passing,
        depth,
        last,
        touched,
    )


@wp.kernel(enable_backward=False)
@no_type_check
def draw_in_order_back(
    order: wp.array2d[wp.int64],
    windows: wp.array2d[wp.int32],
    centers: wp.array2d[wp.vec2],
    conics: wp.array2d[wp.vec3],
    shades: wp.array2d[wp.vec3],
    reaches: wp.array2d[wp.vec2],
    opacities: wp.array[wp.float32],
    height: wp.int32,
    width: wp.int32,
    last: wp.array[wp.int32],
    touched: wp.array2d[wp.int32],
    grad_colors: wp.array2d[wp.float32],
    passing: wp.array[wp.float32],
    behind: wp.array[wp.float32],
    grad_centers: wp.array2d[wp.vec2],
    grad_conics: wp.array2d[wp.vec3],
    grad_shades: wp.array2d[wp.vec3],
    grad_opacities: wp.array2d[wp.float32],
) -> None:
    """The gradients, back to front: by the time a Gaussian comes, `passing` is what passes those before and itself,
    and `behind` the sum over all that lies behind it of (its gradient of color . what it adds), which begins with
    that of the light that passes everything. Both are used up.
    """
    k = wp.tid()
    draw_view_back(
        k,
        order,
        windows,
        centers,
        conics,
        shades,
        reaches,
        opacities,
        height,
        width,
        grad_colors.shape[1],
        MOST_ALPHA,
        LEAST_ALPHA,
        last,
        touched,
        grad_colors,
        passing,
        behind,
        grad_centers,
        grad_conics,
        grad_shades,
        grad_opacities,
    )
