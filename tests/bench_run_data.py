"""A made-up benchmark run, as a real one leaves it: for tests of what reads runs.

Speeds follow a simple rule, so that tests know who wins where; nothing was measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa

from fanns.bench.running.results import Run

FAMILIES = ("none", "equality", "in", "contains_any", "range_date", "and2", "not")
ENGINES = {
    "fanns": "engine",
    "exact": "exact",
    "faiss-hnsw": "engine",
    "hnswlib": "engine",
    "lancedb": "engine",
    "careless": "engine",
    "usearch": "engine",
    "slice": "oracle",
}
BOTH = ("fanns", "exact", "faiss-hnsw", "slice")  # engines with prepared filters
ROUNDS, PART = 5, 12
_SETTINGS = (10, 20, 50, 100, 400)


def cells() -> list[dict[str, Any]]:
    """Twenty cells: one without a filter, the others over families, shares and correlations."""
    made = [_cell("none", 1.0, "none")]
    for family in FAMILIES[1:]:
        for share, correlation in ((0.1, "none"), (0.01, "positive"), (0.001, "negative")):
            made.append(_cell(family, share, correlation))
    made.append(_cell("in", 0.5, "none"))
    return made


def _cell(family: str, share: float, correlation: str) -> dict[str, Any]:
    affinity = {"positive": 0.6, "none": 0.01, "negative": -0.8}[correlation]
    return {
        "cell": f"{family}-{share:g}-{correlation}",
        "family": family,
        "where": None if family == "none" else f"{family}_column = :p",
        "target": share,
        "correlation": correlation,
        "selectivity": share * 1.04 if share < 1 else 1.0,
        "affinity": affinity if family != "none" else 0.0,
        "measure": ROUNDS * PART,
        "tune": 20,
    }


def write(
    folder: Path,
    seed: int = 7,
    speed: float = 1.0,
    wrong: bool = True,
    only: Sequence[str] | None = None,
) -> Run:
    """Writes a finished run.

    speed: multiplies that of fanns. wrong: whether careless ignores filters. only: these cells.
    """
    asked = [cell for cell in cells() if only is None or cell["cell"] in only]
    random = np.random.default_rng(seed)
    kinds = ENGINES | {"zvec": "engine"}
    header = {
        "config": {"k": 10, "threads": 1, "rounds": ROUNDS, "modes": ["end_to_end", "prepared"]},
        "workload": {
            "name": "made-up",
            "fingerprint": "0123456789abcdef",
            "metric": "cosine",
            "rows": 100_000,
            "dims": 384,
            "depth": 100,
        },
        "machine": {
            "cpu": {"model": "Imaginary 9000", "usable_cores": 2, "caches": [{"level": 1}]},
            "memory": {"total_bytes": 16 << 30},
            "load": {"averages_1_5_15_minutes": [0.25 * seed, 0.1, 0.1]},
            "packages": {"fanns": "0.1.0", "numpy": "2.3.1"},
        },
        "engines": {name: {"kind": kind, "state": "ok"} for name, kind in kinds.items()},
        "started": "2026-11-22T03:00:00+00:00",
    }
    run = Run.create(folder, header, asked)
    run.set_builds(_builds())
    for cell in asked:
        problems: list[dict[str, Any]] = []
        parts = []
        for engine in ENGINES:
            if engine == "usearch" and cell["family"] == "contains_any":
                problems.append(_unsupported(engine, cell["cell"]))
                continue
            for mode in ("end_to_end", "prepared") if engine in BOTH else ("end_to_end",):
                parts += _points(random, engine, cell, mode, speed, wrong)
        run.add_cell(cell["cell"], pa.Table.from_pylist(parts), problems)
    run.finish("2026-11-22T03:30:00+00:00")
    return run


def _unsupported(engine: str, cell: str) -> dict[str, Any]:
    reason = f"{engine} has no filters on lists (see /opt/somewhere/{engine}/filters.py)"
    return {
        "engine": engine, "cell": cell, "mode": "end_to_end", "state": "unsupported",
        "reason": reason,
    }  # fmt: skip


def rate(engine: str, cell: Mapping[str, Any], mode: str) -> float:
    """Queries a second at the cheapest setting: scans gain from few rows, graphs lose."""
    share = cell["selectivity"]
    base: dict[str, float] = {
        "fanns": 6000 + 2000 * (share < 0.05),
        "exact": min(9000.0, 60 / share),
        "faiss-hnsw": 9000 * share**0.35,
        "hnswlib": 10000 * share**0.6,
        "lancedb": 180,
        "careless": 20000,
        "usearch": 8000 * share**0.7,
        "slice": min(25000.0, 100 / share),
    }
    return base[engine] * (1.3 if mode == "prepared" else 1.0)


def reach(engine: str, cell: Mapping[str, Any], step: int) -> float:
    """Recall at a setting; graphs do badly where the filter avoids the query."""
    if engine in ("exact", "slice"):
        return 1.0
    if engine == "careless" and cell["family"] != "none":
        return 0.4
    hard = cell["correlation"] == "negative" and engine in ("faiss-hnsw", "hnswlib", "usearch")
    # In one cell nobody but the exact engine does well, us included.
    hopeless = cell["cell"] == "not-0.001-negative" and engine == "fanns"
    top = 0.93 if hopeless else 0.7 if hard else 0.998
    return top - (top - 0.72 * top) * 0.35**step


def _points(
    random: np.random.Generator,
    engine: str,
    cell: Mapping[str, Any],
    mode: str,
    speed: float,
    wrong: bool,
) -> list[dict[str, Any]]:
    settings: Sequence[int] = (0,) if engine in ("exact", "slice") else _SETTINGS
    rows: list[dict[str, Any]] = []
    for step, setting in enumerate(settings):
        qps = rate(engine, cell, mode) / (1.0 if len(settings) == 1 else 1 + 0.6 * step**1.5)
        micros = 1e6 / (qps * (speed if engine == "fanns" else 1.0))
        hits = reach(engine, cell, step)
        bad = wrong and engine == "careless" and cell["family"] != "none"
        text = json.dumps({"ef": setting} if setting else {})
        # The same in every run: an engine finds the same rows again.
        same = np.random.default_rng(crc32(f"{engine} {cell['cell']} {setting}".encode()))
        for turn in range(ROUNDS):
            drift = 1 + 0.03 * turn  # hits all alike
            times = micros * drift * random.lognormal(0, 0.1, PART)
            found = np.clip(np.round(same.normal(hits, 0.02, PART) * 20) / 20, 0, 1)
            if hits == 1.0:
                found[:] = 1.0
            for i in range(PART):
                rows.append(
                    {
                        "engine": engine, "cell": cell["cell"], "mode": mode, "setting": text,
                        "round": turn, "query": turn * PART + i, "micros": float(times[i]),
                        "recall": float(found[i]), "returned": 10, "wanted": 10,
                        "violations": 6 if bad else 0, "invalid": 0,
                        "distances": 50 * (setting + 1) if engine == "fanns" else None,
                        "status": "approximate" if engine == "fanns" else None,
                        "seconds": float(times.sum() / 1e6), "parse_us": 120.0,
                    }
                )  # fmt: skip
    return rows


def _builds() -> list[dict[str, Any]]:
    raw = 100_000 * 384 * 4
    rows: list[dict[str, Any]] = [
        {
            "engine": engine, "kind": kind, "state": "ok", "version": json.dumps({engine: "1.2"}),
            "options": json.dumps({"m": 32}), "threads": 2, "wall_s": 10.0 + 7 * i,
            "cpu_s": 19.0 + 13 * i, "peak_bytes": raw * 3, "disk_bytes": int(raw * (0.5 + i / 5)),
            "open_s": 0.4, "resident_bytes": int(raw * (0.6 + i / 5)), "cached": i == 2,
        }
        for i, (engine, kind) in enumerate(ENGINES.items())
    ]  # fmt: skip
    rows.append(
        {
            "engine": "zvec", "kind": "engine", "state": "absent",
            "reason": "zvec is not installed: pip install 'fanns[peers]'",
        }
    )  # fmt: skip
    return rows
