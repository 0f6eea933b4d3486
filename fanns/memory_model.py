"""What building a segment holds in memory and leaves on disk, from the shapes of its parts.

The stages of a build hold different things; the most is what counts. All figures are bytes. They
follow `building.make_segment`, `segment_building.build_segment` and what these call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fanns.building import Recipe
from fanns.clusters import MAX_CLUSTERS, SAMPLE_PER_CLUSTER
from fanns.codebooks import SAMPLE
from fanns.codes import ALIGNMENT
from fanns.column_graphs import range_bytes, range_shifts, value_bytes
from fanns.kernels.bits import record_words
from fanns.kernels.fastscan import GROUP_BYTES, ROWS, groups_of
from fanns.paths.column_graph_builder import LABEL_BYTES
from fanns.paths.column_path import BLOCKS_MOST
from fanns.paths.graph_builder import LARGEST_BATCH, MIN_ROWS, PLACES
from fanns.ranks import rank_limit
from fanns.segment_building import COLUMNS_AT_ONCE

INT8_ROW = 16  # scale, square, error of `Int8Codes`
CLUSTERED_ROW = 24  # order, labels and keys of k-means
BUILDER_ROW = 20  # parameters, clusters and first equals of the graph's builder
FIRST_ROW = 34  # digests and orders while equal rows are found
LINK = 34  # of a link of a batch, while its other end is linked back
PIECES = 1.2  # what columns take that were read in pieces, as a share of what is in them
# Copies of a column while it is indexed, and bytes of each of its values and of the distinct ones.
COPIES, VALUE, DISTINCT = 4, 24, 128
PRODUCT_BITS = 4  # `PQCodes` has one of its parts for as many dimensions


class RowBytes(NamedTuple):
    """Mean bytes of a row's parts that shapes do not tell, as they were found in a sample.

    ids: its key, held or on disk. attributes: its columns as Arrow holds them; indexed: and as the
    attribute index does. stored: its columns for display. indexing, ordering: what is held besides
    while the most demanding attribute is indexed, and stored column put in order. labels: the
    share of the rows that has each value of a column with label graphs.
    """

    ids: float
    attributes: float
    indexed: float
    stored: float
    indexing: float
    ordering: float
    labels: Mapping[str, np.ndarray] = MappingProxyType({})

    @property
    def given(self) -> float:
        """All but the vector, as it comes."""
        return self.ids + PIECES * (self.attributes + self.stored)


def indexing_bytes(column: pa.ChunkedArray) -> int:
    """What indexing a column holds besides it: copies, a hash table of its values, their order.

    See `attributes.dictionary.encode` and `attributes.postings`.
    """
    whole = column.combine_chunks()
    parts = whole.chunks if isinstance(whole, pa.ChunkedArray) else [whole]
    total = COPIES * int(column.nbytes)
    for array in parts:
        rows = len(array)
        while pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
            array = array.flatten()
        total += VALUE * max(rows, len(array)) + DISTINCT * len(pc.unique(array))
    return total


class Parts(NamedTuple):
    """Bytes on disk by kind of part, as `listing.info` has them."""

    vectors: int
    codes: int
    graph: int
    column_graphs: int
    attributes: int
    ids: int
    other: int
    stored: int

    @property
    def total(self) -> int:
        return sum(self)


class Shape(NamedTuple):
    """Vectors of a segment: rows, dimensions as given and as held, the width of a number."""

    rows: int
    given: int
    held: int
    item: int


def vector_item(recipe: Recipe) -> int:
    """Bytes of one number of a vector that is held."""
    return np.dtype(recipe.dtype).itemsize if recipe.keep_originals else 2


def clusters_of(rows: int) -> int:
    return min(math.isqrt(rows), MAX_CLUSTERS)


def int8_bytes(rows: int, d: int) -> int:
    return rows * (-(-d // ALIGNMENT) * ALIGNMENT + INT8_ROW)


def bit_bytes(rows: int, d: int, bits: int) -> int:
    return 8 * rows * record_words(d, bits)[1] if bits else 0


def product_bytes(rows: int, d: int, bits: int) -> int:
    if not bits:
        return 0
    blocks = -(-rows // ROWS)
    width = groups_of(-(-d // PRODUCT_BITS)) * GROUP_BYTES
    return blocks * (width + 8 * ROWS) + 4 * rows


def graph_bytes(rows: int) -> int:
    return 4 * PLACES * rows if rows >= MIN_ROWS else 0


def column_graph_bytes(recipe: Recipe, rows: int, d: int, per: RowBytes) -> int:
    """What graphs and blocks of columns take, beside vectors of d numbers."""
    if rows < MIN_ROWS:
        return 0
    has_blocks = bool(recipe.bits)
    served = sum(value_bytes(count, d, has_blocks) for count in _served(recipe, rows, d, per))
    return served + len(recipe.graphs.ranges) * range_bytes(rows, d, has_blocks)


def linked_rows(recipe: Recipe, rows: int, d: int, per: RowBytes) -> int:
    """How many rows graphs of columns link, over all parts of their orders, and values."""
    if rows < MIN_ROWS:
        return 0
    has_blocks = bool(recipe.bits)
    counts = _served(recipe, rows, d, per)
    linked = sum(count for count in counts if not has_blocks or count > BLOCKS_MOST)
    return linked + len(recipe.graphs.ranges) * rows * len(range_shifts(rows, has_blocks))


def _served(recipe: Recipe, rows: int, d: int, per: RowBytes) -> list[int]:
    """The rows of each value that label_index serves."""
    counts = {name: np.rint(shares * rows).astype(np.int64) for name, shares in per.labels.items()}
    chosen = recipe.graphs.values(counts, rows, d, bool(recipe.bits))
    return [int(counts[name][code]) for name, codes in chosen.items() for code in codes]


def segment_parts(recipe: Recipe, shape: Shape, per: RowBytes) -> Parts:
    """What a segment takes on disk."""
    n, d = shape.rows, shape.held
    return Parts(
        vectors=n * (d * shape.item + 8),
        codes=int8_bytes(n, d) + bit_bytes(n, d, recipe.bits),
        graph=graph_bytes(n),
        column_graphs=column_graph_bytes(recipe, n, d, per),
        attributes=round(n * per.indexed),
        ids=round(n * (per.ids + 4)),  # with their order
        other=product_bytes(n, d, recipe.bits) + clusters_of(n) * (4 * d + 16) + 4 * n,
        stored=round(n * per.stored),
    )


def build_bytes(recipe: Recipe, shape: Shape, per: RowBytes, owned: bool = True) -> int:
    """The most that building one segment holds above what the process held before.

    `owned`: as `segment_building.SegmentData` has it; else the rows as they came are held before,
    and stay.
    """
    n, d = shape.rows, shape.held
    vectors = n * (d * shape.item + 8)
    came = n * shape.given * np.dtype(recipe.dtype).itemsize if owned else 0
    given = n * per.given if owned else 0.0
    ids, kept = (n * per.ids, PIECES * per.stored + per.ordering) if owned else (0.0, per.stored)
    made = shape.held < shape.given or not recipe.keep_originals
    first = vectors if owned or made else 8 * n
    coded = _coded(recipe, shape)
    indexed = coded + n * per.indexed
    stages = {
        "reduce": came + given + made * (vectors + 16 * n),
        "cluster": first + given + _cluster(shape),
        "encode": vectors + given + _encode(recipe, shape, owned),
        "attributes": vectors + given + indexed + n * per.indexing,
        "stored": vectors + ids + indexed + n * kept,
        "graph": vectors + ids + n * (per.ids + per.stored) + indexed + _linking(shape),
        "column graphs": vectors + ids + n * (per.ids + per.stored) + indexed
        + _linking_columns(recipe, shape, per),
    }  # fmt: skip
    return round(max(stages.values()))


def _coded(recipe: Recipe, shape: Shape) -> int:
    n, d = shape.rows, shape.held
    codes = int8_bytes(n, d) + bit_bytes(n, d, recipe.bits) + product_bytes(n, d, recipe.bits)
    return codes + clusters_of(n) * 4 * d + 12 * n


def _cluster(shape: Shape) -> int:
    """Codes of all rows, those of the sample, and centroids as sums, means and codes."""
    clusters = clusters_of(shape.rows)
    sample = min(shape.rows, clusters * SAMPLE_PER_CLUSTER)
    own = int8_bytes(shape.rows + sample, shape.held) + CLUSTERED_ROW * (shape.rows + sample)
    return own + clusters * shape.held * 24


def _encode(recipe: Recipe, shape: Shape, owned: bool) -> int:
    """Rows put in order, then codes with the sample of the product codes."""
    n, d = shape.rows, shape.held
    ordering = n * COLUMNS_AT_ONCE * shape.item if owned else 0
    sample = min(n, SAMPLE) * (4 * d + 64) * (recipe.bits > 0)
    return max(ordering + CLUSTERED_ROW * n, _coded(recipe, shape) + sample)


def _linking(shape: Shape) -> int:
    """The graph and what its builder holds, at its start or in its largest batch."""
    n = shape.rows
    if n < MIN_ROWS:
        return 0
    batch = round(max(32, n * LARGEST_BATCH) * PLACES * LINK)
    return graph_bytes(n) + BUILDER_ROW * n + max(FIRST_ROW * n, batch + 16 * n)


def _linking_columns(recipe: Recipe, shape: Shape, per: RowBytes) -> int:
    """The links of all, and codes, links and the builder's state of the parts under way."""
    n = shape.rows
    if n < MIN_ROWS or not recipe.graphs.columns():
        return 0
    own = int8_bytes(1, shape.held) + BUILDER_ROW + FIRST_ROW + LABEL_BYTES + 8 * PLACES
    return graph_bytes(n) + column_graph_bytes(recipe, n, shape.held, per) + n * own


def rows_within(recipe: Recipe, per: RowBytes, room: int) -> int:
    """How many rows a segment may have so that building it takes at most `room` bytes.

    Whatever rank its rows turn out to have.
    """
    item, d = vector_item(recipe), recipe.dimensions

    def fits(rows: int) -> bool:
        shapes = [Shape(rows, d, d, item)]
        if recipe.dtype == "float32" and (limit := rank_limit(rows, d, recipe.reduce)):
            shapes.append(Shape(rows, d, limit, item))
        return all(build_bytes(recipe, shape, per) <= room for shape in shapes)

    low, high = 0, 2**31 - 1  # rows of a segment are numbered by int32
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
