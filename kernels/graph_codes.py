"""What a walk measures rows by: int8 codes, or records of two or four bits a dimension.

A walk takes a tuple of arrays: `key_of(held, row)` is a row's key, `ask_for(held, row)` asks for
its code ahead, and the tuple's length tells the compiler which kind it is; functions as arguments
could not be cached. Estimates from records (`bits`) are coarser, but two cache lines instead of
six at 384 dimensions; what they start from is the key of the centre of the row's cluster. Keys are
divided by a unit that keeps them within float32's range and precision.
"""

from __future__ import annotations

from typing import Any

import numba.extending
import numpy as np

from fanns.kernels.bits import PARAMETERS as BITS_PARAMETERS
from fanns.kernels.bits import bits_key
from fanns.kernels.distance import COSINE, IP, L2
from fanns.kernels.graph_keys import inlined, pack
from fanns.kernels.int8 import CONSTANT, LENGTH, MULTIPLIER, OFFSET, code_key
from fanns.kernels.intrinsics import dot_u8i8, prefetch, prefetch_row
from fanns.kernels.jit import Array, Integer, inner

# numba is only partly typed: what it gives is Any here.
overload: Any = numba.extending.overload

INT8_HELD = 5  # arrays of `int8_key`; those of `record_key` are more
INVERSE = BITS_PARAMETERS  # place of 1 / unit, behind the parameters of a query for records


@inner
def unit_of(parameters: Array, metric: int, longest: float) -> float:
    """A bound on the size of keys, but for what all rows share."""
    unit = parameters[LENGTH] * longest
    if metric == L2:
        unit += longest * longest
    return unit if unit > 0.0 else 1.0


@inner
def floor_of(parameters: Array, metric: int, limits: Array) -> float:
    """What makes a distance of a key: |q - x|^2 under l2, else how far -<q', x> is from its least.

    limits float64[3] of `Int8Codes`; in units of keys.
    """
    least = parameters[CONSTANT]
    if metric == COSINE:
        least += parameters[LENGTH]
    elif metric == IP:
        least += parameters[LENGTH] * (limits[0] + limits[2])
    return least / unit_of(parameters, metric, limits[0])  # type: ignore[no-any-return]


@inner
def key_factors(parameters: Array, metric: int, longest: float, out: Array) -> None:
    """Factors of `int8_key`."""
    unit = unit_of(parameters, metric, longest)
    out[0] = -parameters[MULTIPLIER] / unit
    out[1] = 1.0 / unit if metric == L2 else 0.0
    out[2] = parameters[OFFSET]
    out[3] = -1.0 if metric == L2 else 0.0


@inlined
def int8_key(held: Any, row: Integer) -> Integer:
    """The key of a row by its int8 code, for a prepared query.

    held: codes, scale, square, the query's code, and factors float64[4]: of the product, of the
    row's square (0 unless l2), the codes' offset, and a mask of row numbers (-1 under l2, else 0)
    that keeps squares out of the way when they do not count. A branch here would cost 30 ns: numba
    then counts references to the arrays.
    """
    codes, scale, square, code, factors = held
    product = dot_u8i8(codes, row, code) - np.int64(factors[2])
    needed = row & np.int64(factors[3])
    return pack(factors[0] * (scale[row] * product) + factors[1] * square[needed], row)


@inlined
def record_key(held: Any, row: Integer) -> Integer:
    """The key of a row by its record of few bits, for a prepared query.

    held: records, factors (the same memory), the query's planes, parameters
    float64[BITS_PARAMETERS + 1], the keys float64[c] of the centres, and the cluster of each row.
    """
    records, factors, planes, parameters, around, cluster_of = held
    start = around[np.int64(cluster_of[row])]
    estimate = start + bits_key(records, factors, row, planes, parameters, 0.0)
    return pack(estimate * parameters[INVERSE], row)


# Which of two kinds is held is known when a kernel is compiled: numba takes the overloads, and the
# bodies in Python are never run.


def key_of(held: Any, row: Integer) -> Integer:
    """The key of a row, by what is held."""
    raise NotImplementedError("for kernels")


@overload(key_of, jit_options={"forceinline": True})
def _key_of(held, row):  # type: ignore[no-untyped-def]
    if len(held.types) == INT8_HELD:
        return lambda held, row: int8_key(held, row)
    return lambda held, row: record_key(held, row)


def ask_for(held: Any, row: Integer) -> None:
    """Ask for a row's code."""
    raise NotImplementedError("for kernels")


@inlined
def _ask_int8(held: Any, row: Integer) -> None:
    prefetch_row(held[0], row)


@inlined
def _ask_record(held: Any, row: Integer) -> None:
    prefetch_row(held[0], row)
    prefetch(held[5], row)


@overload(ask_for, jit_options={"forceinline": True})
def _ask_for(held, row):  # type: ignore[no-untyped-def]
    if len(held.types) == INT8_HELD:
        return lambda held, row: _ask_int8(held, row)
    return lambda held, row: _ask_record(held, row)


@inner
def around_query(
    codes: Array,
    scale: Array,
    square: Array,
    code: Array,
    parameters: Array,
    around: Array,
) -> None:
    """Keys float64[c] of what stands for each cluster, less what all rows share."""
    for cluster in range(around.shape[0]):
        key = code_key(codes, scale, square, np.int64(cluster), code, parameters)
        around[cluster] = key - parameters[CONSTANT]
