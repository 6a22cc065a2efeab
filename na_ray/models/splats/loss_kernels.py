"""The loss of a picture and its gradient on a CPU: one pass down the rows for SSIM, one for what follows from it.

Sums over windows are vertical first, then along the row, three numbers a pixel: in C++, whose plain loops over a row
become vectors. On a GPU `loss` does the same with torch.
"""

from typing import no_type_check

import warp as wp

_LOSS = r"""
    #pragma clang fp contract(fast)
    const int height = color.shape[0], length = color.shape[1], rows = height - 6, columns = length - 18;
    const bool similar = ssim_weight != 0.0f && rows > 0 && columns > 0;
    const float pixels = 1.0f / ((float)height * (float)length);
    const float windows = similar ? 1.0f / ((float)rows * (float)columns) : 0.0f;
    auto row_of = [](const wp::array_t<wp::float32>& of, int row) {
        return (float*)((char*)of.data + (long long)row * of.strides[0]);
    };
    double total = 0.0, absolute = 0.0, squared = 0.0;
    float* __restrict__ sx = row_of(scratch, 0);
    float* __restrict__ sy = row_of(scratch, 1);
    float* __restrict__ sxx = row_of(scratch, 2);
    float* __restrict__ syy = row_of(scratch, 3);
    float* __restrict__ sxy = row_of(scratch, 4);
    float* __restrict__ values = row_of(scratch, 5);
    for (int row = 0; similar && row < rows; ++row) {
        for (int j = 0; j < length; ++j) sx[j] = sy[j] = sxx[j] = syy[j] = sxy[j] = 0.0f;
        for (int i = row; i < row + 7; ++i) {
            const float* __restrict__ x = row_of(color, i);
            const float* __restrict__ y = row_of(target, i);
            for (int j = 0; j < length; ++j) {
                sx[j] += x[j];
                sy[j] += y[j];
                sxx[j] += x[j] * x[j];
                syy[j] += y[j] * y[j];
                sxy[j] += x[j] * y[j];
            }
        }
        float* __restrict__ by_x = row_of(slopes, row);
        float* __restrict__ by_xx = row_of(slopes, rows + row);
        float* __restrict__ by_xy = row_of(slopes, 2 * rows + row);
        const float share = 1.0f / 49.0f;
        for (int j = 0; j < columns; ++j) {
            float mx = 0.0f, my = 0.0f, xx = 0.0f, yy = 0.0f, xy = 0.0f;
            for (int c = 0; c < 21; c += 3) {
                mx += sx[j + c];
                my += sy[j + c];
                xx += sxx[j + c];
                yy += syy[j + c];
                xy += sxy[j + c];
            }
            mx *= share;
            my *= share;
            const float across = mx * my, squares = mx * mx + my * my;
            const float above1 = 2.0f * across + c1, above2 = 2.0f * (xy * share - across) + c2;
            const float below1 = squares + c1, below2 = (xx + yy) * share - squares + c2;
            const float inverse = 1.0f / (below1 * below2);
            const float value = above1 * above2 * inverse;
            values[j] = value;
            by_xy[j] = 2.0f * above1 * inverse;
            by_xx[j] = -value * below1 * inverse;
            by_x[j] = 2.0f * (my * (above2 - above1) - mx * value * (below2 - below1)) * inverse;
        }
        for (int j = 0; j < columns; ++j) total += values[j];
    }
    // The windows of a row, 18 numbers later, with nothing before the first and behind the last.
    float* __restrict__ tx = row_of(scratch, 0);
    float* __restrict__ txx = row_of(scratch, 1);
    float* __restrict__ txy = row_of(scratch, 2);
    const float weight = ssim_weight * windows / 49.0f;
    for (int row = 0; row < height; ++row) {
        const float* __restrict__ x = row_of(color, row);
        const float* __restrict__ y = row_of(target, row);
        float* __restrict__ found = row_of(gradient, row);
        for (int j = 0; j < length; ++j) {
            const float d = x[j] - y[j];
            found[j] = pixels * (l1 * (float)((d > 0.0f) - (d < 0.0f)) + 2.0f * l2 * d);
            values[j] = d;
        }
        for (int j = 0; j < length; ++j) {
            absolute += __builtin_fabsf(values[j]);
            squared += values[j] * values[j];
        }
        if (!similar) continue;
        for (int j = 0; j < length + 18; ++j) tx[j] = txx[j] = txy[j] = 0.0f;
        for (int i = row < 6 ? 0 : row - 6; i <= row && i < rows; ++i) {
            const float* __restrict__ by_x = row_of(slopes, i);
            const float* __restrict__ by_xx = row_of(slopes, rows + i);
            const float* __restrict__ by_xy = row_of(slopes, 2 * rows + i);
            for (int j = 0; j < columns; ++j) {
                tx[18 + j] += by_x[j];
                txx[18 + j] += by_xx[j];
                txy[18 + j] += by_xy[j];
            }
        }
        for (int j = 0; j < length; ++j) {
            float a = 0.0f, b = 0.0f, c = 0.0f;
            for (int s = 0; s < 21; s += 3) {
                a += tx[j + s];
                b += txx[j + s];
                c += txy[j + s];
            }
            found[j] -= weight * (a + 2.0f * x[j] * b + y[j] * c);
        }
    }
    const double part = similar ? ssim_weight * (1.0 - total * windows) : 0.0;
    result.data[0] = (float)(l1 * absolute * pixels + l2 * squared * pixels + part);
    result.data[1] = (float)(squared * pixels);
"""


@wp.func_native(_LOSS)
@no_type_check
def loss_of(
    color: wp.array2d[wp.float32],
    target: wp.array2d[wp.float32],
    l1: wp.float32,
    l2: wp.float32,
    ssim_weight: wp.float32,
    c1: wp.float32,
    c2: wp.float32,
    scratch: wp.array2d[wp.float32],
    slopes: wp.array2d[wp.float32],
    gradient: wp.array2d[wp.float32],
    result: wp.array[wp.float32],
) -> None:
    """`picture_loss` as one thread does it."""
    ...


@wp.kernel(enable_backward=False)
@no_type_check
def picture_loss(
    color: wp.array2d[wp.float32],
    target: wp.array2d[wp.float32],
    l1: wp.float32,
    l2: wp.float32,
    ssim_weight: wp.float32,
    c1: wp.float32,
    c2: wp.float32,
    scratch: wp.array2d[wp.float32],
    slopes: wp.array2d[wp.float32],
    gradient: wp.array2d[wp.float32],
    result: wp.array[wp.float32],
) -> None:
    """The loss and the mean squared difference (`result`) of pictures (h, 3 w), and the loss's gradient (h, 3 w).

    `scratch` (6, 3 w + 18) and `slopes` (3 h, 3 w) are room to compute in.
    """
    loss_of(color, target, l1, l2, ssim_weight, c1, c2, scratch, slopes, gradient, result)
