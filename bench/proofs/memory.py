"""`fanns bench memory`: what a process holds that searches an index from disk, and its recall."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from fanns.bench.proofs.asking import nearest, recalls
from fanns.bench.proofs.findings import Bar, Finding
from fanns.bench.proofs.large import Large, asked, column
from fanns.bench.reporting.sheets import Sheet
from fanns.bench.running.metrics import recall_interval
from fanns.bench.running.results import RunError
from fanns.bench.workloads import truth

K = 10
Filter = tuple[str | None, dict[str, Any]]


class Measured(NamedTuple):
    """stages: readings of the process, bytes by name. recalls: float64[m], of each query."""

    stages: dict[str, dict[str, int | None]]
    recalls: NDArray[np.float64]


def measure(
    held: Large, group: int, queries: int, recall: float, report: truth.Report | None = None
) -> Measured:
    """Search in a process of its own; every fourth query each without a filter, by category, by
    date and by a group of so many rows.
    """
    vectors, attributes = held.vectors(), held.attributes()
    wanted = asked(queries, vectors.shape[1])
    filters = _filters(held, group, queries)
    told = _search(held.index, wanted, filters, recall)
    found = truth.solve(
        vectors, attributes, wanted, [text for text, _ in filters], [one for _, one in filters],
        depth=K, report=report,
    )  # fmt: skip
    ids = [np.array(own, np.int64) for own in told["ids"]]
    return Measured(told["stages"], recalls(vectors, wanted, ids, nearest(found)))


def _filters(held: Large, group: int, queries: int) -> list[Filter]:
    """The filters of the queries, all kinds in turn."""
    attributes = held.attributes()
    rng = np.random.default_rng(0)
    categories = attributes["primary_category"].to_pylist()
    days = pc.cast(attributes["submitted_date"], "string").to_pylist()
    groups = max(1, len(categories) // group)
    made: list[Filter] = []
    for number in range(queries):
        row = int(rng.integers(len(categories)))
        made.append(
            (
                (None, {}),
                ("primary_category = :c", {"c": categories[row]}),
                ("submitted_date >= :day", {"day": days[row]}),
                (f"{column(group)} = :g", {"g": int(rng.integers(groups))}),
            )[number % 4]
        )
    return made


def _search(
    index: Path, queries: NDArray[np.float32], filters: Sequence[Filter], recall: float
) -> dict[str, Any]:
    """What the other process tells. Raises RunError when it fails."""
    with tempfile.TemporaryDirectory(prefix="fanns-proof-") as scratch:
        folder = Path(scratch)
        np.save(folder / "queries.npy", queries)
        request = {
            "index": str(index), "queries": str(folder / "queries.npy"), "filters": filters,
            "k": K, "recall": recall,
        }  # fmt: skip
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        files = [str(folder / "request.json"), str(folder / "answer.json")]
        command = [sys.executable, "-m", "fanns.bench.proofs.resident", *files]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RunError(f"the searching process failed: {done.stderr.strip()[-2_000:]}")
        told: dict[str, Any] = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    return told


def judge(measured: Measured, recall: float, limit: int, setting: Sequence[str]) -> Finding:
    """Private memory above `import fanns` against `limit` bytes, and recall against its target."""
    first = measured.stages["import fanns"]
    grown = {
        stage: {name: _above(value, first[name]) for name, value in told.items()}
        for stage, told in measured.stages.items()
    }
    most = grown["searching, at most"]
    held = most["uss"] if most["private"] is None else most["private"]
    assert held is not None
    reached = recall_interval(measured.recalls)
    bars = [
        Bar(
            "private memory above import fanns, while searching",
            f"at most {limit / 1e6:,.0f} MB", f"{held / 1e6:,.1f} MB", held <= limit,
        ),
        Bar(
            f"recall@{K} in that process", f"at least {recall:g}",
            f"{reached.value:.4f} ({reached.low:.3f} … {reached.high:.3f})",
            reached.value >= recall,
        ),
    ]  # fmt: skip
    rows = [{"stage": stage, **told} for stage, told in grown.items()]
    return Finding(
        "memory", "Memory while searching from disk", [*setting, _METHOD],
        [("Above import fanns", _sheet(grown, first))], bars, rows,
    )  # fmt: skip


_METHOD = (
    "Private memory is what no other process shares (USS) without the clean pages of the index's "
    "mapped files, which the system takes back when it needs them; USS with them is beside it. "
    "Compiled kernels count."
)


def _above(value: int | None, first: int | None) -> int | None:
    return None if value is None or first is None else value - first


def _sheet(grown: dict[str, dict[str, int | None]], first: dict[str, int | None]) -> Sheet:
    heads = ["stage", "private", "USS", "resident", "of it the index's files"]
    lines = {"import fanns (in all)": first}
    lines |= {stage: told for stage, told in grown.items() if stage != "import fanns"}
    names = ("private", "uss", "rss", "mapped")
    return Sheet(
        heads, [[line, *(_megabytes(told[n]) for n in names)] for line, told in lines.items()]
    )


def _megabytes(value: int | None) -> str:
    return "unknown" if value is None else f"{value / 1e6:,.1f} MB"
