"""What of a segment lies on the device, within a budget of memory.

Codes always do: without them no search could begin there. The originals do where there is room;
else they are mapped from the host's memory, page-locked, and the device reads over the bus what it
compares in full precision. What serves some plans alone comes last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fanns.errors import DeviceError
from fanns.memory_limit import parse_size, spelled

SCRATCH_SHARE = 8
"""One in so many bytes of the budget is for bitmaps, shortlists and answers of batches."""

MOST_SCRATCH = 2 << 30
LEAST_SCRATCH = 1 << 26


class Residency(NamedTuple):
    """Bytes of each part that lies on the device, whether originals do, and bytes for batches."""

    parts: dict[str, int]
    originals: bool
    scratch: int

    @property
    def nbytes(self) -> int:
        return sum(self.parts.values()) + self.scratch


def budget_of(device_memory: int | str | None, free: int, total: int) -> int:
    """Bytes that may be taken: as asked for, or nine tenths of what is free.

    Raises:
        InputError: it is no size. DeviceError: the device has less.
    """
    if device_memory is None:
        return free - free // 10
    wanted = parse_size(device_memory, "device_memory")
    if wanted > free:
        raise DeviceError(
            f"device_memory is {spelled(wanted)}, but {spelled(free)} of the device's "
            f"{spelled(total)} are free"
        )
    return wanted


def budget_on(cuda: Any, device_memory: int | str | None) -> int:
    """`budget_of` on the current device of numba's module for the host."""
    free_dropped(cuda)
    free, total = cuda.current_context().get_memory_info()
    whole = (1 << 62) - 1  # the simulator's is infinite
    return budget_of(device_memory, int(min(free, whole)), int(min(total, whole)))


def free_dropped(cuda: Any) -> None:
    """Free what arrays of the current device held that are gone.

    numba does so when there are more than ten of them, or they take a fifth of the device.
    """
    manager = getattr(cuda.current_context(), "memory_manager", None)
    pending = getattr(manager, "deallocations", None)
    if pending is not None:  # the simulator has none, nor have managers of others' making
        pending.clear()


def plan_residency(
    needed: Mapping[str, int], originals: int, budget: int, wanted: Mapping[str, int]
) -> Residency:
    """What lies where; `needed` bytes by part, without the originals, and `wanted` behind them.

    Raises:
        DeviceError: the parts that are needed do not fit, with the numbers.
    """
    scratch = max(min(budget // SCRATCH_SHARE, MOST_SCRATCH), LEAST_SCRATCH)
    least = sum(needed.values()) + scratch
    if least > budget:
        told = ", ".join(f"{name} {spelled(size)}" for name, size in needed.items())
        raise DeviceError(
            f"this index does not fit the device: it needs {spelled(least)} there ({told}, "
            f"{spelled(scratch)} for batches), and {spelled(budget)} may be taken "
            f"(device_memory=). Its originals, {spelled(originals)}, could stay on the host"
        )
    parts = dict(needed)
    if least + originals <= budget:
        parts["originals"] = originals
        for name, size in wanted.items():
            if 0 < size <= budget - scratch - sum(parts.values()):
                parts[name] = size
    return Residency(parts, "originals" in parts, scratch)
