"""The masked scans on a GPU against a copy of the same bytes within its memory, and the time that
kernels take there by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from fanns.codes import Int8Codes
from fanns.device.finding import find_cuda
from fanns.kernels.distance import COSINE
from fanns.kernels.jit_cuda import SIMULATED, Workspace, cuda_host
from fanns.kernels.scan import ALL
from fanns.kernels.scan_cuda import scan_codes, scan_codes_bytes, scan_exact, scan_exact_bytes
from fanns.vectors import DenseVectors

K, SHORTLIST = 10, 40
BESIDE = 12
"""Bytes of a row's scale and square, which are read beside its code."""


class Bandwidth(NamedTuple):
    """Bytes a second that something reads, or that a copy reads and writes."""

    name: str
    per_second: float
    is_copy: bool = False


def chip() -> str:
    """The name of the device; raises as `Index.to` does where there is none."""
    cuda = find_cuda(0)
    if SIMULATED:
        return "The simulator, whose times mean nothing"
    name = cuda.gpus[0].name
    return name.decode() if isinstance(name, bytes) else str(name)


def measure(rows: int, dimensions: int, repeats: int) -> list[Bandwidth]:
    """A copy, the scan in full precision and that of int8 codes, one query, all rows pass."""
    rng = np.random.default_rng(0)
    vectors = DenseVectors.from_array(
        rng.standard_normal((rows, dimensions), np.float32), COSINE, threads=None
    )
    codes = Int8Codes.build(vectors, threads=None)
    held = [cuda_host.to_device(one) for one in (vectors.vectors, vectors.norms)]
    ties = cuda_host.to_device(np.arange(rows, dtype=np.int64))
    arrays = (codes.codes, codes.scale, codes.square, codes.mean, codes.limits)
    coded = [cuda_host.to_device(one) for one in arrays]
    query = cuda_host.to_device(rng.standard_normal((1, dimensions)).astype(np.float32))
    nothing = [np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros((0, 0), np.uint64)]
    selection = (ALL, *(cuda_host.to_device(one) for one in nothing), rows)
    probe = Workspace(1)
    needed = max(
        scan_exact_bytes(1, K, rows, True, probe),
        scan_codes_bytes(1, K, rows, codes.width, SHORTLIST, True, probe),
    )
    workspace = Workspace(needed)
    shapes = (((1, K), np.int32), ((1, K), np.float64), ((1,), np.int32), ((1,), np.int8))
    out = [cuda_host.device_array(shape, kind) for shape, kind in (*shapes, ((1, 4), np.int64))]
    given: Any = (query, *selection, *held, COSINE, ties)
    plain: Any = (*out, workspace)
    rest: Any = (*coded, SHORTLIST, *plain)
    copied = cuda_host.device_array(vectors.vectors.shape, np.float32)
    size, small = vectors.vectors.nbytes, codes.codes.nbytes + rows * BESIDE
    calls: list[tuple[str, Callable[[], None], int, bool]] = [
        ("copy within the device", lambda: copied.copy_to_device(held[0]), 2 * size, True),
        ("scan, float32", lambda: scan_exact(*given, *plain), size, False),
        (
            "scan, int8 codes",
            lambda: scan_codes(*given, *rest),
            small,
            False,
        ),
    ]
    return [
        Bandwidth(name, size / _seconds(call, repeats), is_copy)
        for name, call, size, is_copy in calls
    ]


TIMED = (
    "Simulated: every time here is one of the simulator on the CPU, and means nothing. Kernels are "
    "timed by the host's clock instead of CUDA events."
    if SIMULATED
    else "Kernels are timed by CUDA events around their launches, in a call of its own."
)


BUILDS, BUILT = (1, 24) if SIMULATED else (2, 20_000)
"""Times that builds are made, since the first may compile, and rows of them at most."""


def scanned(rows: int, wanted: int) -> int:
    """Rows of the scans whose bandwidth is measured, where none are asked for."""
    return rows if SIMULATED else max(rows, wanted)


def device_seconds(call: Callable[[], object]) -> Mapping[str, float]:
    """Seconds of each kernel that a call launches, by its label: between an event before the launch
    and one behind it, on the launch's stream.

    A kernel that is shorter than its launch takes seems as long as this, where nothing was queued
    before it. In the simulator, which has no such events, the host's clock is read.
    """
    spans: list[tuple[str, Any, Any]] = []

    def begun(label: str, stream: Any) -> Callable[[], None]:
        start = _mark(stream)
        return lambda: spans.append((label, start, _mark(stream)))

    Workspace.watch = begun
    try:
        call()
        cuda_host.synchronize()
    finally:
        Workspace.watch = None
    found: dict[str, float] = {}
    for label, start, end in spans:
        took = end - start if SIMULATED else start.elapsed_time(end) / 1e3
        found[label] = found.get(label, 0.0) + float(took)
    return found


def _mark(stream: Any) -> Any:
    if SIMULATED:
        return perf_counter()
    event = cuda_host.event()
    event.record(stream)
    return event


def _seconds(call: Callable[[], None], repeats: int) -> float:
    """The median of a call, until the device has done it."""
    taken = []
    for _ in range(repeats + 1):  # the first compiles
        begun = perf_counter()
        call()
        cuda_host.synchronize()
        taken.append(perf_counter() - begun)
    return float(np.median(taken[1:]))
