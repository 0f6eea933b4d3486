"""Building a segment: rows put in order, encoded, linked and indexed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from fanns.attributes import AttributeIndex
from fanns.bit_codes import BitCodes
from fanns.calibration import DEFAULT, Calibration
from fanns.calibration.samples import Nearest
from fanns.centroids import cluster_reach
from fanns.clusters import MAX_CLUSTERS, cluster_order
from fanns.codes import Int8Codes, report
from fanns.column_graphs import NO_GRAPHS, ColumnGraphs, build_column_graphs
from fanns.computing import Loops, Processor
from fanns.errors import InputError
from fanns.identifiers import Identifiers
from fanns.kernels.distance import METRICS
from fanns.kernels.jit import frozen
from fanns.memory_limit import give_back
from fanns.paths.column_graph_builder import Coded
from fanns.paths.graph import GraphPath
from fanns.paths.graph_builder import MIN_ROWS, Links, build_links
from fanns.pq_codes import PQCodes
from fanns.reduction import Reduction
from fanns.schema import Schema
from fanns.segment import Clusters, Segment
from fanns.segment_arrays import Part
from fanns.vectors import DenseVectors

Progress = Callable[[str, int, int], None]

BUILT_ON = "built_on"
"""What `meta` says of segments that were built on a device: its name."""

# Columns of the vectors that are put in order at a time, where that is done in place.
COLUMNS_AT_ONCE = 32


class Machine(NamedTuple):
    """What a build runs on: the loops over all rows, what makes the graph's links, and what finds
    the true answers that calibration needs.

    `links` takes the arguments of `graph_builder.build_links`; `nearest` gives None for what the
    processor finds by itself. `name` is "cpu", or the device's.
    """

    name: str
    loops: Loops
    links: Callable[..., Links]
    nearest: Callable[[Segment], Nearest | None]


def processor(threads: int | None) -> Machine:
    """This machine's processor."""
    return Machine("cpu", Processor(threads), build_links, lambda segment: None)


@dataclass(slots=True)
class SegmentData:
    """What a segment is built from, in the order given; see `ingest`.

    `owned`: nobody else needs these parts. Then vectors, writable ones, are put in order in their
    place, and each part is let go of when it was used, so that no two copies are held.
    """

    ids: np.ndarray | pa.Array
    vectors: np.ndarray
    attributes: pa.Table
    stored: pa.Table
    reduction: Reduction | None = None  # by which `vectors` are coordinates
    owned: bool = False

    def ordered_vectors(self, order: np.ndarray) -> np.ndarray:
        """The vectors in another order."""
        if not self.owned:
            return np.ascontiguousarray(self.vectors[order])
        vectors, self.vectors = self.vectors, self.vectors[:0].copy()
        for start in range(0, vectors.shape[1], COLUMNS_AT_ONCE):
            part = slice(start, start + COLUMNS_AT_ONCE)
            vectors[:, part] = vectors[order, part]
        return vectors

    def ordered_attributes(self, order: np.ndarray) -> Iterator[tuple[str, pa.ChunkedArray]]:
        """The columns to index in another order, one by one."""
        places = pa.array(order)
        for name in self.attributes.column_names:
            column = self._ordered("attributes", name, places)
            yield name, column
            del column

    def ordered_stored(self, order: np.ndarray) -> pa.Table:
        """The columns to keep for display, in another order."""
        names, places = self.stored.column_names, pa.array(order)
        return pa.table({name: self._ordered("stored", name, places) for name in names})

    def _ordered(self, part: str, name: str, places: pa.Array) -> pa.ChunkedArray:
        table = getattr(self, part)
        if not self.owned:
            return table[name].take(places)
        column = one_chunk(table[name])
        setattr(self, part, table.drop_columns([name]))
        del table
        pa.default_memory_pool().release_unused()  # it would keep the pieces
        return column.take(places)


