"""What kernels ask of a segment's rows, on the device."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fanns.kernels.jit import Array
from fanns.kernels.jit_cuda import DeviceArray
from fanns.segment import Segment


class Rows(NamedTuple):
    """Arrays on the device.

    vectors [n, d], norms float64[n], ties int64[n]; `extremes` float64[2]: the greatest norm, and
    the least but zero; `codes`: the arrays of `Int8Codes`; `graph`: links int32[n, places], bounds
    int64[c + 1] of the clusters, their entry rows int32[c] and the codes of these; `clusters`:
    bounds int64[c + 1], and codes, scale and square of the centres; `bits`: records and signs of
    `BitCodes`, and the cluster of each row, int32[n]. Empty: what the segment has none of, and bits
    for which there was no room.
    """

    vectors: DeviceArray
    norms: DeviceArray
    ties: DeviceArray
    extremes: DeviceArray
    codes: tuple[DeviceArray, ...]
    graph: tuple[DeviceArray, ...]
    clusters: tuple[DeviceArray, ...]
    bits: tuple[DeviceArray, ...]


class Nothing(NamedTuple):
    """Selections of other forms have no rows, no offsets, no words, and no counts."""

    rows: DeviceArray
    offsets: DeviceArray
    words: DeviceArray
    counts: DeviceArray


def needed_of(segment: Segment) -> dict[str, int]:
    """Bytes of rows that must be on the device, by part."""
    parts = {"codes": codes_of(segment), "clusters": _clusters(segment), "graph": _graph(segment)}
    sizes = {name: sum(array.nbytes for array in arrays) for name, arrays in parts.items()}
    sizes["ids and lengths"] = 16 * segment.n
    return {name: size for name, size in sizes.items() if size}


def bits_bytes(segment: Segment) -> int:
    """Bytes of the codes of few bits; 0 where no plan would use them."""
    if segment.calibration.bits is None or segment.bits is None:
        return 0
    return int(segment.bits.nbytes) + 4 * segment.n


def moved(segment: Segment, cuda: Any, with_originals: bool, with_bits: bool) -> Rows:
    """Copy rows; originals to the device, or to page-locked memory of the host."""
    vectors = segment.vectors
    if with_originals:
        held = cuda.to_device(vectors.vectors)
    else:
        held = cuda.mapped_array(vectors.vectors.shape, vectors.vectors.dtype)
        held[:] = vectors.vectors
    norms, ties = cuda.to_device(vectors.norms), cuda.to_device(segment.ids.ties)
    lengths = vectors.norms[vectors.norms > 0.0]
    extremes = (lengths.max(), lengths.min()) if len(lengths) else (0.0, 0.0)
    bits = _bits(segment) if with_bits else ()
    parts = (
        tuple(cuda.to_device(np.ascontiguousarray(array)) for array in arrays)
        for arrays in (codes_of(segment), _graph(segment), _clusters(segment), bits)
    )
    return Rows(held, norms, ties, cuda.to_device(np.array(extremes)), *parts)


def no_selections(cuda: Any) -> Nothing:
    """What stands for the selections that a launch is not given."""
    shapes: tuple[tuple[Any, Any], ...] = ((0, np.int32), (1, np.int64), ((0, 0), np.uint64))
    empty = (np.zeros(shape, kind) for shape, kind in (*shapes, (0, np.int64)))
    return Nothing(*(cuda.to_device(array) for array in empty))


def codes_of(segment: Segment) -> tuple[Array, ...]:
    """The arrays of its `Int8Codes`, as kernels take them."""
    codes = segment.codes
    return codes.codes, codes.scale, codes.square, codes.mean, codes.limits


def _graph(segment: Segment) -> tuple[Array, ...]:
    graph, codes = segment.graph, segment.codes
    if graph is None:
        return ()
    bounds = np.unique(np.asarray(segment.clusters.offsets, np.int64))
    near = (one[graph.entries] for one in (codes.codes, codes.scale, codes.square))
    return graph.links, bounds, graph.entries, *near


def _clusters(segment: Segment) -> tuple[Array, ...]:
    centroids = segment.centroids
    return centroids.bounds, centroids.codes, centroids.scale, centroids.square


def _bits(segment: Segment) -> tuple[Array, ...]:
    """For segments that have them; see `bits_bytes`."""
    assert segment.bits is not None
    sizes = np.diff(segment.centroids.bounds)
    labels = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    return segment.bits.records, segment.bits.signs, labels
