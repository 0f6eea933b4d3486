"""A run on disk: raw samples of every finished cell, builds, problems, and what follows from them.

run.json          format, config, workload, machine, versions, engines, notes, started, finished
cells.parquet     what was asked: one row a cell
builds.parquet    one row an engine, also of those that are absent or failed
samples/*.parquet one file a finished cell, one row a measured query
problems.parquet  why an engine has no (or fewer) points in a cell
points.parquet    derived from all of the above once the run is finished
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fanns.bench.running.metrics import Round, summarise
from fanns.errors import FannsError

FORMAT = 1

_text, _real, _whole, _flag = pa.string(), pa.float64(), pa.int64(), pa.bool_()

CELLS = pa.schema(
    [("cell", _text), ("family", _text), ("where", _text), ("target", _real),
     ("correlation", _text), ("selectivity", _real), ("affinity", _real),
     ("measure", _whole), ("tune", _whole)]
)  # fmt: skip
BUILDS = pa.schema(
    [("engine", _text), ("kind", _text), ("state", _text), ("reason", _text), ("version", _text),
     ("options", _text), ("threads", _whole), ("wall_s", _real), ("cpu_s", _real),
     ("peak_bytes", _whole), ("disk_bytes", _whole), ("open_s", _real), ("resident_bytes", _whole),
     ("cached", _flag)]
)  # fmt: skip
PROBLEMS = pa.schema(
    [("engine", _text), ("cell", _text), ("mode", _text), ("state", _text), ("reason", _text)]
)
# seconds: of the whole (round, point), wall clock where several threads searched, else the sum of
# its micros; parse_us: of the cell's filter text, once. Both repeat on every row they belong to.
SAMPLES = pa.schema(
    [("engine", _text), ("cell", _text), ("mode", _text), ("setting", _text),
     ("round", pa.int32()), ("query", pa.int32()), ("micros", _real), ("recall", _real),
     ("returned", pa.int32()), ("wanted", pa.int32()), ("violations", pa.int32()),
     ("invalid", pa.int32()), ("distances", _whole), ("status", _text), ("seconds", _real),
     ("parse_us", _real)]
)  # fmt: skip
ROUNDS = pa.schema(
    [("engine", _text), ("cell", _text), ("mode", _text), ("setting", _text),
     ("round", pa.int32()), ("queries", _whole), ("seconds", _real), ("recall", _real)]
)  # fmt: skip
POINTS = pa.schema(
    [("engine", _text), ("kind", _text), ("cell", _text), ("family", _text), ("where", _text),
     ("target", _real), ("correlation", _text), ("selectivity", _real), ("affinity", _real),
     ("mode", _text), ("setting", _text), ("k", _whole), ("threads", _whole),
     ("queries", _whole), ("rounds", _whole), ("recall", _real), ("recall_low", _real),
     ("recall_high", _real), ("short", _real), ("violations", _real), ("invalid", _real),
     ("qps", _real), ("qps_low", _real), ("qps_high", _real), ("mean_us", _real),
     ("p50_us", _real), ("p95_us", _real), ("p99_us", _real), ("parse_us", _real),
     ("distances", _real), ("exact", _real)]
)  # fmt: skip

_KEY = ("engine", "cell", "mode", "setting")


class RunError(FannsError, ValueError):
    """A folder that holds no run, a damaged one, or one of another configuration."""


class Run:
    """A run's folder. `header` is run.json; tables have the columns of the schemas above."""

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        self.folder = folder
        self.header = header

    @classmethod
    def create(
        cls, folder: Path, header: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]
    ) -> Run:
        """Begins a run in `folder`, made if needed; `cells` are rows of the schema CELLS.

        The header needs "config" (with "k" and "threads") and "engines" (name -> {"kind"}). Raises
        RunError where the folder holds a run already.
        """
        if (folder / "run.json").exists():
            raise RunError(f"{folder} holds a run already; give another folder, or remove it")
        (folder / "samples").mkdir(parents=True, exist_ok=True)
        run = cls(folder, {"format": FORMAT, "notes": [], "finished": None, **header})
        run._put("cells", pa.Table.from_pylist([dict(cell) for cell in cells], CELLS))
        run.set_builds([])
        run._put("problems", PROBLEMS.empty_table())
        run.save()
        return run

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Run:
        """The run in a folder; raises RunError where there is none."""
        path = Path(folder) / "run.json"
        try:
            header = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(f"{folder} holds no run: {path.name} is missing") from None
        except (OSError, ValueError) as error:
            raise RunError(f"{path} cannot be read: {error}") from error
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise RunError(f"{path} is not a run of format {FORMAT}; run the benchmark again")
        return cls(Path(folder), header)

    # What was measured

    def cells(self) -> pa.Table:
        return self._get("cells")

    def builds(self) -> pa.Table:
        return self._get("builds")

    def problems(self) -> pa.Table:
        return self._get("problems")

    def samples(self) -> pa.Table:
        """Every raw sample, in the order of the cells."""
        parts = [pq.read_table(path, schema=SAMPLES) for path in self._sample_files()]
        return pa.concat_tables(parts) if parts else SAMPLES.empty_table()

    def rounds(self) -> pa.Table:
        """One row for each round of each point; recall over the queries that have a match."""
        rows = []
        for path in self._sample_files():
            for key, part in _groups(pq.read_table(path, schema=SAMPLES), (*_KEY, "round")):
                one = _round(part)
                named = dict(zip((*_KEY, "round"), key, strict=True))
                rows.append(named | one._asdict())
        return pa.Table.from_pylist(rows, ROUNDS)

    def points(self) -> pa.Table:
        """One row a point: from points.parquet once the run is finished, else derived now."""
        path = self.folder / "points.parquet"
        return self._get("points") if path.exists() else self.derive()

    def derive(self) -> pa.Table:
        """The points, computed from the samples."""
        cells = {row["cell"]: row for row in self.cells().to_pylist()}
        rows = []
        for path in self._sample_files():
            for key, part in _groups(pq.read_table(path, schema=SAMPLES), _KEY):
                rows.append(self._point(key, cells[key[1]], part))
        return pa.Table.from_pylist(rows, POINTS)

    def finished_cells(self) -> set[str]:
        """Names of the cells whose samples are here."""
        numbers = {int(path.name.partition("-")[0]) for path in self._sample_files()}
        return {name for i, name in enumerate(self.cells()["cell"].to_pylist()) if i in numbers}

    # Writing

    def save(self) -> None:
        """Writes run.json."""
        path = self.folder / "run.json"
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(self.header, indent=2) + "\n", encoding="utf-8")
        os.replace(partial, path)

    def note(self, text: str) -> None:
        """Adds a remark that readers of the results need, once."""
        if text not in self.header["notes"]:
            self.header["notes"].append(text)
            self.save()

    def set_builds(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replaces the table of builds; missing columns become null."""
        self._put("builds", _table(rows, BUILDS))

    def add_cell(self, cell: str, samples: pa.Table, problems: Sequence[Mapping[str, Any]]) -> None:
        """Keeps a finished cell: its problems, then its samples, whose file says it is finished."""
        names = self.cells()["cell"].to_pylist()
        if cell not in names:
            raise RunError(f"{cell!r} is not a cell of the run in {self.folder}")
        others = self.problems().filter(pc.field("cell") != cell)
        self._put("problems", pa.concat_tables([others, _table(problems, PROBLEMS)]))
        (self.folder / "points.parquet").unlink(missing_ok=True)
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", cell)
        self._put(f"samples/{names.index(cell):03d}-{plain}", samples.cast(SAMPLES))

    def finish(self, when: str, complete: bool = True) -> None:
        """Derives the points and marks the run as ended at `when` (ISO time).

        complete: no cell is missing.
        """
        self._put("points", self.derive())
        self.header |= {"finished": when, "complete": complete}
        self.save()

    # Inside

    def _point(
        self, key: tuple[Any, ...], cell: Mapping[str, Any], part: pa.Table
    ) -> dict[str, Any]:
        config, engine = self.header["config"], key[0]
        rounds = [_round(one) for _, one in _groups(part, ("round",))]
        columns = ("micros", "recall", "returned", "wanted", "violations", "invalid")
        arrays = {name: part[name].to_numpy() for name in columns}
        status = part["status"].drop_null().to_pylist()
        return {
            **{name: cell[name] for name in CELLS.names if name in POINTS.names},
            **dict(zip(_KEY, key, strict=True)),
            "kind": self.header["engines"][engine]["kind"],
            "k": config["k"],
            "threads": config["threads"],
            **summarise(**arrays, rounds=rounds),
            "parse_us": part["parse_us"][0].as_py(),
            "distances": pc.mean(part["distances"]).as_py(),
            "exact": float(np.mean([one == "exact" for one in status])) if status else None,
        }

    def _sample_files(self) -> list[Path]:
        return sorted((self.folder / "samples").glob("*.parquet"))

    def _get(self, name: str) -> pa.Table:
        path = self.folder / f"{name}.parquet"
        try:
            return pq.read_table(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise RunError(f"{path} cannot be read: {error}") from error

    def _put(self, name: str, table: pa.Table) -> None:
        path = self.folder / f"{name}.parquet"
        partial = path.with_suffix(".partial")
        pq.write_table(table, partial, compression="zstd")
        os.replace(partial, path)


def _table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    if strange := {name for row in rows for name in row} - set(schema.names):
        raise ValueError(f"unknown columns {sorted(strange)}; expected {schema.names}")
    return pa.Table.from_pylist([dict(row) for row in rows], schema)


def _groups(table: pa.Table, names: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], pa.Table]]:
    """The rows of each combination of values, in order of first appearance."""
    codes = np.zeros(table.num_rows, np.int64)
    for name in names:
        column = table[name].combine_chunks().dictionary_encode()
        codes = codes * len(column.dictionary) + np.asarray(column.indices)
    order = np.argsort(codes, kind="stable")
    sorted_rows, sorted_codes = table.take(pa.array(order)), codes[order]
    starts = np.flatnonzero(np.diff(sorted_codes, prepend=-1))
    lengths = np.diff(starts, append=len(codes))
    for group in np.argsort(order[starts]):
        part = sorted_rows.slice(int(starts[group]), int(lengths[group]))
        yield tuple(part[name][0].as_py() for name in names), part


def _round(part: pa.Table) -> Round:
    recalls = part["recall"].to_numpy()[part["wanted"].to_numpy() > 0]
    recall = float(recalls.mean()) if len(recalls) else 1.0
    return Round(part.num_rows, part["seconds"][0].as_py(), recall)
