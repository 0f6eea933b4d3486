"""From a table to a segment: the recipe that every batch of an index follows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from fanns.arguments import check_names, check_whole
from fanns.calibration import DEFAULT, Calibration, measure, sample_queries
from fanns.clusters import MAX_CLUSTERS
from fanns.column_graphs import ColumnGraphs, wanted
from fanns.errors import CorruptIndexError, InputError
from fanns.held_rows import hold_rows
from fanns.ingest import SIMULATED, Ingest, read_table, split
from fanns.kernels.bits import BITS
from fanns.kernels.distance import L2, METRICS
from fanns.ranks import find_reduction
from fanns.recipe_types import check_types
from fanns.schema import ColumnType, Schema
from fanns.segment import Segment
from fanns.segment_building import Machine, Progress, SegmentData, build_segment
from fanns.threads import available_threads
from fanns.transforms import NONE, Transforms
from fanns.vectors import accept_queries

# Sample queries beyond this many tell little more and cost build time.
# Smaller segments are scanned whatever is measured.
MEASURED_ROWS = 1_000
SAMPLE_LIMIT = 128
# How far the length of a normalised vector may be from 1 when its values are rounded to float16.
ROUNDED = 1e-3
CHUNK = 4096  # rows that are turned into float16 at a time
# What `reduce` may be: look for a subspace that holds all rows where queries gain by it, look for
# one wherever it saves memory, or hold rows as given.
REDUCE = ("auto", "on", "off")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What every segment of an index has in common.

    Attributes:
        attributes: names of the indexed columns; stored: of those kept for display.
        metric, dimensions, dtype: of the vectors as they are held.
        generated: ids are 0..n-1 because the data has none.
        model: the text encoder of the vectors, "simulated" where no encoder made them, or None.
        transforms: what vectors go through before they are held.
    """

    metric: str
    dimensions: int
    dtype: str
    vector_name: str
    id_name: str
    id_kind: str
    generated: bool
    attributes: tuple[str, ...]
    stored: tuple[str, ...]
    schema: Schema
    model: str | None
    seed: int
    threads: int
    keep_originals: bool
    reduce: str
    calibration: str
    bits: int
    graphs: ColumnGraphs
    transforms: Transforms = NONE

    @property
    def given_dimensions(self) -> int:
        """Of the vectors that users give."""
        return self.transforms.dimensions if self.transforms else self.dimensions

    @property
    def asked_metric(self) -> str:
        """The metric that users ask for."""
        return self.transforms.asked_metric(self.metric)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row while it is read."""
        held = np.dtype(self.dtype).itemsize * self.dimensions + 512
        return held + 8 * self.transforms.dimensions if self.transforms else held

    def hold(self, ingest: Ingest, start: int = 0) -> Ingest:
        """Rows as they are held; see `hold_rows`."""
        return hold_rows(ingest, self.transforms, self.metric, self.threads, start)

    def held_queries(self, queries: Any) -> np.ndarray:
        """Queries as held vectors are compared with, float32[m, dimensions].

        Raises:
            InputError: as `accept_queries`, or one cannot be transformed.
        """
        if not self.transforms:
            return accept_queries(queries, self.dimensions, METRICS[self.metric])
        return self.transforms.queries(accept_queries(queries, self.given_dimensions, L2))

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            name: getattr(self, name)
            for name in self.__slots__
            if name not in ("schema", "threads", "graphs", "transforms")
        }
        out["transforms"] = self.transforms.digest
        out["attributes"], out["stored"] = list(self.attributes), list(self.stored)
        out["graphs"] = self.graphs.to_json()
        out["schema"] = {name: kind.to_json() for name, kind in self.schema.items()}
        return out

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], transforms: Transforms = NONE) -> Recipe:
        """The inverse of `to_json`, with the transforms that are kept beside.

        Raises:
            CorruptIndexError: the settings are not a recipe.
        """
        try:
            check_types(dict(raw))
            fields = dict(raw)
            fields["schema"] = {
                name: ColumnType.from_json(kind) for name, kind in raw["schema"].items()
            }
            fields["attributes"], fields["stored"] = tuple(raw["attributes"]), tuple(raw["stored"])
            fields["graphs"] = ColumnGraphs.from_json(raw["graphs"])
            fields["transforms"] = transforms
            if raw["transforms"] != transforms.digest:
                raise ValueError("its transforms are others")
            recipe = cls(**fields, threads=available_threads())
            known = recipe.metric in METRICS and recipe.id_kind in ("int", "string")
            if not known or recipe.dtype not in ("float32", "float16", "int8"):
                raise ValueError("unknown metric, id type or dtype")
            if recipe.reduce not in REDUCE:
                raise ValueError(f"reduce is {recipe.reduce!r}")
            if type(recipe.bits) is not int or recipe.bits not in (0, *BITS):
                raise ValueError("unknown codes")
            if not recipe.graphs.columns() <= set(recipe.attributes):
                raise ValueError("graphs of columns that are not indexed")
            if recipe.dimensions < 1:
                raise ValueError("no dimensions")
            if transforms and (transforms.width, recipe.dtype) != (recipe.dimensions, "float32"):
                raise ValueError("vectors are not as the transforms give them")
            return recipe
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CorruptIndexError(f"settings: not those of an index ({error})") from error

    def ingest_more(self, data: Any, next_id: Callable[[], int]) -> Ingest:
        """A further batch, of the same columns and types; generated ids begin at `next_id`.

        Raises:
            InputError: a column is missing or has another type or length of vectors.
        """
        table = read_table(data)
        if not self.generated and self.id_name not in table.column_names:
            raise InputError(f"the index has ids in column {self.id_name!r}, this batch has none")
        ingest = split(
            table,
            vector=self.vector_name,
            id=None if self.generated else self.id_name,
            attributes=self.attributes,
            store=self.stored,
        )
        given = f"{ingest.vectors.dtype}[{ingest.vectors.shape[1]}]"
        if not self.transforms and given != f"{self.dtype}[{self.dimensions}]":
            raise InputError(
                f"vectors are {given}, the index holds {self.dtype}[{self.dimensions}]"
            )
        for name, kind in self.schema.items():
            if ingest.schema[name] != kind:
                raise InputError(
                    f"column {name!r} is {ingest.schema[name].to_arrow()}, in the index it is"
                    f" {kind.to_arrow()}"
                )
        if kind_of(ingest.ids) != self.id_kind:
            raise InputError(f"ids are {kind_of(ingest.ids)}s, in the index {self.id_kind}s")
        ingest = self.hold(ingest)
        if self.generated:
            return replace(ingest, ids=np.asarray(ingest.ids) + next_id())
        return ingest

    def check_keys(self, ids: Any) -> Any:
        """Ids of the caller's as int64[m] or a list of strings.

        Raises:
            InputError: they are of the other type.
        """
        if isinstance(ids, (str, int, np.integer)):
            ids = [ids]
        if isinstance(ids, bytes | bytearray | Mapping) or not isinstance(ids, Iterable):
            raise InputError(f"ids is {ids!r}, expected an id or a list of ids")
        if isinstance(ids, np.ndarray) and ids.ndim != 1:
            raise InputError(f"ids is an array of shape {ids.shape}, expected one dimension")
        keys = list(ids) if not isinstance(ids, np.ndarray) else ids.tolist()
        strings = [isinstance(key, str) for key in keys]
        if self.id_kind == "string" and all(strings):
            return keys
        if self.id_kind == "int" and not any(strings):
            try:
                found = np.array(keys) if keys else np.zeros(0, np.int64)
                if found.dtype.kind not in "iu" or found.ndim != 1:
                    raise TypeError(f"{found.dtype} of {found.ndim} dimensions")
                return np.array(keys, np.int64).reshape(len(keys))
            except (TypeError, ValueError, OverflowError) as error:
                raise InputError(f"ids are not int64: {error}") from error
        raise InputError(f"ids are {self.id_kind}s in this index, got {keys[:3]!r}")


def prepare_data(
    data: Any,
    *,
    vector: str | None,
    id: str | None,
    metric: str,
    attributes: Sequence[str] | None,
    store: Sequence[str] | None,
    model: str | None,
    seed: int,
    threads: int | None,
    keep_originals: bool,
    reduce: str,
    calibration: str,
    bits: int,
    range_index: Sequence[str] = (),
    label_index: Sequence[str] | str = (),
    transforms: Transforms = NONE,
) -> tuple[Recipe, Ingest]:
    """Read and check the data, and settle the recipe; nothing is built yet."""
    options = {
        "vector": vector,
        "id": id,
        "metric": metric,
        "attributes": attributes,
        "store": store,
        "model": model,
        "seed": seed,
        "threads": threads,
        "keep_originals": keep_originals,
        "reduce": reduce,
        "calibration": calibration,
        "bits": bits,
        "range_index": range_index,
        "label_index": label_index,
        "transforms": transforms,
    }
    check_options(options)
    table = read_table(data)
    if id is not None and id not in table.column_names:
        raise InputError(f"id: no column {id!r}; the columns are {', '.join(table.column_names)}")
    ingest = split(table, vector=vector, id=id or "id", attributes=attributes, store=store)
    held = transforms.held_metric(metric)
    ingest = hold_rows(ingest, transforms, held, threads or available_threads())
    return recipe_of(ingest, ingest.vectors.shape[1], str(ingest.vectors.dtype), options), ingest


def check_options(options: Mapping[str, Any]) -> None:
    """Raises InputError unless the options of a build are of their types and among their values."""
    metric, calibration, reduce = (options[n] for n in ("metric", "calibration", "reduce"))
    transforms = options["transforms"]
    if not isinstance(metric, str) or transforms.held_metric(metric) not in METRICS:
        raise InputError(
            f"metric is {metric!r}, expected one of {', '.join(METRICS)}, or that of a transform"
        )
    if transforms.full_precision and not options["keep_originals"]:
        raise InputError(
            f"keep_originals=False holds float16, too little for {transforms.steps[-1].kind}"
        )
    if calibration not in ("measure", "default"):
        raise InputError(f"calibration is {calibration!r}, expected 'measure' or 'default'")
    if not isinstance(reduce, str) or reduce not in REDUCE:
        raise InputError(f"reduce is {reduce!r}, expected 'auto', 'on' or 'off'")
    bits = options["bits"]
    if type(bits) is not int or bits not in (0, *BITS):
        raise InputError(f"bits is {bits!r}, expected 0 (none), {', '.join(map(str, BITS))}")
    if options["threads"] is not None:
        check_whole("threads", options["threads"], 1)
    check_whole("seed", options["seed"], 0)
    check_names("attributes", options["attributes"])
    check_names("store", options["store"])
    for name in ("vector", "id", "model"):
        if options[name] is not None and not isinstance(options[name], str):
            raise InputError(f"{name} is {options[name]!r}, expected a name")


def recipe_of(ingest: Ingest, dimensions: int, dtype: str, options: Mapping[str, Any]) -> Recipe:
    """The recipe that options of a build settle for its first rows.

    Raises:
        InputError: a text encoder is named for vectors that none made.
    """
    model = options["model"]
    if ingest.model == SIMULATED and model not in (None, SIMULATED):
        raise InputError(
            f"model={model!r}: these vectors are simulated, no text encoder made them; "
            "build from vectors of that model to query by text"
        )
    columns = ingest.attributes.column_names
    return Recipe(
        metric=options["transforms"].held_metric(options["metric"]),
        dimensions=dimensions,
        dtype=dtype,
        vector_name=ingest.vector,
        id_name=ingest.id or "id",
        id_kind=kind_of(ingest.ids),
        generated=ingest.id is None,
        attributes=tuple(columns),
        stored=tuple(ingest.stored.column_names),
        schema=ingest.schema,
        model=model or ingest.model,
        seed=options["seed"],
        threads=options["threads"] or available_threads(),
        keep_originals=options["keep_originals"],
        reduce="off" if options["transforms"] else options["reduce"],
        calibration=options["calibration"],
        bits=int(options["bits"]),
        graphs=wanted(options["range_index"], options["label_index"], ingest.schema, columns),
        transforms=options["transforms"],
    )


def make_segment(
    recipe: Recipe,
    source: Ingest | list[Ingest],
    queries: Any,
    progress: Progress | None,
    calibration: Calibration | None = None,
    most_clusters: int = MAX_CLUSTERS,
    machine: Machine | None = None,
) -> Segment:
    """Build one segment by the recipe, calibrated on sample queries or stand-ins, or as given.

    Rows that nobody else needs come in a list of one, from which they are taken: then fewer copies
    are held. `machine`: what the loops over all rows run on, by default the processor.
    """
    owned = isinstance(source, list)
    ingest = source.pop() if isinstance(source, list) else source
    vectors, reduction = ingest.vectors, None
    if recipe.reduce != "off":
        if progress is not None:
            progress("reduce", 0, 1)
        found = find_reduction(vectors, recipe.reduce, recipe.seed, recipe.threads)
        if found is not None:
            reduction, vectors = found
    if not recipe.keep_originals:
        vectors = compact_vectors(vectors, recipe.metric)
    sample = None
    if queries is not None:
        sample = recipe.held_queries(queries)
        if len(sample) > SAMPLE_LIMIT:
            chosen = np.random.default_rng(recipe.seed).permutation(len(sample))[:SAMPLE_LIMIT]
            sample = np.ascontiguousarray(sample[np.sort(chosen)])
        if reduction is not None:
            sample = reduction.project(sample).queries

    told = "held-out stand-ins" if sample is None else "sample queries"
    measured = recipe.calibration != "default" and len(vectors) >= MEASURED_ROWS
    if measured and calibration is None and sample is None:
        sample = sample_queries(vectors, recipe.seed)
        if recipe.transforms:
            sample = recipe.transforms.stand_ins(sample)

    def calibrate(segment: Segment) -> Calibration:
        if not measured or sample is None:
            return DEFAULT
        return measure(
            segment,
            sample,
            told,
            recipe.seed,
            progress=None
            if progress is None
            else lambda done, total: progress("calibrate", done, total),
            nearest=None if machine is None else machine.nearest(segment),
        )

    tables = (ingest.attributes, ingest.stored)
    data = SegmentData(ingest.ids, vectors, *tables, reduction, owned)
    del ingest, vectors, tables
    return build_segment(
        data,
        recipe.schema,
        recipe.metric,
        seed=recipe.seed,
        threads=recipe.threads,
        calibration=calibrate if calibration is None else calibration,
        bits=recipe.bits,
        graphs=recipe.graphs,
        progress=progress,
        most_clusters=most_clusters,
        machine=machine,
    )


def compact_vectors(vectors: np.ndarray, metric: str) -> np.ndarray:
    """float16 stand-ins for the vectors, normalised under cosine; such ones stay as they are."""
    given = vectors.dtype == np.float16
    if given and (metric != "cosine" or all(map(is_normal, in_chunks(vectors)))):
        return vectors
    out = np.empty(vectors.shape, np.float16)
    for start, chunk in enumerate(in_chunks(vectors)):
        wide = chunk.astype(np.float32)
        if metric == "cosine":
            wide /= np.linalg.norm(wide, axis=1, keepdims=True)
        if len(wide) and np.abs(wide).max() > np.finfo(np.float16).max:
            raise InputError("keep_originals=False needs values within float16's range, 65504")
        out[start * CHUNK : start * CHUNK + len(wide)] = wide
    return out


def in_chunks(vectors: np.ndarray) -> Iterator[np.ndarray]:
    """The rows in pieces of CHUNK."""
    return (vectors[start : start + CHUNK] for start in range(0, len(vectors), CHUNK))


def is_normal(vectors: np.ndarray) -> bool:
    """Whether rows have length 1, as far as float16 tells."""
    norms = np.linalg.norm(vectors.astype(np.float32), axis=1)
    return bool((np.abs(norms - 1) < ROUNDED).all())


def kind_of(ids: np.ndarray | pa.Array) -> str:
    """ "int" or "string"."""
    return "int" if isinstance(ids, np.ndarray) else "string"
