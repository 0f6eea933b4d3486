"""Private memory of a process that opens an index and searches it: python -m fanns.bench.memory.

Prints JSON. Linux only: it reads /proc/self/smaps, where pages of the index's own files can be told
from all others.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

HEADER = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+\s*(.*)")


def private_and_mapped(index: str) -> tuple[int, int]:
    """Bytes private to this process, and bytes of the index's files that are in memory."""
    private = mapped = 0
    ours = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        header = HEADER.fullmatch(line)
        if header is not None:
            ours = header[1].startswith(index)
            continue
        name, _, value = line.partition(":")
        if name == "Rss" and ours:
            mapped += int(value.split()[0]) * 1024
        elif name in ("Private_Clean", "Private_Dirty") and not ours:
            private += int(value.split()[0]) * 1024
    return private, mapped


def measure(index: Path, vectors: Path, requests: list[dict[str, Any]]) -> dict[str, int] | None:
    """Runs the requests ({"where", "params"}) in a new process; None where smaps is missing."""
    if not Path("/proc/self/smaps").exists():
        return None
    command = [sys.executable, "-m", "fanns.bench.memory", str(index), str(vectors)]
    done = subprocess.run(
        command, input=json.dumps(requests), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the process that measures memory failed:\n{done.stderr}")
    result: dict[str, int] = json.loads(done.stdout)
    return result


def main(path: str, vectors: str) -> None:
    """What the new process does: import, open, search, and look at itself after each."""
    import numpy as np

    import fanns

    requests = json.load(sys.stdin)
    queries = np.load(vectors)
    imported, _ = private_and_mapped(path)
    with fanns.open(path) as index:
        opened, _ = private_and_mapped(path)
        for query, request in zip(queries, requests, strict=True):
            index.search(query, 10, where=request["where"], params=request["params"] or None)
        searched, mapped = private_and_mapped(path)
    print(
        json.dumps(
            {
                "import": imported,
                "after_open": opened - imported,
                "after_search": searched - imported,
                "mapped": mapped,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
