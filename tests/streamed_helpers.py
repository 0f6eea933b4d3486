"""Parquet files of rows to build indexes of in pieces, and processes that do so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon"]

BUILD = """
    import json, resource, sys
    import fanns
    path, target, limit, options = sys.argv[1:5]
    if hasattr(resource, "RLIMIT_CORE"):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    def tell(stage, done, total):
        print(stage, flush=True)
    index = fanns.Index.build(
        path, path=target, memory_limit=limit, threads=1, progress=tell, **json.loads(options)
    )
    with open("/proc/self/status") as file:
        told = dict(line.split(":", 1) for line in file)
    print(json.dumps({
        "peak": 1024 * int(told["VmHWM"].split()[0]),
        "anonymous": 1024 * int(told["RssAnon"].split()[0]),
        "files": 1024 * int(told["RssFile"].split()[0]),
        "segments": len(index._snapshot.segments),
    }))
"""


def rows(n: int, d: int, seed: int = 0) -> pa.Table:
    """Clustered float32 vectors, ids that are strings, and four columns."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((40, d)).astype(np.float32)
    group = rng.integers(0, 40, n)
    vectors = centres[group] + 0.5 * rng.standard_normal((n, d)).astype(np.float32)
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    return pa.table(
        {
            "id": pa.array([f"row-{i:07d}" for i in range(n)]),
            "group": pa.array(group.astype(np.int32)),
            "word": pa.array([WORDS[i] for i in group % 5]).dictionary_encode(),
            "score": pa.array(rng.random(n), mask=rng.random(n) < 0.1),
            "text": pa.array([f"about {WORDS[i]} " * 8 for i in group % 5]),
            "v": pa.FixedSizeListArray.from_arrays(flat, d),
        }
    )  # fmt: skip


def write(path: Path, table: pa.Table, files: int = 1, group: int = 700) -> Path | list[Path]:
    """The table in Parquet files of small row groups."""
    if files == 1:
        pq.write_table(table, path, row_group_size=group)
        return path
    cuts = np.linspace(0, len(table), files + 1).astype(int)
    paths = [path.with_name(f"{path.stem}-{i}.parquet") for i in range(files)]
    for one, start, stop in zip(paths, cuts, cuts[1:], strict=False):
        pq.write_table(table.slice(start, stop - start), one, row_group_size=group)
    return paths


def contents(index: Any) -> pa.Table:
    """All rows of an index in their order, with vectors."""
    return index.get(index.ids(), vector=True)
