"""Building on a CUDA device: what `Index.build(device=)` makes of its name."""

from __future__ import annotations

from fanns.device.finding import find_cuda
from fanns.device.loops import DeviceLoops
from fanns.device.residency import budget_on
from fanns.paths.graph_builder import build_links
from fanns.segment_building import Machine


def machine_of(number: int, device_memory: int | str | None) -> Machine:
    """What a build on a device runs on.

    Raises:
        InputError: `device_memory` is no size. DeviceError: the device has less, or there is none.
    """
    cuda = find_cuda(number)
    loops = DeviceLoops(cuda, budget_on(cuda, device_memory))
    return Machine(f"cuda:{number}", loops, build_links)
