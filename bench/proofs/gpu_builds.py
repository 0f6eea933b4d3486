"""How long the stages of a build take, by device."""

from __future__ import annotations

from time import perf_counter
from typing import NamedTuple

import pyarrow as pa

import fanns
from fanns.bench.proofs.large import Large

DEVICES = ("cpu", "cuda")
ROWS = 20_000
"""Of the set that are built, at most."""


class Build(NamedTuple):
    """One build of so many rows: seconds of each stage, in their order, and in all."""

    device: str
    rows: int
    stages: dict[str, float]
    seconds: float


class _Stages:
    """Takes the time between the first and the last word of each stage."""

    def __init__(self) -> None:
        self.first: dict[str, float] = {}
        self.last: dict[str, float] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = perf_counter()
        self.first.setdefault(stage, now)
        self.last[stage] = now

    def seconds(self, begun: float) -> dict[str, float]:
        """A stage begins where the one before it ended."""
        found, before = {}, begun
        for stage in self.first:
            found[stage] = self.last[stage] - before
            before = self.last[stage]
        return found


def measure(held: Large, times: int, rows: int = ROWS) -> list[Build]:
    """Builds of the first rows of a set, on each device, on all cores: the fastest of `times`."""
    rows = min(rows, len(held.vectors()))
    vectors = held.vectors()[:rows]
    column = pa.FixedSizeListArray.from_arrays(vectors.reshape(-1), vectors.shape[1])
    table = held.attributes()[:rows].append_column("embedding", column)
    return [
        min((_build(table, device) for _ in range(times)), key=lambda one: one.seconds)
        for device in DEVICES
    ]


def _build(table: pa.Table, device: str) -> Build:
    told, begun = _Stages(), perf_counter()
    fanns.Index.build(
        table, vector="embedding", calibration="default", device=device, progress=told
    ).close()
    taken = perf_counter() - begun
    return Build(device, len(table), told.seconds(begun), taken)
