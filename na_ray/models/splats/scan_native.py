"""`scan_kernels` in C++: the pixels of an ellipse a row at a time, eight neighbors at once, in vectors of eight that
become whatever the processor has."""

from typing import no_type_check

import warp as wp

LANES = 8
"""Pixels that are computed at once."""

_VECTORS = r"""
    #pragma clang fp contract(fast)
    typedef float lanes __attribute__((vector_size(32)));
    typedef int marks __attribute__((vector_size(32)));
    typedef long long quads __attribute__((vector_size(32)));
    const lanes along = {0.0f, 1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f, 7.0f};
    const marks number = {0, 1, 2, 3, 4, 5, 6, 7};
    const marks none = {0, 0, 0, 0, 0, 0, 0, 0};
    const lanes zero = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    auto load = [](const float* from) { lanes x; __builtin_memcpy(&x, from, sizeof x); return x; };
    auto store = [](float* to, lanes x) { __builtin_memcpy(to, &x, sizeof x); };
    auto any = [](marks x) { quads q = (quads)x; return ((q[0] | q[1]) | (q[2] | q[3])) != 0; };
    auto sum = [](lanes x) { return ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7])); };
    // e^x for x <= 0: 2^n by the exponent's bits, times Taylor's polynomial of what is left, within 1e-7.
    auto exponential = [&](lanes x) {
        x = x > -80.0f ? x : zero - 80.0f;
        lanes n = x * 1.44269504f + 12582912.0f;  // so large that its last bit counts wholes
        const marks power = ((marks)n << 23) + 0x3f800000;
        n = n - 12582912.0f;
        const lanes r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts, the first of few bits
        const lanes rr = r * r;
        const lanes high = (r * (1.0f / 720.0f) + 1.0f / 120.0f) * rr + (r * (1.0f / 24.0f) + 1.0f / 6.0f);
        return (high * (rr * r) + (rr * 0.5f + (r + 1.0f))) * (lanes)power;
    };
"""

# A view's window, and what its next Gaussians need, called for while the one before is drawn.
_VIEW = r"""
    const int n = order.shape[1];
    auto fetch = [&](int place) {
        if (place < 0 || place >= n) return;
        const long long i = order.data[(long long)k * n + place], at = (long long)k * n + i;
        __builtin_prefetch(&touched.data[at]);
        __builtin_prefetch(&reaches.data[at]);
        __builtin_prefetch(&centers.data[at]);
        __builtin_prefetch(&conics.data[at]);
        __builtin_prefetch(&shades.data[at]);
        __builtin_prefetch(&opacities.data[i]);
    };
    const int left = windows.data[4 * k], top = windows.data[4 * k + 1];
    const int across = windows.data[4 * k + 2], down = windows.data[4 * k + 3];
"""

# What both ways have in common: the rows of an ellipse and, in each, eights of columns. `half` the width of a row where
# p (dx - m dy)^2 + r dy^2 = level, a little generously; where the whole ellipse is narrow, that of all of it.
_ROWS = r"""
        const float x = centers.data[at][0], y = centers.data[at][1];
        const float p = conics.data[at][0], m = conics.data[at][1], r = conics.data[at][2];
        const float opacity = opacities.data[i];
        const float s0 = shades.data[at][0], s1 = shades.data[at][1], s2 = shades.data[at][2];
        const bool narrow = reaches.data[at][0] < 3.5f;
        const float level = narrow ? 0.0f : 2.0f * wp::log(opacity / least);
        float half = reaches.data[at][0];
        int begin = (int)__builtin_ceilf(x - half - 0.001f) - left;
        int end = (int)__builtin_floorf(x + half + 0.001f) - left;
        const int above = (int)__builtin_ceilf(y - reaches.data[at][1] - 0.001f) - top;
        const int below = (int)__builtin_floorf(y + reaches.data[at][1] + 0.001f) - top;
        begin = begin > 0 ? begin : 0;
        end = end < across ? end : across - 1;
        for (int row = above > 0 ? above : 0; row <= below && row < down; ++row) {
            const float dy = (float)(row + top) - y;
            const float middle = x + m * dy;
            const float fall = r * dy * dy;
            if (!narrow) {
                if (level < fall) continue;
                half = __builtin_sqrtf((level - fall) / p) + 0.001f;
                begin = (int)__builtin_ceilf(middle - half) - left;
                end = (int)__builtin_floorf(middle + half) - left;
                begin = begin > 0 ? begin : 0;
                end = end < across ? end : across - 1;
            }
            const long long base = ((long long)k * height + row) * width;
            for (int column = begin; column <= end; column += 8) {
                const long long pixel = base + column;
                const lanes e = along + ((float)(column + left) - middle);
                const lanes weight = exponential(-0.5f * (p * e * e + fall));
                lanes alpha = opacity * weight;
                alpha = alpha < most ? alpha : zero + most;
                marks open = (number <= end - column) & (alpha >= least);
"""

