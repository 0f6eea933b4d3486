"""The seconds of each stage of a build, on the CPU or on a GPU."""

from __future__ import annotations

import time
from typing import Any

import fanns


def timed_build(data: Any, **options: Any) -> tuple[fanns.Index, dict[str, float]]:
    """Build an index by `fanns.Index.build(data, **options)`; it, and the seconds of its stages.

    Stages are named as progress tells them, without the device: "cluster", "encode", "attributes",
    "graph", ...; what comes before the first counts as "read", and "total" is all of it. Where
    there is a device, the first build of a process compiles kernels, or loads them.
    """
    begun = time.perf_counter()
    told = [("read", begun)]

    def heard(stage: str, done: int, total: int) -> None:
        name = stage.partition(" on ")[0]
        if name != told[-1][0]:
            told.append((name, time.perf_counter()))

    index = fanns.Index.build(data, progress=heard, **options)
    ended = time.perf_counter()
    seconds: dict[str, float] = {}
    stops = [*(moment for _, moment in told[1:]), ended]
    for (name, moment), stop in zip(told, stops, strict=True):
        seconds[name] = seconds.get(name, 0.0) + stop - moment
    return index, {**seconds, "total": ended - begun}
