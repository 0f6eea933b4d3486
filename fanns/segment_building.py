"""Building a segment: rows put in order, encoded, linked and indexed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from fanns.attributes import AttributeIndex
from fanns.bit_codes import BitCodes
from fanns.calibration import DEFAULT, Calibration
from fanns.centroids import cluster_reach
from fanns.clusters import cluster_order
from fanns.codes import Int8Codes, report
from fanns.errors import InputError
from fanns.identifiers import Identifiers
from fanns.kernels.distance import METRICS
from fanns.kernels.jit import frozen
from fanns.paths.graph import GraphPath
from fanns.pq_codes import PQCodes
from fanns.schema import Schema
from fanns.segment import Clusters, Segment
from fanns.transforms import Reduction
from fanns.vectors import DenseVectors

# Smaller segments are scanned: the scan of so few codes costs no more than a walk.
GRAPH_MIN_ROWS = 4_096
Progress = Callable[[str, int, int], None]


class SegmentData(NamedTuple):
    """What a segment is built from, in the order given; see `ingest`."""

    ids: np.ndarray | pa.Array
    vectors: np.ndarray
    attributes: pa.Table
    stored: pa.Table
    reduction: Reduction | None = None  # by which `vectors` are coordinates


def build_segment(
    data: SegmentData,
    schema: Schema,
    metric: str,
    *,
    seed: int,
    threads: int,
    calibration: Callable[[Segment], Calibration] | Calibration,
    bits: int = 2,
    progress: Progress | None = None,
) -> Segment:
    """Order, encode, link and index the rows of `data`; vectors were checked at the door.

    `bits` a dimension are those of `BitCodes`, 0 for none. Deterministic for any number of threads.
    """

    def tell(stage: str, done: int, total: int) -> None:
        if progress is not None:
            progress(stage, done, total)

    n = len(data.vectors)
    tell("cluster", 0, 1)
    order, offsets, centroids = cluster_order(data.vectors, metric, seed, threads)
    arrays: dict[str, np.ndarray] = {}
    positions = frozen(order.astype(np.int32))
    arrays["rows/positions"] = positions
    keys = data.ids[order] if isinstance(data.ids, np.ndarray) else data.ids.take(pa.array(order))
    identifiers = Identifiers.build(keys)
    _put(arrays, "ids", identifiers.arrays())
    tell("encode", 0, 1)
    ordered = np.ascontiguousarray(data.vectors[order])
    vectors = DenseVectors.from_array(ordered, METRICS[metric], threads)
    _put(arrays, "vectors", vectors.arrays())
    reach = cluster_reach(vectors, offsets, centroids, threads)
    parts = Clusters(frozen(offsets), frozen(centroids), frozen(reach))
    _put(arrays, "clusters", parts._asdict())
    if data.reduction is not None:
        _put(arrays, "reduction", data.reduction.arrays())
    codes, coded = _encode(arrays, vectors, offsets, centroids, bits, seed, threads)
    tell("attributes", 0, 1)
    indexed = {name: schema[name] for name in data.attributes.column_names}
    attributes = AttributeIndex.build(data.attributes.take(pa.array(order)), indexed)
    _put(arrays, "attributes", attributes.arrays())
    stored = data.stored.take(pa.array(order)) if data.stored.num_columns else data.stored
    has_graph = n >= GRAPH_MIN_ROWS
    if has_graph:
        graph = GraphPath.build(
            vectors,
            codes,
            identifiers.ties,
            offsets,
            centroids,
            seed=seed,
            threads=threads,
            progress=lambda done, total: tell("graph", done, total),
        )
        _put(arrays, "graph", graph.arrays())
    meta = {
        "rows": n,
        "metric": metric,
        "id_kind": identifiers.kind,
        "indexed": list(indexed),
        "graph": has_graph,
        **coded,
        "reduction": None if data.reduction is None else data.reduction.describe(),
        "calibration": DEFAULT.to_json(),
    }
    segment = Segment(meta, schema, arrays, lambda: stored)
    made = calibration if isinstance(calibration, Calibration) else calibration(segment)
    segment.calibrate(made)
    return segment


def _encode(
    arrays: dict[str, np.ndarray],
    vectors: DenseVectors,
    offsets: np.ndarray,
    centroids: np.ndarray,
    bits: int,
    seed: int,
    threads: int,
) -> tuple[Int8Codes, dict[str, Any]]:
    """Put the codes of all kinds into `arrays`; gives int8's, and what `meta` says of all."""
    codes = Int8Codes.build(vectors, threads)
    _put(arrays, "codes", codes.arrays())
    reports, subspaces = {"int8": report(codes, vectors)}, 0
    if bits:
        coarse = BitCodes.build(vectors, codes.mean, seed, offsets, centroids, threads, bits=bits)
        bits = bits if coarse.usable else 0
    if bits:
        _put(arrays, "bits", coarse.arrays())
        reports["bits"] = report(coarse, vectors)
        products = PQCodes.build(
            vectors, codes.mean, seed, centroids=centroids, offsets=offsets, threads=threads
        )
        if products.usable:
            subspaces = products.subspaces
            _put(arrays, "products", products.arrays())
            reports["products"] = report(products, vectors)
    return codes, {"bits": bits, "products": subspaces, "codes": reports}


def _put(arrays: dict[str, np.ndarray], prefix: str, part: Mapping[str, np.ndarray]) -> None:
    for name, array in part.items():
        if array.flags.writeable:
            raise InputError(f"{prefix}/{name} is not frozen")
        arrays[f"{prefix}/{name}"] = array
