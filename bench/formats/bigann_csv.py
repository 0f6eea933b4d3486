"""Results as the big-ann benchmarks export them: a CSV file with one row for each point.

algorithm, parameters, dataset, count (k), qps, distcomps (a query), build (seconds), indexsize
(kB), queriessize (indexsize / qps), mean_ssd_ios, mean_latency (microseconds), recall/ap. What was
not measured is left empty.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from fanns.bench.running.results import Run

_text, _real = pa.string(), pa.float64()
COLUMNS = pa.schema(
    [
        ("algorithm", _text),
        ("parameters", _text),
        ("dataset", _text),
        ("count", pa.int64()),
        ("qps", _real),
        ("distcomps", _real),
        ("build", _real),
        ("indexsize", _real),
        ("queriessize", _real),
        ("mean_ssd_ios", _real),
        ("mean_latency", _real),
        ("recall/ap", _real),
    ]
)


def write(run: Run, path: Path) -> Path:
    """Writes the points of a run. The dataset is workload/cell/mode."""
    builds = {build["engine"]: build for build in run.builds().to_pylist()}
    workload = run.header["workload"]["name"]
    rows = [_row(point, builds.get(point["engine"], {}), workload) for point in _points(run)]
    pa.csv.write_csv(pa.Table.from_pylist(rows, COLUMNS), path)
    return path


def _points(run: Run) -> list[dict[str, Any]]:
    points: list[dict[str, Any]] = run.points().to_pylist()
    return points


def _row(point: dict[str, Any], build: dict[str, Any], workload: str) -> dict[str, Any]:
    size = build.get("resident_bytes") or build.get("disk_bytes")
    kilobytes = None if size is None else size / 1000
    return {
        "algorithm": point["engine"],
        "parameters": point["setting"],
        "dataset": f"{workload}/{point['cell']}/{point['mode']}",
        "count": point["k"],
        "qps": point["qps"],
        "distcomps": point["distances"],
        "build": build.get("wall_s"),
        "indexsize": kilobytes,
        "queriessize": kilobytes / point["qps"] if kilobytes and point["qps"] else None,
        "mean_ssd_ios": None,
        "mean_latency": point["mean_us"],
        "recall/ap": point["recall"],
    }
