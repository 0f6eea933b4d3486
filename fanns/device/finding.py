"""The device by its name, or an error that names what is missing."""

from __future__ import annotations

import importlib.util
import re
import threading
from typing import Any

from fanns.errors import DeviceError, InputError, MissingDependencyError

_CUDA = re.compile(r"cuda(?::(\d+))?")

_selected = threading.local()


def check_device(device: Any) -> int | None:
    """The number of the CUDA device that "cuda" or "cuda:1" names; None for "cpu".

    Raises:
        InputError: it is none of these.
    """
    if device == "cpu":
        return None
    found = _CUDA.fullmatch(device) if isinstance(device, str) else None
    if found is None:
        raise InputError(f'device is {device!r}, expected "cpu", "cuda" or "cuda:<number>"')
    return int(found[1] or 0)


def find_cuda(number: int) -> Any:
    """Make a CUDA device the current one of this thread; gives numba's module for the host.

    Raises:
        MissingDependencyError: numba has no CUDA target here.
        DeviceError: no driver, no such device, or one that cannot be used.
    """
    if importlib.util.find_spec("numba.cuda") is None:
        raise MissingDependencyError(
            "device=\"cuda\" needs numba-cuda: pip install 'fanns[gpu]' (beside an NVIDIA driver)"
        )
    from fanns.kernels.jit_cuda import cuda_host

    if not cuda_host.is_available():
        raise DeviceError(
            f'device="cuda" found no CUDA device: {_why(cuda_host)}. It takes an NVIDIA GPU, its '
            "driver, and numba-cuda with the CUDA toolkit's libraries (pip install 'fanns[gpu]'); "
            'device="cpu" gives the same answers'
        )
    present = len(cuda_host.gpus)
    if number >= present:
        raise DeviceError(f'device="cuda:{number}": this machine has {present}, from "cuda:0" on')
    select(cuda_host, number)
    return cuda_host


def select(cuda: Any, number: int) -> None:
    """Make a device the current one of this thread, for its launches and for what it frees.

    numba puts a context on a stack of the driver's each time it is asked, and nothing takes it off.
    """
    if getattr(_selected, "number", None) != number:
        cuda.select_device(number)
        _selected.number = number


def _why(cuda: Any) -> str:
    """What numba says of it, in a line."""
    try:
        told = cuda.cuda_error()
    except Exception as error:  # a driver may fail in any way when it is first asked
        told = error
    return " ".join(str(told or "the driver lists none").split())[:200].rstrip(". ")
