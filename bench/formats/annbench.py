"""The HDF5 files of ann-benchmarks: train, test, neighbors, distances; no filters.

Attributes: distance ("euclidean", "angular"; also "cosine", "normalized", "ip", "dot"), dimension,
point_type ("float"). Distances are Euclidean, or 1 - cos. Contiguous arrays are memory-mapped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from fanns.bench.formats.cells import answers_of, file_name, queries_of
from fanns.bench.formats.exchange import Foreign, QuerySet, no_attributes
from fanns.bench.formats.hostile import FormatError, size_of
from fanns.bench.workloads.workload import Workload

METRICS = {
    "euclidean": "l2",
    "angular": "cosine",
    "cosine": "cosine",
    "normalized": "cosine",
    "ip": "ip",
    "dot": "ip",
}
NAMES = {"l2": "euclidean", "cosine": "angular", "ip": "ip"}
_DEFLATE = 1100  # no filter of HDF5's own makes data smaller than by about this factor


def read(path: Path) -> Foreign:
    """What a file holds. Raises FormatError; links to other files are not followed."""
    size_of(path)
    try:
        with h5py.File(path, "r") as file:
            metric = _metric(path, file.attrs)
            vectors, asked = _array(path, file, "train", "f"), _array(path, file, "test", "f")
            neighbors = _array(path, file, "neighbors", "i") if "neighbors" in file else None
    except (OSError, RuntimeError) as error:
        raise FormatError(f"{path} cannot be read as HDF5: {error}") from error
    rows, offsets = np.empty(0, np.int64), np.zeros(1, np.int64)
    if neighbors is not None:
        used = neighbors >= 0
        rows = neighbors[used].astype(np.int64)
        offsets = np.concatenate([[0], used.sum(axis=1).cumsum()]).astype(np.int64)
    chosen = QuerySet(
        name="all",
        family="none",
        where=None,
        vectors=asked,
        params=[{}] * len(asked),
        file=None if neighbors is None else path,
        rows=rows,
        offsets=offsets,
    )
    return Foreign(str(path), metric, vectors, no_attributes(len(vectors)), [chosen])


def write(workload: Workload, names: Sequence[str], folder: Path) -> list[str]:
    """Writes a file for each cell without a filter; what was done, line by line."""
    said = []
    for cell in (one for one in workload.cells if one.name in names):
        if cell.where is not None:
            said.append(f"left out {cell.name}: this format has no filters")
            continue
        path = folder / f"{file_name(f'{workload.name}-{cell.name}')}.hdf5"
        numbers = queries_of(cell)
        found = answers_of(workload, numbers)
        k = int(np.diff(found.offsets).min(initial=workload.depth))
        taken = found.offsets[:-1, None] + np.arange(k)
        with h5py.File(path, "w") as file:
            file.attrs["type"] = "dense"
            file.attrs["distance"] = NAMES[workload.metric]
            file.attrs["dimension"] = workload.vectors.shape[1]
            file.attrs["point_type"] = "float"
            file["train"] = workload.vectors
            file["test"] = workload.queries[numbers]
            file["neighbors"] = found.rows[taken].astype(np.int32)
            file["distances"] = found.distances[taken].astype(np.float32)
        said.append(str(path))
    return said


def _metric(path: Path, attributes: Any) -> str:
    """The metric in our words."""
    kind = _text(attributes.get("point_type", "float"))
    distance = _text(attributes.get("distance", ""))
    if kind not in ("float", "int") or _text(attributes.get("type", "dense")) != "dense":
        raise FormatError(f"{path}: its points are {kind!r}; only dense vectors can be read")
    if distance not in METRICS:
        known = ", ".join(METRICS)
        raise FormatError(f"{path}: its distance is {distance!r}; expected one of {known}")
    return METRICS[distance]


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _array(path: Path, file: Any, name: str, kind: str) -> NDArray[Any]:
    """A dataset [rows, columns] of numbers ("f": any) or whole numbers ("i")."""
    link = file.get(name, getlink=True)
    if link is None or not isinstance(link, h5py.HardLink):
        raise FormatError(f"{path}: {name!r} is missing, or a link, which is not followed")
    data = file[name]
    if not isinstance(data, h5py.Dataset) or data.ndim != 2:
        raise FormatError(f"{path}: {name!r} should be a dataset of two dimensions")
    if data.shape[0] and not data.shape[1]:
        raise FormatError(f"{path}: {name!r} has {data.shape[0]:,} rows without a column")
    if data.dtype.kind not in ("fiu" if kind == "f" else "iu"):
        raise FormatError(f"{path}: {name!r} holds {data.dtype}, expected numbers")
    if data.external or data.is_virtual:
        raise FormatError(f"{path}: {name!r} keeps its values in other files, which are not read")
    wanted = math.prod(data.shape) * data.dtype.itemsize
    stored, most = data.id.get_storage_size(), _DEFLATE if _filtered(data) else 1
    if not stored * most >= wanted or stored > path.stat().st_size:
        raise FormatError(
            f"{path}: {name!r} should hold {wanted:,} bytes for its shape {data.shape}; "
            f"{stored:,} are stored"
        )
    offset = data.id.get_offset()
    if offset is None or wanted == 0:
        return np.asarray(data[()])
    if offset + wanted > path.stat().st_size:
        raise FormatError(f"{path}: at byte {offset}: {name!r} reaches over the end of the file")
    return np.memmap(path, data.dtype, mode="r", offset=offset, shape=data.shape)


def _filtered(data: Any) -> bool:
    """Whether values may be stored in fewer bytes than they have."""
    return bool(data.id.get_create_plist().get_nfilters())
