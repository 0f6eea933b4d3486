"""How long the stages of a build take, by device."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from fanns.bench.build_stages import timed_build
from fanns.bench.proofs.large import Large

DEVICES = ("cpu", "cuda")


class Build(NamedTuple):
    """One build of so many rows: seconds of each stage, in their order, the last of all of it."""

    device: str
    rows: int
    stages: dict[str, float]


def measure(held: Large, times: int, rows: int) -> list[Build]:
    """Builds of the first rows of a set, on each device, on all cores: the fastest of `times`."""
    rows = min(rows, len(held.vectors()))
    vectors = held.vectors()[:rows]
    column = pa.FixedSizeListArray.from_arrays(vectors.reshape(-1), vectors.shape[1])
    table = held.attributes()[:rows].append_column("embedding", column)
    return [
        min((_build(table, device) for _ in range(times)), key=lambda one: one.stages["total"])
        for device in DEVICES
    ]


def _build(table: pa.Table, device: str) -> Build:
    index, stages = timed_build(table, vector="embedding", calibration="default", device=device)
    index.close()
    return Build(device, len(table), stages)
