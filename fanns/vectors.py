"""Vectors of a segment in full precision, and the checks at the door."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fanns.errors import InputError
from fanns.kernels.distance import COSINE, exact_view, query_norm, row_norms
from fanns.kernels.jit import Array, frozen
from fanns.threads import run_chunks

DENSE = 0
"""Kind of a store whose rows are written out; kernels branch on the kind outside their loops."""

MAX_DIMENSIONS = 65_536
"""Above this, int8 dot products could overflow 32 bits."""

CHUNK = 4096
VECTOR_TYPES = ("float32", "float16", "int8")


class VectorStore(Protocol):
    """Where a segment's rows come from: written out (dense), or computed from a smaller table."""

    @property
    def kind(self) -> int: ...
    @property
    def n(self) -> int: ...
    @property
    def d(self) -> int: ...
    @property
    def nbytes(self) -> int: ...

    def decode(self, rows: Array) -> npt.NDArray[np.float32]:
        """The vectors of some rows, as float32[len(rows), d]."""

    def arrays(self) -> dict[str, Array]:
        """What to write down."""


class DenseVectors:
    """Rows as given: float32, float16 or int8, C-contiguous and read-only.

    `vectors` [n, d] is the array, `exact` the same as kernels take it (float16 as uint16), and
    `norms` float64[n] the lengths.
    """

    kind = DENSE

    def __init__(self, vectors: Array, norms: Array, metric: int) -> None:
        self.vectors = frozen(vectors)
        self.exact = frozen(exact_view(self.vectors))
        self.norms = frozen(norms)
        self.metric = metric
        self.n, self.d = self.vectors.shape

    @classmethod
    def from_array(cls, array: npt.ArrayLike, metric: int, threads: int | None = 1) -> DenseVectors:
        """Check an array (`accept_vectors`, `check_vectors`) and hold it, copied if need be."""
        vectors = accept_vectors(array)
        return cls(vectors, check_vectors(vectors, metric, threads), metric)

    @classmethod
    def load(cls, arrays: Mapping[str, Array], metric: int) -> DenseVectors:
        """Hold what `arrays` gave, in memory or mapped; nothing is read."""
        return cls(arrays["vectors"], arrays["norms"], metric)

    def arrays(self) -> dict[str, Array]:
        return {"vectors": self.vectors, "norms": self.norms}

    @property
    def nbytes(self) -> int:
        return self.vectors.nbytes + self.norms.nbytes

    def decode(self, rows: Array) -> npt.NDArray[np.float32]:
        """The vectors of some rows, as float32[len(rows), d]."""
        return self.vectors[rows].astype(np.float32)

    def take(self, order: Array) -> DenseVectors:
        """The same rows in another order (or some of them)."""
        return DenseVectors(self.vectors[order], self.norms[order], self.metric)


def accept_vectors(array: npt.ArrayLike, what: str = "vectors") -> Array:
    """An array of vectors in a type that can be held: float32, float16 or int8, [n, d].

    float64 is rounded to float32. Raises InputError for another type or shape, and for float64
    values outside float32's range.
    """
    given = np.asarray(array)
    if given.ndim != 2:
        raise InputError(f"{what}: expected a 2-dimensional array [rows, d], got {given.shape}")
    if not 1 <= given.shape[1] <= MAX_DIMENSIONS:
        raise InputError(f"{what}: {given.shape[1]} dimensions; expected 1 to {MAX_DIMENSIONS:,}")
    if given.dtype == np.float64:
        return _narrow(given, what)
    native = given.dtype.newbyteorder("=")
    if native.name not in VECTOR_TYPES:
        raise InputError(
            f"{what}: expected float32, float16 or int8 (float64 is rounded), got {given.dtype}; "
            "convert with .astype(numpy.float32)"
        )
    return np.ascontiguousarray(given, dtype=native)


