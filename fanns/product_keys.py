"""Product keys: the exact best of c_a * c_b keys that are sums of two half keys."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fanns.errors import InputError
from fanns.kernels.distance import METRICS
from fanns.kernels.jit import Array, frozen
from fanns.kernels.product_keys import COUNTERS, top_keys, top_keys_masked
from fanns.key_hits import KeyHits
from fanns.key_masks import KeyMask, as_masks
from fanns.key_usage import KeyUsage, Reinitialised, reseed_dead
from fanns.threads import run_chunks
from fanns.vectors import accept_queries, accept_vectors, check_vectors

CHUNK = 16
"""Queries of one task; what threads share out."""

STEP_NS, SORT_NS = 60.0, 15.0
WORD_NS, PASSING_NS = 3.0, 0.2
LISTED_NS = 1.0
"""Cost of a sum taken in order and of a half key sorted; of 64 bits of a mask and each that is set
(few of which are looked at: most half keys are soon ruled out); of a passing key in a list. Only
which of two exact ways is taken depends on these, and on their ratios alone."""

_NO_WORDS = frozen(np.empty(0, np.uint64))
_NO_KEYS = frozen(np.empty(0, np.int64))


class _Way(NamedTuple):
    """A mask as the kernel takes it, half keys to sort first, and most sums to form in order."""

    words: Array
    keys: Array
    depth: int
    max_sums: int


class ProductKeys:
    """All pairs of two tables of half keys, and the exact best of them for a query.

    The key of half keys i and j has number i * c_b + j and stands for their concatenation, so the
    score is <q_a, a_i> + <q_b, b_j> (metric "ip") and the distance under "l2" the root of
    |q_a - a_i|^2 + |q_b - b_j|^2. A look-up takes O((c_a + c_b) d + k log k) instead of
    O(c_a c_b d): the search of product-key memories (Lample et al. 2019) and of the inverted
    multi-index (Babenko and Lempitsky 2012).

    Attributes:
        keys_a, keys_b: float32[c_a, d_a] and float32[c_b, d_b], read-only.
        shape: (c_a, c_b); `len()` is their product.
        usage: `KeyUsage` when counting was asked for, else None.
    """

    def __init__(
        self,
        keys_a: npt.ArrayLike,
        keys_b: npt.ArrayLike,
        metric: str = "ip",
        usage: str | None = None,
    ) -> None:
        """Hold two tables of half keys, float32 (or narrower, or float64, which is rounded).

        Args:
            keys_a, keys_b: [c_a, d_a] and [c_b, d_b]; a float32 array is not copied.
            metric: "ip" or "l2".
            usage: "halves" counts how often each half key was answered, "keys" each key as well
                (8 bytes a key); None counts nothing.

        Raises:
            InputError: no keys, NaN or infinity, another type, an unknown metric or usage.
        """
        if metric not in ("ip", "l2"):
            raise InputError(f'metric: expected "ip" or "l2", got {metric!r}')
        self.metric = metric
        self._number = METRICS[metric]
        self._hold(_accept(keys_a, "keys_a"), _accept(keys_b, "keys_b"))
        self.usage = None if usage is None else KeyUsage(self.shape, usage)

    def _hold(self, keys_a: Array, keys_b: Array) -> None:
        self.keys_a, self.keys_b = frozen(keys_a), frozen(keys_b)
        self.shape = (len(keys_a), len(keys_b))
        self.dimensions = keys_a.shape[1] + keys_b.shape[1]

    def __len__(self) -> int:
        return self.shape[0] * self.shape[1]

    def __repr__(self) -> str:
        (a, b), d = self.shape, (self.keys_a.shape[1], self.keys_b.shape[1])
        return f"<ProductKeys: {a} x {b} keys of {d[0]} + {d[1]} dimensions, {self.metric}>"

    def mask(self, given: Any) -> KeyMask:
        """A mask checked and packed once, to be used often: `topk(queries, k, mask=made)`.

        `given` is bool[c_a * c_b] or bool[c_a, c_b], a bitmap (uint64, bit r % 64 of word r // 64
        for key r) or an array of key numbers (another integer type; any order, repeats allowed).
        """
        return KeyMask(given, self.shape)

    def topk(
        self,
        queries: npt.ArrayLike,
        k: int,
        mask: Any = None,
        threads: int | None = 1,
        record: bool | None = None,
    ) -> KeyHits:
        """The k best keys of each query, exactly: by (distance, key number).

        Without a mask sums are formed in multi-sequence order. With one they are until k pass,
        or the passing keys are scanned, whichever is predicted to be cheaper; a walk that takes
        longer than the scan would have taken ends in the scan. The answer is the same either way
        and for any number of threads.

        Args:
            queries: float32[m, d_a + d_b], or one query float32[d_a + d_b].
            k: how many; a query gets min(k, passing keys).
            mask: None, what `mask` takes or made, or a list of such, one per query (also
                bool[m, c_a * c_b]).
            threads: how many work; None = all processors.
            record: count the answers in `usage`; None = whenever usage is counted.

        Raises:
            InputError: k < 1, queries of another dimension or type, NaN or infinity, a mask that
                does not fit, or recording without usage.
        """
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise InputError(f"k: expected a whole number of at least 1, got {k!r}")
        wanted = accept_queries(queries, self.dimensions, self._number)
        masks = as_masks(mask, self.shape, len(wanted))
        common = len(masks) == 1
        sizes = [min(k, len(self) if one is None else one.count) for one in masks]
        rows = len(wanted) if common else 1
        parts = [(np.empty((rows, size), np.int64), np.empty((rows, size))) for size in sizes]
        ways = [self._way(size, one, rows) for size, one in zip(sizes, masks, strict=True)]
        work = np.zeros((len(wanted), COUNTERS), np.int64)

        def task(start: int, stop: int) -> None:
            if common:
                (ids, values), part = parts[0], slice(start, stop)
                self._search(wanted[part], ways[0], ids[part], values[part], work[part])
                return
            for number in range(start, stop):
                part = slice(number, number + 1)
                self._search(wanted[part], ways[number], *parts[number], work[part])

        run_chunks(task, len(wanted), CHUNK, threads)
        hits = KeyHits(parts, work, self.metric)
        if record or (record is None and self.usage is not None):
            self.record(hits.ids)
        return hits

    def _search(
        self, queries: Array, way: _Way | None, ids: Array, values: Array, work: Array
    ) -> None:
        """Fill ids int64[m, k], values float64[m, k] and work int64[m, COUNTERS]."""
        given = (queries, self._number, self.keys_a, self.keys_b)
        if not ids.size:
            return
        if way is None:
            top_keys(*given, ids, values, work)
        else:
            top_keys_masked(*given, *way, ids, values, work)

    def _way(self, k: int, mask: KeyMask | None, queries: int) -> _Way | None:
        """How `queries` queries find k passing keys; None where all pass.

        If keys pass without regard to the query, k / share sums are needed. A walk may cost as
        much as the scan that follows it when it fails.
        """
        if mask is None or mask.count == len(self):
            return None
        sums = k * len(self) / max(mask.count, 1)
        depth = min(int(4 * math.sqrt(sums)) + 16, max(self.shape))
        walk = sums * STEP_NS + sum(min(depth, c) for c in self.shape) * SORT_NS
        if mask.has_words:
            scan = len(self) / 64 * WORD_NS + mask.count * PASSING_NS
        else:
            scan = mask.count * LISTED_NS
            walk += (len(self) / 64 + scan) / max(queries, 1)  # a bitmap is made, once
        if walk < scan:
            return _Way(mask.words(), _NO_KEYS, depth, math.ceil(scan / STEP_NS))
        if mask.has_words:
            return _Way(mask.words(), _NO_KEYS, 0, 0)
        return _Way(_NO_WORDS, mask.keys(), 0, 0)

    def record(self, ids: npt.ArrayLike) -> None:
        """Count answered key numbers in `usage`.

        Raises:
            InputError: usage is not counted, or a number is outside the table.
        """
        self._counted().record(ids)

    def reinitialise_dead(
        self, threshold: float = 0, seed: int = 0, noise: float = 0.01
    ) -> Reinitialised:
        """Replace half keys answered at most `threshold` times by noisy copies of used ones.

        Donors are drawn in proportion to their use, and a copy differs from its donor by Gaussian
        noise of `noise` times the donor's length (Karimov et al. 2021). `keys_a` and `keys_b` are
        new arrays afterwards, and usage counts from zero. A layer copies the donors' values.

        Raises:
            InputError: usage is not counted.
        """
        usage, rng = self._counted(), np.random.default_rng(seed)
        keys_a, dead_a, donors_a = reseed_dead(self.keys_a, usage.a, threshold, noise, rng)
        keys_b, dead_b, donors_b = reseed_dead(self.keys_b, usage.b, threshold, noise, rng)
        self._hold(keys_a, keys_b)
        usage.reset()
        return Reinitialised(dead_a, donors_a, dead_b, donors_b)

    def _counted(self) -> KeyUsage:
        if self.usage is None:
            raise InputError('usage is not counted: make ProductKeys(..., usage="halves")')
        return self.usage


def _accept(given: npt.ArrayLike, what: str) -> Array:
    """A table of half keys as float32[c, d], checked."""
    keys = accept_vectors(given, what)
    if len(keys) == 0:
        raise InputError(f"{what}: expected at least one half key")
    check_vectors(keys, METRICS["ip"], name=f"row {{}} of {what}".format)
    return np.ascontiguousarray(keys, np.float32)