def one_chunk(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column in one piece, as `take` would make it, so that the pieces can be let go of."""
    whole = column.combine_chunks()
    return whole if isinstance(whole, pa.ChunkedArray) else pa.chunked_array([whole])


def build_segment(
    data: SegmentData,
    schema: Schema,
    metric: str,
    *,
    seed: int,
    threads: int,
    calibration: Callable[[Segment], Calibration] | Calibration,
    bits: int = 2,
    graphs: ColumnGraphs = NO_GRAPHS,
    progress: Progress | None = None,
    most_clusters: int = MAX_CLUSTERS,
    machine: Machine | None = None,
) -> Segment:
    """Order, encode, link and index the rows of `data`; vectors were checked at the door.

    `bits` a dimension are those of `BitCodes`, 0 for none. `graphs`: of columns, for segments that
    have a graph of all rows. Deterministic for any number of threads. `machine` (by default the
    processor) runs the loops over all rows; its codes are the same, its graph may be another.
    """
    machine = processor(threads) if machine is None else machine
    where = "" if machine.name == "cpu" else f" on {machine.name}"

    def tell(stage: str, done: int, total: int) -> None:
        if progress is not None:
            progress(stage, done, total)

    n = len(data.vectors)
    tell(f"cluster{where}", 0, 1)
    order, offsets, centroids = cluster_order(
        data.vectors, metric, seed, threads, most_clusters, machine.loops
    )
    arrays: dict[str, np.ndarray] = {}
    positions = frozen(order.astype(np.int32))
    arrays["rows/positions"] = positions
    keys = data.ids[order] if isinstance(data.ids, np.ndarray) else data.ids.take(pa.array(order))
    identifiers = Identifiers.build(keys)
    _put(arrays, "ids", identifiers.arrays())
    tell(f"encode{where}", 0, 1)
    vectors = DenseVectors.from_array(data.ordered_vectors(order), METRICS[metric], threads)
    _put(arrays, "vectors", vectors.arrays())
    reach = cluster_reach(vectors, offsets, centroids, threads)
    parts = Clusters(frozen(offsets), frozen(centroids), frozen(reach))
    _put(arrays, "clusters", parts._asdict())
    if data.reduction is not None:
        _put(arrays, "reduction", data.reduction.arrays())
    codes, products, coded = _encode(
        arrays, vectors, offsets, centroids, bits, seed, threads, machine.loops
    )
    tell("attributes", 0, 1)
    indexed = {name: schema[name] for name in data.attributes.column_names}
    attributes = AttributeIndex.of_columns(data.ordered_attributes(order), n, indexed)
    _put(arrays, "attributes", attributes.arrays())
    stored = data.ordered_stored(order)
    if data.owned:
        give_back()
    has_graph = n >= MIN_ROWS
    if has_graph:
        graph = GraphPath.build(
            vectors,
            codes,
            identifiers.ties,
            offsets,
            centroids,
            seed=seed,
            threads=threads,
            progress=lambda done, total: tell(f"graph{where}", done, total),
            links_of=machine.links,
        )
        _put(arrays, "graph", graph.arrays())
        bounds = np.unique(np.asarray(offsets, np.int64))
        arrays |= build_column_graphs(
            graphs,
            Coded(vectors, codes, bounds),
            products,
            graph.links,
            attributes,
            seed=seed,
            threads=threads,
            progress=tell,
        )
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
    if where:
        meta[BUILT_ON] = machine.name
    segment = Segment(meta, schema, arrays, lambda: stored)
    # What is made already need not be read and checked again.
    segment.ids, segment.positions = identifiers, positions
    segment.vectors, segment.codes, segment.clusters = vectors, codes, parts
    segment.attributes = attributes.after(
        Part(arrays, "attributes"), schema, segment._stored_column, ()
    )
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
    loops: Loops,
) -> tuple[Int8Codes, PQCodes | None, dict[str, Any]]:
    """Put the codes of all kinds into `arrays`; gives int8's, product codes where there are
    such, and what `meta` says of all.
    """
    codes = Int8Codes.build(vectors, threads, loops=loops)
    _put(arrays, "codes", codes.arrays())
    reports, subspaces = {"int8": report(codes, vectors)}, 0
    products: PQCodes | None = None
    if bits:
        given = (vectors, codes.mean, seed, offsets, centroids, threads)
        coarse = BitCodes.build(*given, bits=bits, loops=loops)
        bits = bits if coarse.usable else 0
    if bits:
        _put(arrays, "bits", coarse.arrays())
        reports["bits"] = report(coarse, vectors)
        made = PQCodes.build(
            vectors,
            codes.mean,
            seed,
            centroids=centroids,
            offsets=offsets,
            threads=threads,
            loops=loops,
        )
        if made.usable:
            products, subspaces = made, made.subspaces
            _put(arrays, "products", made.arrays())
            reports["products"] = report(made, vectors)
    return codes, products, {"bits": bits, "products": subspaces, "codes": reports}


def _put(arrays: dict[str, np.ndarray], prefix: str, part: Mapping[str, np.ndarray]) -> None:
    for name, array in part.items():
        if array.flags.writeable:
            raise InputError(f"{prefix}/{name} is not frozen")
        arrays[f"{prefix}/{name}"] = array