def _narrow(given: Array, what: str) -> Array:
    """float64 to float32; NaN and infinity pass here and are found by `check_vectors`."""
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(given, dtype=np.float32)
    wrong = np.flatnonzero((np.isinf(result) & np.isfinite(given)).any(axis=1))
    if wrong.size:
        raise InputError(
            f"{what}: row {wrong[0]} holds a value beyond float32's range "
            f"({wrong.size} such {_rows(wrong.size)}); scale the vectors"
        )
    return result


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"


def check_vectors(
    vectors: Array,
    metric: int,
    threads: int | None = 1,
    name: Callable[[int], str] = "row {}".format,
) -> npt.NDArray[np.float64]:
    """Lengths of the rows, float64[n]; refuses NaN, infinity, and zero vectors under cosine.

    One pass at memory speed: a row is finite when its length in double precision is. Raises
    InputError that names the first bad row (`name(row)` says how) and counts all of them.
    """
    view = frozen(exact_view(np.ascontiguousarray(vectors)))
    norms = np.empty(len(view), np.float64)
    zeros = np.zeros(view.shape[1], np.float32)

    def measure(start: int, stop: int) -> None:
        row_norms(view[start:stop], zeros, norms[start:stop])
        if vectors.dtype == np.float16:
            special = ((view[start:stop] & 0x7C00) == 0x7C00).any(axis=1)
            norms[start:stop][special] = math.nan

    run_chunks(measure, len(view), CHUNK, threads)
    wrong = np.flatnonzero(~np.isfinite(norms))
    if wrong.size:
        nan = bool(np.isnan(vectors[wrong[0]]).any())
        raise InputError(
            f"the vector of {name(int(wrong[0]))} holds {'NaN' if nan else 'infinity'} "
            f"({wrong.size} {_rows(wrong.size)} hold NaN or infinity); remove or repair them"
        )
    if metric == COSINE:
        wrong = np.flatnonzero(norms == 0.0)
        if wrong.size:
            raise InputError(
                f"the vector of {name(int(wrong[0]))} is zero ({wrong.size} {_rows(wrong.size)}), "
                'and cosine has no direction for it; remove them or use metric="l2" or "ip"'
            )
    return norms


def accept_queries(queries: Any, d: int, metric: int) -> npt.NDArray[np.float32]:
    """Queries as float32[m, d], C-contiguous; one query float[d] becomes [1, d].

    Raises InputError for another dimension or type, NaN, infinity, or zero under cosine.
    """
    if isinstance(queries, np.ndarray):
        queries = np.asarray(queries)  # not a memmap, whose every view costs a microsecond
    if isinstance(queries, np.ndarray) and queries.dtype == np.float32 and queries.shape == (d,):
        if not queries.flags.carray:
            queries = queries.copy()  # kernels would be compiled once more for a read-only query
        # The common case, in a third of the time.
        if queries.flags.c_contiguous and 0.0 < query_norm(queries) < math.inf:
            one: npt.NDArray[np.float32] = queries.reshape(1, d)
            return one
    try:
        given = queries if isinstance(queries, np.ndarray) else np.asarray(queries)
    except (TypeError, ValueError) as error:
        raise InputError(f"query: expected an array of numbers [d] or [m, d]: {error}") from error
    if given.ndim == 1:
        given = given.reshape(1, -1)
    if given.ndim != 2 or given.shape[1] != d:
        raise InputError(f"query: expected {d} dimensions, got an array of shape {given.shape}")
    if given.dtype == np.float32:
        result = np.ascontiguousarray(given)
    elif given.dtype.kind not in "fiu":
        raise InputError(f"query: expected numbers, got {given.dtype}")
    else:
        with np.errstate(over="ignore"):
            result = np.ascontiguousarray(given, dtype=np.float32)
    if not result.flags.writeable:
        result = result.copy()  # kernels would be compiled once more for a read-only query
    for number in range(len(result)):
        length = query_norm(result[number])
        if not math.isfinite(length):
            raise InputError(
                f"query {number} holds NaN, infinity or a value beyond float32's range"
            )
        if length == 0.0 and metric == COSINE:
            raise InputError(f"query {number} is zero, and cosine has no direction for it")
    return result
