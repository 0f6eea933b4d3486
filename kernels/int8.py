"""Int8 codes: encoding rows and queries, the approximate distance between them, and its error.

Notation: x' = x / |x| under cosine, else x; z = x' - mean; the row's code c (minus 128) and scale s
give zc = s c, and `error` >= |z - zc|. A query gives y = q' - mean under l2, else q' (q / |q| under
cosine); its code and scale give yc, and f = y - yc. So

    <y, z> = <yc, zc> + <f, zc> + <y, z - zc>,

where the first term is an exact integer product times two scales, and by Cauchy and Schwarz the
others are at most |f| |zc| + |y| error. Keys (smaller is better) put <yc, zc> for <y, z>:

    l2           |q - x|^2  = |z|^2 + |y|^2 - 2 <y, z>     two times that error
    ip, cosine   -<q', x'>  = -<q', mean> - <q', z>        one time that error

Rounding adds at most about 3e-13 of the terms' size (sums of 32 lanes, d <= 65,536); 1e-12 is used.
"""

from __future__ import annotations

import math

import numpy as np

from fanns.kernels.distance import COSINE, L2
from fanns.kernels.intrinsics import dot_float, dot_u8i8, element
from fanns.kernels.jit import Array, Integer, inner, kernel

# Places in a prepared query's parameters, float64[PARAMETERS].
MULTIPLIER = 0  # query scale, twice that under l2
OFFSET = 1  # 128 * sum(query code): the codes are stored plus 128
CONSTANT = 2  # |y|^2 under l2, else -<q', mean>
WEIGHT = 3  # of the row's square: 1 under l2, else 0
RESIDUAL = 4  # |f|
LENGTH = 5  # |y|
PARAMETERS = 6

ROUND = 6755399441055744.0
"""1.5 * 2^52: adding and taking it away rounds a double to the nearest integer, ties to even."""


@inner
def _quantise(values: Array, scale: float, codes: Array, shift: Integer) -> float:
    """Write round(value / scale), cut to -127..127, plus shift; `values` become the residuals."""
    inverse = 1.0 / scale if scale > 0.0 else 0.0
    for j in range(values.shape[0]):
        code = (values[j] * inverse + ROUND) - ROUND
        code = -127.0 if code < -127.0 else code
        code = 127.0 if code > 127.0 else code
        codes[j] = np.int64(code) + shift
        values[j] -= code * scale
    return math.sqrt(dot_float(values, 0, values))


@inner
def _largest(values: Array) -> float:
    """The largest magnitude; four at a time, as LLVM does not vectorise a maximum."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    whole = values.shape[0] // 4 * 4
    for j in range(0, whole, 4):
        w, x, y, z = abs(values[j]), abs(values[j + 1]), abs(values[j + 2]), abs(values[j + 3])
        a = w if w > a else a
        b = x if x > b else b
        c = y if y > c else c
        d = z if z > d else d
    for j in range(whole, values.shape[0]):
        w = abs(values[j])
        a = w if w > a else a
    a, c = (b if b > a else a), (d if d > c else c)
    return c if c > a else a


@kernel
def encode(
    vectors: Array,
    norms: Array,
    metric: int,
    mean: Array,
    start: int,
    stop: int,
    codes: Array,
    scale: Array,
    square: Array,
    error: Array,
) -> None:
    """Encode rows start..stop: codes uint8[n, w], scale float32, square float64, error float32."""
    d = vectors.shape[1]
    z = np.empty(d, np.float64)
    for row in range(start, stop):
        inverse = 1.0 / norms[row] if metric == COSINE and norms[row] > 0.0 else 1.0
        for j in range(d):
            z[j] = element(vectors, row, j) * inverse - mean[j]
        square[row] = dot_float(z, 0, z)
        scale[row] = _largest(z) / 127.0
        left = _quantise(z, np.float64(scale[row]), codes[row], np.int64(128))
        for j in range(d, codes.shape[1]):
            codes[row, j] = 128
        error[row] = left * 1.000001  # float32 must not round it below the true length
        if error[row] < left:
            error[row] += np.float32(1.5e-45)


@inner
def prepare_query(query: Array, metric: int, mean: Array, code: Array, parameters: Array) -> None:
    """Encode a query float32[d] into code int8[w] and parameters float64[PARAMETERS]."""
    d = query.shape[0]
    y = np.empty(d, np.float64)
    inverse, shift = 1.0, 0.0
    if metric == COSINE:
        norm = math.sqrt(dot_float(query, 0, query))
        inverse = 1.0 / norm if norm > 0.0 else 1.0
    if metric == L2:
        shift = 1.0
    for j in range(d):
        y[j] = query[j] * inverse - mean[j] * shift
    squared = dot_float(y, 0, y)
    scale = _largest(y) / 127.0
    parameters[WEIGHT] = 1.0 if metric == L2 else 0.0
    parameters[MULTIPLIER] = 2.0 * scale if metric == L2 else scale
    parameters[CONSTANT] = squared if metric == L2 else -dot_float(y, 0, mean)
    parameters[LENGTH] = math.sqrt(squared)
    parameters[RESIDUAL] = _quantise(y, scale, code, np.int64(0))
    total = 0
    for j in range(d):
        total += code[j]
    for j in range(d, code.shape[0]):
        code[j] = 0
    parameters[OFFSET] = 128.0 * total


@inner
def code_key(
    codes: Array, scale: Array, square: Array, row: Integer, code: Array, parameters: Array
) -> float:
    """The approximate distance to rank a row by (module docstring), for a prepared query."""
    product = dot_u8i8(codes, row, code) - parameters[OFFSET]
    return (  # type: ignore[no-any-return]
        parameters[WEIGHT] * square[row]
        + parameters[CONSTANT]
        - parameters[MULTIPLIER] * scale[row] * product
    )


@inner
def key_error(parameters: Array, longest: float, error: float, mean_length: float) -> float:
    """Most that a key can differ from the value it stands for, over rows within these limits.

    `longest` >= |zc| and >= |z|, `error` >= |z - zc|, `mean_length` = |mean|.
    """
    times = 1.0 + parameters[WEIGHT]
    length = parameters[LENGTH]
    bound = times * (parameters[RESIDUAL] * longest + length * error)
    largest = length + longest + mean_length
    return bound + 1e-12 * largest * largest  # type: ignore[no-any-return]


@inner
def exact_key(metric: int, distance: float) -> float:
    """A full-precision distance in the units of keys."""
    if metric == L2:
        return distance * distance
    return distance - 1.0 if metric == COSINE else distance