_DRAW = (
    _VECTORS
    + _VIEW
    + r"""
    for (int place = 0; place < n; ++place) {
        fetch(place + 6);
        const long long i = order.data[(long long)k * n + place], at = (long long)k * n + i;
        if (!(reaches.data[at][1] >= 0.0f)) continue;
        marks changed = none;
"""
    + _ROWS
    + r"""
                const lanes t = load(passing.data + pixel);
                open = open & (t >= opaque);
                if (!any(open)) continue;
                changed = changed | open;
                const lanes share = open ? t * alpha : zero;
                store(colors.data + pixel, load(colors.data + pixel) + share * s0);
                store(colors.data + plane + pixel, load(colors.data + plane + pixel) + share * s1);
                store(colors.data + 2 * plane + pixel, load(colors.data + 2 * plane + pixel) + share * s2);
                if (with_depth) store(depth.data + pixel, load(depth.data + pixel) + share * depths.data[at]);
                store(passing.data + pixel, open ? t * (1.0f - alpha) : t);
                marks before;
                __builtin_memcpy(&before, last.data + pixel, sizeof before);
                before = open ? none + place : before;
                __builtin_memcpy(last.data + pixel, &before, sizeof before);
            }
        }
        touched.data[at] = any(changed);
    }
"""
)

_DRAW_BACK = (
    _VECTORS
    + _VIEW
    + r"""
    for (int place = n - 1; place >= 0; --place) {
        fetch(place - 6);
        const long long i = order.data[(long long)k * n + place], at = (long long)k * n + i;
        if (touched.data[at] == 0) continue;
        lanes by_weight = zero, by_s0 = zero, by_s1 = zero, by_s2 = zero;
        lanes by_y = zero, by_x = zero, by_xx = zero, by_xy = zero, by_yy = zero;
"""
    + _ROWS
    + r"""
                marks final;
                __builtin_memcpy(&final, last.data + pixel, sizeof final);
                open = open & (final >= place);
                if (!any(open)) continue;
                const lanes g0 = load(grad_colors.data + pixel), g1 = load(grad_colors.data + plane + pixel);
                const lanes g2 = load(grad_colors.data + 2 * plane + pixel);
                const lanes light = load(passing.data + pixel), rest = load(behind.data + pixel);
                const lanes inverse = 1.0f / (1.0f - alpha);
                const lanes t = light * inverse;
                const lanes share = open ? t * alpha : zero;
                by_s0 += share * g0;
                by_s1 += share * g1;
                by_s2 += share * g2;
                const lanes own = g0 * s0 + g1 * s1 + g2 * s2;
                store(behind.data + pixel, open ? rest + share * own : rest);
                store(passing.data + pixel, open ? t : light);
                const lanes by_alpha = (open & (opacity * weight < most)) ? t * own - rest * inverse : zero;
                const lanes by_power = by_alpha * alpha, pe = p * e;
                by_weight += by_alpha * weight;
                by_x += by_power * pe;
                by_y += by_power * dy;
                by_xx += by_power * (e * e);
                by_xy += by_power * pe * dy;
                by_yy += by_power * (dy * dy);
            }
        }
        grad_centers.data[at] = {sum(by_x), r * sum(by_y) - m * sum(by_x)};
        grad_conics.data[at] = {-0.5f * sum(by_xx), sum(by_xy), -0.5f * sum(by_yy)};
        grad_shades.data[at] = {sum(by_s0), sum(by_s1), sum(by_s2)};
        grad_opacities.data[at] = sum(by_weight);
    }
"""
)


@wp.func_native(_DRAW)
@no_type_check
def draw_view(
    k: wp.int32,
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
    plane: wp.int32,
    with_depth: wp.bool,
    opaque: wp.float32,
    most: wp.float32,
    least: wp.float32,
    colors: wp.array2d[wp.float32],
    passing: wp.array[wp.float32],
    depth: wp.array[wp.float32],
    last: wp.array[wp.int32],
    touched: wp.array2d[wp.int32],
) -> None:
    """`draw_in_order` for a view."""
    ...


@wp.func_native(_DRAW_BACK)
@no_type_check
def draw_view_back(
    k: wp.int32,
    order: wp.array2d[wp.int64],
    windows: wp.array2d[wp.int32],
    centers: wp.array2d[wp.vec2],
    conics: wp.array2d[wp.vec3],
    shades: wp.array2d[wp.vec3],
    reaches: wp.array2d[wp.vec2],
    opacities: wp.array[wp.float32],
    height: wp.int32,
    width: wp.int32,
    plane: wp.int32,
    most: wp.float32,
    least: wp.float32,
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
    """`draw_in_order_back` for a view."""
    ...
