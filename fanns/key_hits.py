"""What a product-key look-up returns: the best keys of each query, end to end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

from fanns.errors import InputError
from fanns.hits import score_of

WORK = ("products", "sums", "checks")
"""Columns of `KeyHits.work`: half keys compared, sums formed, bits of the mask looked at."""


class KeyHit(NamedTuple):
    """The best keys of one query, best first."""

    ids: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]


class KeyHits(Sequence[KeyHit]):
    """The best keys of m queries: a sequence of `KeyHit`, with their keys end to end (CSR).

    Each query has exactly min(k, passing keys) of them, never padded.

    Attributes:
        ids: int64[total]; key numbers i * c_b + j, by (distance, number) within a query.
        distances: float64[total]; smaller is nearer: ip `-<q, key>`, l2 Euclidean.
        offsets: int64[m + 1]; the keys of query i are `offsets[i]:offsets[i + 1]`.
        work: int64[m, 3]; see `WORK`.
        metric: "ip" or "l2".
    """

    def __init__(
        self,
        parts: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]],
        work: npt.NDArray[np.int64],
        metric: str,
    ) -> None:
        """From (ids, distances) [m_i, k_i] of runs of queries, and the work of all."""
        self.ids = np.concatenate([ids.ravel() for ids, _ in parts] or [np.zeros(0, np.int64)])
        flat = [distances.ravel() for _, distances in parts]
        self.distances = np.concatenate(flat or [np.zeros(0)])
        lengths = [np.full(len(ids), ids.shape[1], np.int64) for ids, _ in parts]
        self.offsets = np.zeros(sum(map(len, lengths)) + 1, np.int64)
        if lengths:
            np.cumsum(np.concatenate(lengths), out=self.offsets[1:])
        self.work = work
        self.metric = metric

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """float64[total], larger is better: ip the inner product, l2 `1 / (1 + distance)`."""
        return score_of(self.metric, self.distances)

    def table(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """ids int64[m, k'] and scores float64[m, k'].

        Raises:
            InputError: queries have different numbers of keys (masks of their own).
        """
        lengths = np.diff(self.offsets)
        if len(lengths) and (lengths != lengths[0]).any():
            raise InputError(
                f"queries have {lengths.min()} to {lengths.max()} keys, which is no table; use "
                "ids, scores and offsets"
            )
        shape = (len(lengths), int(lengths[0]) if len(lengths) else 0)
        return self.ids.reshape(shape), self.scores.reshape(shape)

    def weights(self) -> npt.NDArray[np.float64]:
        """Softmax of each query's scores, float64[total]: how a memory layer mixes its values."""
        lengths = np.diff(self.offsets)
        used = lengths > 0
        starts = self.offsets[:-1][used]
        if not len(starts):
            return np.zeros(0)
        scores, lengths = self.scores, lengths[used]
        grown = np.exp(scores - np.repeat(np.maximum.reduceat(scores, starts), lengths))
        shares: npt.NDArray[np.float64] = grown / np.repeat(np.add.reduceat(grown, starts), lengths)
        return shares

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, i: int) -> KeyHit: ...
    @overload
    def __getitem__(self, i: slice) -> list[KeyHit]: ...
    def __getitem__(self, i: int | slice) -> KeyHit | list[KeyHit]:
        if isinstance(i, slice):
            return [self[number] for number in range(len(self))[i]]
        number = range(len(self))[i]
        part = slice(self.offsets[number], self.offsets[number + 1])
        return KeyHit(
            self.ids[part], self.distances[part], score_of(self.metric, self.distances[part])
        )

    def __repr__(self) -> str:
        return f"<KeyHits: {len(self)} queries, {len(self.ids)} keys, {self.metric}>"
