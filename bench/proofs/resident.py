"""A process of its own that opens an index, searches it, and tells what memory it holds.

`python -m fanns.bench.proofs.resident REQUEST ANSWER`: both JSON files. It imports nothing but
fanns and psutil, so that the first reading is that of `import fanns`.

A request holds index (a folder), queries (a .npy file, float32[m, d]), filters (m pairs of SQL text
or null and parameters), k and recall. The answer holds readings by stage, and ids of each query.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

import psutil

import fanns

EVERY = 20  # queries between two readings


def reading(index: str) -> dict[str, int | None]:
    """Bytes held now.

    uss: pages that no other process has, clean ones of mapped files too. mapped: resident pages of
    the index's files, which the system takes back when it needs them. private: uss without the
    clean pages of those files; None where the system does not tell them apart.
    """
    process = psutil.Process()
    full = process.memory_full_info()
    found: dict[str, int | None] = {"uss": full.uss, "rss": full.rss, "mapped": None}
    found["private"] = None
    if hasattr(process, "memory_maps") and sys.platform == "linux":
        own = [one for one in process.memory_maps() if one.path.startswith(index)]
        found["mapped"] = sum(one.rss for one in own)
        found["private"] = full.uss - sum(one.private_clean for one in own)
    return found


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Open, search, read the memory at every stage; `searching` is the highest reading."""
    where = str(Path(request["index"]).resolve())
    stages = {"import fanns": reading(where)}
    import numpy as np

    queries = np.load(request["queries"])
    found, high = [], None
    with fanns.open(request["index"]) as index:
        stages["opened"] = reading(where)
        for number, (text, params) in enumerate(request["filters"]):
            hits = index.search(
                queries[number], request["k"], text, params, recall=request["recall"]
            )
            found.append([int(one) for one in hits.ids])
            if number % EVERY == EVERY - 1 or number == len(queries) - 1:
                now = reading(where)
                high = now if high is None or _held(now) > _held(high) else high
        if high is not None:
            stages["searching, at most"] = high
        del hits
        gc.collect()
        stages["afterwards"] = reading(where)
    return {"stages": stages, "ids": found}


def _held(one: dict[str, int | None]) -> int:
    return one["private"] or one["uss"] or 0


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Path(sys.argv[2]).write_text(json.dumps(answer(asked)), encoding="utf-8")
