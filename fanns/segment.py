"""One immutable part of an index: its arrays, its attribute index and its access paths.

Rows stand in cluster order; `positions[row]` is the place in which the row was given. Every array
is frozen. A segment opened from disk touches an array when something first needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from fanns.attributes import AttributeIndex
from fanns.bit_codes import BitCodes
from fanns.calibration import Calibration
from fanns.centroids import Centroids
from fanns.codes import ALIGNMENT, Int8Codes
from fanns.errors import CorruptIndexError
from fanns.identifiers import Identifiers
from fanns.kernels.bits import BITS, record_words
from fanns.kernels.distance import METRICS
from fanns.kernels.fastscan import CENTROIDS, GROUP_BYTES, ROWS, groups_of
from fanns.kernels.jit import frozen
from fanns.kernels.rotation import ROUNDS
from fanns.live import are_live, load_live
from fanns.once import once
from fanns.paths import Answers, Budget
from fanns.paths.clusters import ClustersPath
from fanns.paths.column_blocks import ColumnBlocks, Quantized
from fanns.paths.column_path import ColumnPath, Covering, paths_among
from fanns.paths.graph import GraphPath
from fanns.paths.label_graph import LabelGraph
from fanns.paths.locality import Locality
from fanns.paths.range_graph import RangeGraph
from fanns.paths.scan import ScanParameters, ScanPath
from fanns.planner import Plan, choose
from fanns.pq_codes import PQCodes
from fanns.reduction import TOLERANCE, Projected, Reduction
from fanns.schema import Schema, schema_of
from fanns.segment_arrays import STORED, FileArrays, Part, stored_table
from fanns.segment_description import check_description
from fanns.selection import Selection
from fanns.stored_segment import SegmentFiles
from fanns.vectors import MAX_DIMENSIONS, DenseVectors

# Arrays read in bulk: their checksums are proved by `verify`, not on first touch.
BULK = frozenset({"vectors/vectors", "codes/codes", "bits/records", "products/codes"})

MANY = 8
"""Of more than one in so many rows the vectors are read ahead, all of them."""


# What vectors may be held as.
HELD = (np.float32, np.float16, np.int8)

COLUMN_GRAPHS: dict[str, type[RangeGraph] | type[LabelGraph]] = {
    "range_graphs": RangeGraph,
    "label_graphs": LabelGraph,
}


class Clusters(NamedTuple):
    """Where each cluster starts, int64[c + 1], its centre, float32[c, d], and its reach.

    `reach` float64[c]: no row of the cluster is farther from the centre.
    """

    offsets: np.ndarray
    centroids: np.ndarray
    reach: np.ndarray


class Segment:
    """See the module's docstring.

    Attributes:
        n: number of rows; metric: "cosine", "l2" or "ip"; schema: of the attribute and stored
        columns; indexed: names of the columns that have an attribute index.
        live: the rows that were not deleted, None where none was.
        calibration: of this segment's paths; reports: of its codes, by their names.
    """

    native = False
    """Whether vectors are computed from a compressed table; see `segment_native`."""

    told = ""
    """What there is to tell of such a table."""

    def __init__(
        self,
        meta: Mapping[str, Any],
        schema: Schema,
        arrays: Mapping[str, np.ndarray],
        stored: Callable[[], pa.Table],
    ) -> None:
        self.meta = dict(meta)
        self.n: int = meta["rows"]
        self.metric: str = meta["metric"]
        self.schema = schema
        self.indexed: tuple[str, ...] = tuple(meta["indexed"])
        self.reports: dict[str, dict[str, float]] = meta["codes"]
        self.arrays = arrays
        self._stored = stored
        self.calibration = Calibration.from_json(meta["calibration"])
        if not meta["bits"]:
            self.calibration = replace(self.calibration, bits=None)
        self.plans: dict[Any, Any] = {}
        self.live = load_live(arrays, self.n)

    @classmethod
    def from_files(cls, files: SegmentFiles, schema: Schema) -> Segment:
        """A stored segment; nothing but its description is read.

        Raises:
            CorruptIndexError: the description is none.
        """
        try:
            check_description(files.meta)
            return cls(files.meta, schema, FileArrays(files), lambda: stored_table(files))
        except CorruptIndexError as error:
            raise CorruptIndexError(f"segment {files.id}: {error}") from error

    def edited(
        self,
        meta: Mapping[str, Any],
        schema: Schema,
        arrays: Mapping[str, np.ndarray],
        stored: Callable[[], pa.Table],
        changed: Collection[str],
    ) -> Segment:
        """This segment with other attributes or live rows; all else is shared with it.

        `changed` names the columns whose values or index are others.
        """
        made = copy(self)
        for name in ("stored", "attributes"):
            made.__dict__.pop(name, None)
        graphs = made.__dict__.pop("column_graphs", None)
        made.__dict__.pop("_titled", None)
        made.meta, made.schema, made.arrays = dict(meta), schema, arrays
        made.indexed = tuple(meta["indexed"])
        made._stored = stored
        made.plans = {}
        if made.meta["calibration"] != self.meta["calibration"]:
            made.calibrate(Calibration.from_json(made.meta["calibration"]))
        made.live = load_live(arrays, self.n)
        if "attributes" in self.__dict__:
            part = Part(arrays, "attributes")
            made.attributes = self.attributes.after(part, schema, made._stored_column, changed)
            if graphs is not None and not changed:
                made.column_graphs = graphs  # over the same posting lists
        return made

    def written(self, files: SegmentFiles) -> Segment:
        """This segment, once its arrays, all of them made in memory, were written to files.

        They are kept: for small segments, which would be read, checked and opened next.
        """
        files.hold(self.arrays, {STORED: self.stored} if STORED in files.table_names() else {})
        self.meta, self.arrays = files.meta, FileArrays(files)
        self._stored = lambda: stored_table(files)
        return self

    def edited_files(
        self, files: SegmentFiles, schema: Schema, changed: Collection[str]
    ) -> Segment:
        """The same, over its files."""
        arrays = FileArrays(files)
        return self.edited(files.meta, schema, arrays, lambda: stored_table(files), changed)

    @property
    def rows(self) -> int:
        """How many rows are live."""
        return self.n if self.live is None else self.live.count

    def lookup(self, keys: np.ndarray | Sequence[str]) -> np.ndarray:
        """The live row of each key, int32[m], -1 where the segment has none."""
        rows = self.ids.lookup(keys)
        if self.live is not None:
            found = np.flatnonzero(rows >= 0)
            rows[found[~are_live(self.live, rows[found])]] = -1
        return rows

    def calibrate(self, calibration: Calibration) -> None:
        """Go by another calibration from now on."""
        self.calibration = calibration if self.has_bits else replace(calibration, bits=None)
        self.meta["calibration"] = calibration.to_json()
        self.plans.clear()

    # -- parts, made on first use ------------------------------------------------------------

    @once
    def ids(self) -> Identifiers:
        return Identifiers.load(self.meta["id_kind"], Part(self.arrays, "ids"), self.n)

    @once
    def positions(self) -> np.ndarray:
        """int32[n]: the place in which each row was given."""
        positions = self.arrays["rows/positions"]
        good = positions.shape == (self.n,) and positions.dtype == np.int32
        good = good and (self.n == 0 or (positions.min() >= 0 and positions.max() < self.n))
        if not good or not np.array_equal(
            np.bincount(positions, minlength=self.n), np.ones(self.n)
        ):
            raise CorruptIndexError(f"rows/positions: not an order of {self.n} rows")
        return positions

    @once
    def given_order(self) -> np.ndarray:
        """int32[n]: the row that was given first, second, ..."""
        rows = np.empty(self.n, np.int32)
        rows[self.positions] = np.arange(self.n, dtype=np.int32)
        return frozen(rows)

    def given_live(self) -> np.ndarray:
        """int32[rows]: the live row that was given first, second, ..."""
        if self.live is None:
            return self.given_order
        kept: np.ndarray = self.given_order[are_live(self.live, self.given_order)]
        return kept

    @once
    def vectors(self) -> DenseVectors:
        held = self.arrays["vectors/vectors"]
        if held.ndim != 2 or held.dtype not in HELD:
            raise CorruptIndexError(f"vectors/vectors: {held.dtype}{held.shape}")
        made = DenseVectors.load(Part(self.arrays, "vectors"), METRICS[self.metric])
        n, d = self.n, made.d
        self._check_shapes({"vectors/vectors": ((n, d), None), "vectors/norms": ((n,), "float64")})
        return made

    @once
    def reduction(self) -> Reduction | None:
        """The subspace by whose coordinates the vectors are held, None where they are as given."""
        told = self.meta["reduction"]
        if told is None:
            return None
        try:
            dimensions, rank, residual = (told[name] for name in Reduction.DESCRIPTION)
            whole = type(dimensions) is int and type(rank) is int
            good = whole and 0 < rank == self.vectors.d <= dimensions <= MAX_DIMENSIONS
            good = good and 0.0 <= residual <= TOLERANCE
        except (KeyError, TypeError) as error:
            raise CorruptIndexError(f"reduction: its description lacks {error}") from error
        if not good:
            raise CorruptIndexError(f"reduction: not one of {self.vectors.d} dimensions: {told}")
        shapes = Reduction.shapes(dimensions, rank)
        self._check_shapes({f"reduction/{name}": shape for name, shape in shapes.items()})
        arrays = Part(self.arrays, "reduction")
        if not all(np.isfinite(arrays[name]).all() for name in shapes):
            raise CorruptIndexError("reduction: the basis is not finite")
        return Reduction(arrays["basis"], arrays["gram"], rank, residual)

    def project(self, queries: np.ndarray, threads: int = 1) -> Projected | None:
        """Queries float32[m, d] as this segment's rows are held; None where that is as given.

        Paths and codes take projected queries; `restore` turns their distances back.

        Raises:
            CorruptIndexError: the segment's vectors have another dimension.
        """
        reduction = self.reduction
        held = self.vectors.d if reduction is None else reduction.dimensions
        if queries.shape[1] != held:
            raise CorruptIndexError(
                f"vectors of {held} dimensions in an index of {queries.shape[1]}"
            )
        return None if reduction is None else reduction.project(queries, threads)

    def restore(self, projected: Projected, answers: Answers) -> Answers:
        """Answers with the distances to the queries themselves, ties by id as before."""
        distances = Reduction.restore(projected, answers.distances, METRICS[self.metric])
        if distances is answers.distances:
            return answers
        rows = answers.rows
        for i, found in enumerate(answers.found.tolist()):
            told = distances[i, :found]
            if (told[1:] == told[:-1]).any():  # told apart only before the outside part was added
                order = np.lexsort((self.ids.ties[rows[i, :found]], told))
                rows[i, :found] = rows[i, :found][order]
        return answers._replace(distances=distances)

    def originals(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of rows (int32[m]) as given, [m, d]; reduced ones within their residual."""
        if MANY * len(rows) >= self.n:
            self.will_need_originals()
        held = self.vectors.vectors[rows]
        if self.reduction is None:
            return np.asarray(held)
        return self.reduction.decode(held.astype(np.float32, copy=False))

    def will_need_originals(self) -> None:
        """Have all vectors read ahead: one by one, from a disk, takes many times as long."""
        if isinstance(self.arrays, FileArrays):
            self.arrays.files.will_need("vectors/vectors")

    @once
    def codes(self) -> Int8Codes:
        n, d = self.n, self.vectors.d
        shapes: dict[str, tuple[tuple[int, ...], str | None]] = {
            "codes/codes": ((n, -(-d // ALIGNMENT) * ALIGNMENT), "uint8"),
            "codes/mean": ((d,), "float32"),
            "codes/scale": ((n,), "float32"),
            "codes/square": ((n,), "float64"),
            "codes/error": ((n,), "float32"),
            "codes/limits": ((3,), "float64"),
        }
        self._check_shapes(shapes)
        return Int8Codes.load(Part(self.arrays, "codes"), METRICS[self.metric])

    @property
    def has_bits(self) -> bool:
        return bool(self.meta["bits"])

    @once
    def bits(self) -> BitCodes | None:
        if not self.has_bits:
            return None
        bits, d = self.meta["bits"], self.vectors.d
        if type(bits) is not int or bits not in BITS:
            raise CorruptIndexError(f"bits is {bits!r}, expected one of {BITS}")
        self._check_shapes(
            {
                "bits/records": ((self.n, record_words(d, bits)[1]), "uint64"),
                "bits/signs": ((ROUNDS, 64 * record_words(d)[0]), "float32"),
            }
        )
        around = (self.clusters.offsets, self.clusters.centroids)
        given = (Part(self.arrays, "bits"), self.codes.mean, METRICS[self.metric])
        return BitCodes.load(*given, bits, *around)

    @once
    def products(self) -> PQCodes | None:
        subspaces = self.meta["products"]
        if subspaces == 0:
            return None
        n, d = self.n, self.vectors.d
        if type(subspaces) is not int or not 0 < subspaces <= d:
            raise CorruptIndexError(f"products: {subspaces!r} parts of {d} dimensions")
        blocks = -(-n // ROWS)
        self._check_shapes(
            {
                "products/codes": ((blocks, groups_of(subspaces) * GROUP_BYTES), "uint8"),
                "products/fields": ((blocks, 2 * ROWS), "float32"),
                "products/error": ((n,), "float32"),
                "products/books": ((subspaces, -(-d // subspaces), CENTROIDS), "float32"),
                "products/rotation": ((0, 0), "float32"),
            }
        )
        arrays = Part(self.arrays, "products")
        offsets, centroids, _ = self.clusters
        return PQCodes.load(arrays, self.codes.mean, METRICS[self.metric], centroids, offsets)

    def _check_shapes(self, shapes: Mapping[str, tuple[tuple[int, ...], str | None]]) -> None:
        """Kernels trust shapes; a file need not."""
        for name, (shape, dtype) in shapes.items():
            array = self.arrays[name]
            if array.shape != shape or (dtype and array.dtype != dtype):
                raise CorruptIndexError(
                    f"{name}: {array.dtype}{array.shape}, expected {dtype or ''}{shape}"
                )

    @once
    def clusters(self) -> Clusters:
        offsets = self.arrays["clusters/offsets"]
        good = offsets.ndim == 1 and len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == self.n
        if not good or np.any(np.diff(offsets) <= 0):
            raise CorruptIndexError("clusters/offsets: not a partition of the rows")
        count = len(offsets) - 1
        self._check_shapes(
            {
                "clusters/offsets": ((count + 1,), "int64"),
                "clusters/centroids": ((count, self.vectors.d), "float32"),
                "clusters/reach": ((count,), "float64"),
            }
        )
        return Clusters(offsets, self.arrays["clusters/centroids"], self.arrays["clusters/reach"])

    @once
    def centroids(self) -> Centroids:
        return Centroids(*self.clusters, self.codes.mean)

    @once
    def scan(self) -> ScanPath:
        bits = None if self.bits is None else (self.bits, self.centroids)
        return ScanPath(self.vectors, self.codes, self.ids.ties, bits)

    @once
    def scan_clusters(self) -> ClustersPath:
        held = (self.vectors, self.codes, self.ids.ties, self.centroids)
        return ClustersPath(*held, self.bits, self.products)

    @property
    def has_graph(self) -> bool:
        return bool(self.meta["graph"])

    @once
    def graph(self) -> GraphPath | None:
        if not self.has_graph:
            return None
        offsets, centroids, _ = self.clusters
        return GraphPath.load(
            Part(self.arrays, "graph"),
            self.vectors,
            self.codes,
            self.ids.ties,
            offsets,
            centroids,
            None if self.bits is None else (self.bits, self.centroids),
        )

    @once
    def column_graphs(self) -> dict[int, list[ColumnPath]]:
        """The paths of columns, by the `id` of the posting lists that they follow."""
        found: dict[int, list[ColumnPath]] = {}
        for folder, column in paths_among(self.arrays):  # blocks before graphs
            if column not in self.indexed:
                raise CorruptIndexError(f"{folder}/{column}: the column is not indexed")
            try:
                made = self._column_path(folder, column)
            except (CorruptIndexError, KeyError) as error:
                raise CorruptIndexError(f"{folder}/{column}: {error}") from error
            found.setdefault(id(made.postings), []).append(made)
        return found

    def _column_path(self, folder: str, column: str) -> ColumnPath:
        arrays, postings = Part(self.arrays, f"{folder}/{column}"), self.attributes.postings(column)
        if folder in COLUMN_GRAPHS:
            if self.graph is None:
                raise CorruptIndexError("the segment has no graph of all rows")
            return COLUMN_GRAPHS[folder].load(arrays, self.graph, postings, column)
        if self.products is None:
            raise CorruptIndexError("the segment has no product codes")
        rows = Quantized(self.vectors, self.codes, self.products)
        return ColumnBlocks.load(folder, column, rows, self.ids.ties, postings, arrays)

    @once
    def _titled(self) -> dict[str, ColumnPath]:
        return {made.title: made for some in self.column_graphs.values() for made in some}

    def coverings(self, selection: Selection) -> tuple[Covering, ...]:
        """What the paths of columns would search for a selection, one for each path."""
        paths = self.column_graphs
        found: dict[str, Covering] = {}
        if paths:
            for span in selection.spans:
                for path in paths.get(id(span.postings), ()):
                    covering = path.covering(span.bounds)
                    if covering is None:
                        continue
                    known = found.get(path.title)
                    if known is None or covering.rows < known.rows:
                        found[path.title] = covering
                    if covering.blocks:  # few enough rows that links are no better
                        break
        return tuple(found.values())

    def least_coverings(self, count: int) -> tuple[Covering, ...]:
        """The same for a filter that so many rows pass and each path covers with no more."""
        blocks = -(-count // ROWS)
        return tuple(
            Covering(title, count, 1, blocks if isinstance(path, ColumnBlocks) else 0)
            for title, path in self._titled.items()
        )

    @once
    def attributes(self) -> AttributeIndex:
        return AttributeIndex.load(
            Part(self.arrays, "attributes"), self.schema, self.n, self._stored_column
        )

    def warmup(self, queries: np.ndarray) -> None:
        """Run the scans that the planner might not choose for these queries, float32[m, d]."""
        projected = self.project(queries)
        queries = queries if projected is None else projected.queries
        everything = Selection.all(self.n)
        for parameters in (ScanParameters(1), ScanParameters(1, bits=1 if self.has_bits else 0)):
            self.scan.search(queries, everything, 1, parameters, Budget())
        self.scan.warmup_lists(queries)

    def clear_cache(self) -> None:
        """Forget the selections of recent filters."""
        if "attributes" in self.__dict__:
            self.attributes.cache.clear()

    def array_bytes(self, name: str) -> int:
        """Bytes of one array, without touching it."""
        if isinstance(self.arrays, FileArrays):
            return self.arrays.files.nbytes(name)
        return int(self.arrays[name].nbytes)

    @property
    def stored_bytes(self) -> int:
        """Bytes of the columns kept for display."""
        if isinstance(self.arrays, FileArrays):
            return self.arrays.files.nbytes(STORED)
        return int(self.stored.nbytes)

    @once
    def locality(self) -> Locality:
        return Locality(self.codes, self.clusters.offsets, self.scan_clusters.ranks)

    def plan(
        self,
        count: int,
        k: int,
        recall: float,
        *,
        far: bool = False,
        exact: bool = False,
        only: str | None = None,
        coverings: tuple[Covering, ...] = (),
    ) -> Plan:
        """The planner's choice for so many passing rows; see `planner.choose`."""
        return choose(
            self.calibration,
            self.n,
            count,
            k,
            recall,
            far=far,
            exact=exact,
            has_graph=self.has_graph,
            only=only,
            coverings=coverings,
        )

    def path(self, name: str, column: str | None = None) -> Any:
        """The access path of this name; `column`: the title of one of a column, None for all."""
        if column is not None:
            return self._titled[column]
        paths = {"scan": "scan", "clusters": "scan_clusters", "graph": "graph"}
        return getattr(self, paths[name])

    # -- values back -------------------------------------------------------------------------

    @once
    def stored(self) -> pa.Table:
        """The columns kept for display, in row order."""
        table = self._stored()
        if table.num_rows != self.n and table.num_columns:  # no columns, no table
            raise CorruptIndexError(f"stored: {table.num_rows} rows, expected {self.n}")
        wanted = {name: kind for name, kind in self.schema.items() if name not in self.indexed}
        if dict(schema_of(table.schema)) != wanted and self.n:
            raise CorruptIndexError(f"stored: {table.column_names}, expected {list(wanted)}")
        return table

    def _stored_column(self, name: str) -> pa.ChunkedArray:
        return self.stored[name]

    def column(self, name: str, rows: np.ndarray) -> pa.Array:
        """The values of a column at rows (int32[m])."""
        if name in self.indexed:
            return self.attributes.take(name, rows)
        taken = self.stored[name].take(pa.array(rows))
        return taken.combine_chunks() if isinstance(taken, pa.ChunkedArray) else taken


class SegmentRows:
    """How masks and ids of the caller's map to the rows of one segment.

    `start` is the number of live rows in the segments before this one.
    """

    def __init__(self, segment: Segment, start: int) -> None:
        self.n = segment.n
        self._segment = segment
        self._start = start

    def rows_of_mask(self, values: np.ndarray) -> np.ndarray:
        """bool[n] in row order from a mask over the index's live rows in the order given."""
        segment = self._segment
        part = values[self._start : self._start + segment.rows]
        if segment.live is None:
            return np.asarray(part[segment.positions])
        mask = np.zeros(self.n, np.bool_)
        mask[segment.given_live()] = part
        return mask

    def rows_of_ids(self, values: Any) -> np.ndarray:
        """Sorted int32 rows, live or not, of those ids, all distinct, that this segment holds."""
        rows = self._segment.ids.lookup(values)
        rows.sort()
        return frozen(rows[rows.searchsorted(0) :])

    def stored(self, column: str) -> pa.ChunkedArray:
        """A stored column in row order."""
        return self._segment.stored[column]
