"""Candidates of a graph search as single numbers that sort by distance, and the queues of them.

A key is an int64: the distance as float32 in an order-preserving form (32 bits), the row (31 bits)
and a mark for rows whose links were followed (the lowest bit). Equal distances sort by row.
"""

from __future__ import annotations

from typing import Any

import numba.core.types
import numba.extending
import numpy as np
from llvmlite import ir

from fanns.kernels.jit import Array, Integer, inner, kernel

# numba is only partly typed: what it gives is Any here.
intrinsic: Any = numba.extending.intrinsic
types: Any = numba.core.types

inlined = kernel(forceinline=True, no_cpython_wrapper=True)
"""For small functions in hot loops: a call that passes arrays costs 30 ns.

Where one of them branches around an array, numba may count references to it, which is as slow."""

FOLLOWED = 1
"""The mark of a key: the links of this row were followed."""


@intrinsic
def _bits_of(typingctx, value):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), codegen


@intrinsic
def _value_of(typingctx, bits):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), codegen


@inlined
def pack(distance: float, row: Integer) -> Integer:
    """The key of a row at a distance, unmarked."""
    bits = np.int64(_bits_of(np.float32(distance)))
    bits ^= (bits >> 31) & 0x7FFFFFFF  # negative floats sort backwards as integers
    return (bits << 32) | (np.int64(row) << 1)


@inlined
def distance_of(key: Integer) -> float:
    """The distance in a key, as float32."""
    bits = key >> 32
    bits ^= (bits >> 31) & 0x7FFFFFFF
    return _value_of(np.int32(bits))  # type: ignore[no-any-return]


@inlined
def row_of(key: Integer) -> Integer:
    """The row in a key."""
    return (key & 0xFFFFFFFF) >> 1


@inlined
def insert(pool: Array, size: Integer, key: Integer) -> Integer:
    """Put a key into the first `size` of a pool in rising order; gives its place.

    A full pool drops its last key; a key that is behind it gives the pool's length.
    """
    place = size
    if size == pool.shape[0]:
        place = size - 1
        if place < 0 or key >= pool[place]:
            return pool.shape[0]  # type: ignore[no-any-return]
    while place > 0 and pool[place - 1] >= key:
        pool[place] = pool[place - 1]
        place -= 1
    pool[place] = key
    return place


@inner
def heap_push(heap: Array, size: Integer, key: Integer) -> None:
    """Add a key to a min-heap of `size` keys."""
    place = size
    while place > 0:
        parent = (place - 1) >> 1
        if heap[parent] <= key:
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = key


@inner
def heap_pop(heap: Array, size: Integer) -> Integer:
    """Take the least key off a min-heap of `size` > 0 keys; gives it."""
    top, key = heap[0], heap[size - 1]
    last = size - 1
    place = np.int64(0)
    while True:
        child = 2 * place + 1
        if child >= last:
            break
        if child + 1 < last and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= key:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = key
    return top  # type: ignore[no-any-return]
