"""Building on a CUDA device: what `Index.build(device=)` makes of its name."""

from __future__ import annotations

from typing import Any

from fanns.calibration.samples import Nearest
from fanns.device.finding import find_cuda
from fanns.device.graph_building import DeviceGraph
from fanns.device.loops import DeviceLoops
from fanns.device.residency import budget_on
from fanns.device.truth import truth_on
from fanns.paths.graph_builder import Links
from fanns.segment import Segment
from fanns.segment_building import Machine


def machine_of(number: int, device_memory: int | str | None) -> Machine:
    """What a build on a device runs on.

    Raises:
        InputError: `device_memory` is no size. DeviceError: the device has less, or there is none.
    """
    cuda = find_cuda(number)
    budget = budget_on(cuda, device_memory)
    loops, graph = DeviceLoops(cuda, budget), DeviceGraph(cuda, budget)

    def links(*given: Any, **options: Any) -> Links:
        loops.release()
        return graph.build_links(*given, **options)

    def nearest(segment: Segment) -> Nearest | None:
        loops.release()
        return truth_on(cuda, budget, segment)

    return Machine(f"cuda:{number}", loops, links, nearest)
