"""The folders of the big-ann benchmarks: vectors, exact answers, and tags of the filter track.

    base*.u8bin (.i8bin, .fbin, .f16bin)      items             base.metadata*.spmat    their tags
    query*.u8bin (...)                        queries           query.metadata*.spmat   tags asked
    GT* or groundtruth* (.ibin, .bin, none)   exact answers

An item passes when it has all the tags of the query. The format does not say its metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fanns.bench.formats import spmat, xbin
from fanns.bench.formats.cells import answers_of, asked_all, asked_one, file_name, queries_of
from fanns.bench.formats.exchange import Foreign, QuerySet, no_attributes
from fanns.bench.formats.hostile import FormatError
from fanns.bench.workloads.workload import Workload

COLUMN, WHERE = "tags", "list_has_all(tags, :tags)"
VECTORS = (".u8bin", ".i8bin", ".fbin", ".f16bin")
PATTERNS = {
    "base": [f"base*{suffix}" for suffix in VECTORS],
    "query": [f"query*{suffix}" for suffix in VECTORS],
    "answers": ["GT*", "gt*", "groundtruth*"],
    "base_tags": ["base*.spmat"],
    "query_tags": ["query*.spmat"],
}


def read(folder: Path, metric: str = "l2", **named: Path | None) -> Foreign:
    """What a folder holds. `named` names files where patterns fit several, or none.

    Keys of `named` are those of PATTERNS. Raises FormatError.
    """
    files = {role: named.get(role) or _find(folder, role) for role in PATTERNS}
    base, query = files["base"], files["query"]
    if base is None or query is None:
        missing = "base" if base is None else "query"
        raise FormatError(f"{folder}: no file named {' or '.join(PATTERNS[missing])}")
    vectors, asked = xbin.read(base), xbin.read(query)
    attributes, where = no_attributes(len(vectors)), None
    params: list[dict[str, Any]] = [{} for _ in range(len(asked))]
    if files["base_tags"] is not None and files["query_tags"] is not None:
        tags = spmat.read(files["base_tags"])
        attributes = pa.table(
            {COLUMN: pa.ListArray.from_arrays(_narrow(tags.offsets), tags.values)}
        )
        wanted = spmat.read(files["query_tags"])
        lists = np.split(np.asarray(wanted.values), wanted.offsets[1:-1])
        params = [{"tags": [int(tag) for tag in one]} for one in lists[: len(wanted.offsets) - 1]]
        where = WHERE
    family = "none" if where is None else "contains_all"
    chosen = QuerySet("all" if where is None else "tags", family, where, asked, params)
    if files["answers"] is not None:
        chosen = _with_answers(chosen, files["answers"])
    return Foreign(str(folder), metric, vectors, attributes, [chosen])


def write(workload: Workload, names: Sequence[str], folder: Path) -> list[str]:
    """Writes items once and every cell that the format can hold; what was done, line by line.

    Distances are as these benchmarks have them: squared under l2, inner products under ip and
    cosine (of unit vectors). Cells fit that have no filter, or ask a list for one or all of some
    values.
    """
    suffix = _suffix(workload.vectors, workload.queries)
    said = [str(xbin.write(folder / f"base{suffix}", workload.vectors))]
    tagged: dict[str, dict[Any, int]] = {}
    for cell in (one for one in workload.cells if one.name in names):
        asked = cell.where and (asked_all(cell.where) or asked_one(cell.where))
        if cell.where is not None and not asked:
            said.append(f"left out {cell.name}: this format cannot hold {cell.where}")
            continue
        numbers, title = queries_of(cell), file_name(cell.name)
        if asked:
            column, parameter = asked
            if column not in tagged:
                tagged[column] = _write_tags(workload, column, folder)
                said.append(str(folder / f"base.metadata.{column}.spmat"))
            given = [workload.params[i][parameter] for i in numbers]
            lists = [one if isinstance(one, list | tuple) else [one] for one in given]
            wanted = _numbered(lists, tagged[column])
            said.append(str(spmat.write(folder / f"query.metadata.{title}.spmat", wanted)))
        said.append(str(xbin.write(folder / f"query.{title}{suffix}", workload.queries[numbers])))
        answers = folder / f"GT.{title}.ibin"
        said.append(str(xbin.write_nearest(answers, _answers(workload, numbers), workload.depth)))
    return said


def _find(folder: Path, role: str) -> Path | None:
    """The one file of a role, or None."""
    found = sorted({file for pattern in PATTERNS[role] for file in folder.glob(pattern)})
    if role == "answers":
        found = [file for file in found if file.suffix in (".ibin", ".bin", "")]
    if len(found) > 1:
        option = role.replace("_", "-")
        names = ", ".join(file.name for file in found)
        raise FormatError(f"{folder}: which one? {names}; name it with --{option}")
    return found[0] if found else None


def _with_answers(chosen: QuerySet, file: Path) -> QuerySet:
    found = xbin.read_answers(file)
    complete = xbin.form(file) == "nearest"
    return QuerySet(
        chosen.name,
        chosen.family,
        chosen.where,
        chosen.vectors,
        chosen.params,
        file,
        found.ids,
        found.offsets,
        complete,
    )


def _narrow(offsets: NDArray[np.int64]) -> NDArray[np.int32]:
    """Offsets of an Arrow list column."""
    if offsets[-1] > np.iinfo(np.int32).max:
        raise FormatError(f"{int(offsets[-1]):,} tags are more than one column can hold")
    return offsets.astype(np.int32)


def _suffix(*arrays: NDArray[Any]) -> str:
    """The narrowest type that holds all values as they are."""
    low, high, whole = 0.0, 0.0, True
    for values in arrays:
        for start in range(0, len(values), 1 << 16):
            part = values[start : start + (1 << 16)]
            if part.size:
                low, high = min(low, float(part.min())), max(high, float(part.max()))
                whole = whole and bool((part == np.rint(part)).all())
        if not whole:
            return ".fbin"
    if low >= 0 and high <= 255:
        return ".u8bin"
    return ".i8bin" if low >= -128 and high <= 127 else ".fbin"


def _write_tags(workload: Workload, column: str, folder: Path) -> dict[Any, int]:
    """Writes the tags of a list column; the number of each tag. Text and what int32 cannot hold are
    numbered in order, and listed in tags.<column>.txt.
    """
    lists = [one or [] for one in workload.attributes[column].to_pylist()]
    values = {value for one in lists for value in one if value is not None}
    most = np.iinfo(np.int32).max - 1  # the next number stands for a tag that no item has
    whole = all(isinstance(value, int) and 0 <= value <= most for value in values)
    numbers = {value: value if whole else at for at, value in enumerate(sorted(values))}
    if not whole:
        words = "".join(f"{value}\n" for value in sorted(values))
        (folder / f"tags.{column}.txt").write_text(words, encoding="utf-8")
    spmat.write(folder / f"base.metadata.{column}.spmat", _numbered(lists, numbers))
    return numbers


def _numbered(lists: Sequence[Sequence[Any]], numbers: dict[Any, int]) -> spmat.Tags:
    """Lists as tags; a tag that no item has gets the number after the last one."""
    unknown = max(numbers.values(), default=-1) + 1
    rows = [sorted({numbers.get(v, unknown) for v in one if v is not None}) for one in lists]
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return spmat.Tags(np.array([v for row in rows for v in row], np.int32), offsets, unknown + 1)


def _answers(workload: Workload, numbers: NDArray[np.int64]) -> xbin.Answers:
    found = answers_of(workload, numbers)
    if workload.metric == "l2":
        values = found.distances**2
    else:
        values = -found.distances if workload.metric == "ip" else 1.0 - found.distances
    return xbin.Answers(found.rows.astype(np.int32), values.astype(np.float32), found.offsets)
