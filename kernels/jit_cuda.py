"""The decorators of all CUDA kernels, and what their launches share.

A twin of `kernels/x.py` stands in `kernels/x_cuda.py`: *launch functions* with the names and
arguments of the CPU kernels, then a `Workspace`. They take device arrays, put kernels on the
workspace's stream and return at once: no synchronisation, no allocation, no copy to the host.
There are no budgets on the device: who has one looks at the clock between launches.

`cuda` is `numba.cuda` (the package numba-cuda, or numba's own target), or what stands for it where
there is no GPU and NUMBA_ENABLE_CUDASIM=1 (`simulator_cuda`). Nothing here touches a driver before
the first launch, and `import fanns` imports none of this.

Kernels go by warps of 32 threads. Their floating sums are kept in the order of the CPU's kernels
(`warp_cuda`), which gives equal bits where the CPU fuses multiplication and addition, as every
processor with FMA does.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import math
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import numba
import numba.cuda
import numpy as np
import numpy.typing as npt

from fanns.kernels.jit import KernelFiles

Function = TypeVar("Function", bound=Callable[..., Any])
# numba is only partly typed: its settings are Any here.
_config: Any = numba.config

DeviceArray = Any
"""An array on the device: numba's, or any with __cuda_array_interface__; C-contiguous."""

SIMULATED = bool(_config.ENABLE_CUDASIM)
"""Whether kernels run in the simulator: the one switch between the two."""

cuda_host: Any = numba.cuda
"""What the host calls: arrays, streams, the device."""

cuda: Any = cuda_host
"""What kernels call."""

if SIMULATED:
    from fanns.kernels.simulator_cuda import Kernel, cuda

WARP = 32
ALL_LANES = 0xFFFFFFFF
THREADS = (32, 64, 128, 256)
"""Threads that a block may have."""

BLOCK = 128
"""Threads that a block has unless told otherwise."""

SHARED_BYTES = 49_152
"""Shared memory of a block that every device gives without being asked for more."""

REGISTERS = 128
"""Of a thread of large kernels, so that a multiprocessor (65,536 registers) runs 4 blocks of 128
threads. A scan in full precision would take 240, for 16 KB of loads under way instead of 32 KB;
what ptxas then keeps in memory is 0.3 KB a thread."""

ALIGNMENT = 256
"""Of arrays in a workspace: whole lines of the L2 cache, as cudaMalloc gives."""


VIEWS = 4096
"""Arrays of a workspace that are kept, some 5 KB of the host each, for batches of the same size."""


class _Disk:
    """Machine code of one kernel, kept as `jit` keeps the CPU's.

    numba's own cache looks only at the file of a kernel, and never finds what a function makes.
    """

    def __init__(self, name: str) -> None:
        self._files = KernelFiles(f"cuda-{name}")

    def _key(self, signature: Any) -> Any:
        device = cuda_host.get_current_device().compute_capability
        return signature, tuple(device), _compiler(), _sources()

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        states = self._files.load(self._key(signature))
        return None if states is None else _compiled_kernel()._rebuild(**states)

    def save_overload(self, signature: Any, compiled: Any) -> None:
        # A full or read-only disk: the code works, it is only not kept.
        with contextlib.suppress(OSError):
            self._files.save(self._key(signature), compiled._reduce_states())


@cache
def _compiler() -> str:
    """The version of what compiles for a device: numba-cuda, of which `numba.cuda` tells none."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return f"numba-cuda {importlib.metadata.version('numba-cuda')}"
    return f"numba {numba.__version__}"


@cache
def _sources() -> str:
    """Hash of the kernels for a device, of which the folder's name (`jit`) knows nothing."""
    state = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*_cuda.py")):
        state.update(f"\n{path.name} {path.stat().st_size}\n".encode())
        state.update(path.read_bytes())
    return state.hexdigest()[:24]


def _compiled_kernel() -> Any:
    return importlib.import_module("numba.cuda.dispatcher")._Kernel


def kernel(function: Any = None, /, *, name: str = "", max_registers: int | None = None) -> Any:
    """Compile a module-level function as a kernel, `kernel[blocks, threads, stream, shared]`.

    Compiled lazily, once for each combination of types: a large one takes 5 seconds, then it is
    read from the cache of `jit`. Kernels that a function makes need a `name` to be known by there.
    `max_registers` a thread bounds how few blocks share a multiprocessor.
    """
    if function is None:
        return lambda f: kernel(f, name=name, max_registers=max_registers)
    label = f"{function.__module__.rpartition('.')[2]}.{name or function.__qualname__}"
    if SIMULATED:
        made: Any = Kernel(function)
    else:
        made = cuda.jit(max_registers=max_registers)(function)
        made._cache = _Disk(label)
    made.label = label
    return made


def inner(function: Function) -> Function:
    """A device function, which only kernels call. It is inlined by NVVM."""
    return function if SIMULATED else cuda.jit(device=True)(function)


class Turn(NamedTuple):
    """What launches know of the queries of a batch (`turns_cuda`).

    Of `plans` int8[m], one for each query, the `plan` that they answer; all of no plans. `owners`
    int32[m]: which bitmap each query has; of none, there is one for all or one for each.
    """

    plans: DeviceArray
    plan: int
    owners: DeviceArray


class Workspace:
    """What launches of one stream need: the stream, sizes of launches, and borrowed device memory.

    `nbytes` is allocated here, once, which synchronises. Launch functions borrow from it inside
    `with workspace.frame()` and give back on return, before the kernels have run: the next launch
    on the same stream waits for them. Hence one workspace belongs to one stream.

    `threads` of a block are 32, 64, 128 or 256; `blocks` is how many of them fill the device (four
    on each multiprocessor, unless told). `turn`: the queries that launches answer (`turns_cuda`).
    `sent`: the host's arrays that are being copied; who waits for the stream lets go of them.
    `watch` is called before each launch of any workspace, with the kernel's label and the stream,
    and what it gives after it.
    """

    watch: ClassVar[Callable[[str, Any], Callable[[], None]] | None] = None

    def __init__(
        self, nbytes: int, stream: Any = 0, threads: int = BLOCK, blocks: int | None = None
    ) -> None:
        if threads not in THREADS:
            raise ValueError(f"{threads} threads a block: not one of {THREADS}")
        self.stream, self.threads = stream, threads
        self.blocks = blocks if blocks is not None else _blocks_of_device()
        self._memory = cuda_host.device_array(max(nbytes, ALIGNMENT), np.uint8)
        self._used = 0
        self.sent: list[Any] = []
        self._views: dict[tuple[int, tuple[int, ...], str], DeviceArray] = {}
        nothing = self._memory[:0]
        self.turn = Turn(nothing.view(np.int8), 0, nothing.view(np.int32))

    @property
    def nbytes(self) -> int:
        return int(self._memory.nbytes)

    @property
    def left(self) -> int:
        """Bytes that can still be borrowed."""
        return self.nbytes - self._used

    @contextlib.contextmanager
    def frame(self) -> Iterator[Workspace]:
        """Arrays taken inside are free again afterwards, for launches that come later."""
        used = self._used
        try:
            yield self
        finally:
            self._used = used

    @contextlib.contextmanager
    def only(self, plans: DeviceArray, plan: int) -> Iterator[Workspace]:
        """Launches inside answer only the queries that have this plan of plans int8[m]."""
        before = self.turn
        self.turn = before._replace(plans=plans, plan=plan)
        try:
            yield self
        finally:
            self.turn = before

    @contextlib.contextmanager
    def owned(self, owners: DeviceArray) -> Iterator[Workspace]:
        """For launches inside, query i has bitmap owners[i] (int32[m])."""
        before = self.turn
        self.turn = before._replace(owners=owners)
        try:
            yield self
        finally:
            self.turn = before

    def take(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> DeviceArray:
        """A device array, not initialised; MemoryError if the workspace is too small."""
        kind = np.dtype(dtype)
        start, stop = self._used, self._used + math.prod(shape) * kind.itemsize
        if stop > self.nbytes:
            raise MemoryError(
                f"a workspace of {self.nbytes} bytes is too small for {list(shape)} {kind} "
                f"behind {start} bytes in use; make one of at least {stop} bytes"
            )
        self._used = min(-(-stop // ALIGNMENT) * ALIGNMENT, self.nbytes)
        key = (start, shape, kind.str)
        if key not in self._views:
            if len(self._views) == VIEWS:  # batches of ever other sizes
                self._views.clear()
            self._views[key] = self._memory[start:stop].view(kind).reshape(shape)
        return self._views[key]

    def launch(
        self, kernel: Any, blocks: int | tuple[int, int], *arguments: Any, shared: int = 0
    ) -> None:
        """Put a kernel on the stream; nothing where there are no blocks to run."""
        if (min(blocks) if isinstance(blocks, tuple) else blocks) > 0:
            watch = Workspace.watch
            launched = None if watch is None else watch(kernel.label, self.stream)
            _configured(kernel, (blocks, self.threads, self.stream, shared))(*arguments)
            if launched is not None:
                launched()


def _configured(kernel: Any, configuration: tuple[Any, ...]) -> Any:
    """The kernel, to be launched so; without numba's warning that few blocks leave a device idle,
    which small batches and single queries do.
    """
    warns = _config.CUDA_LOW_OCCUPANCY_WARNINGS
    if not warns:
        return kernel[configuration]
    _config.CUDA_LOW_OCCUPANCY_WARNINGS = 0
    try:
        return kernel[configuration]
    finally:
        _config.CUDA_LOW_OCCUPANCY_WARNINGS = warns


def bytes_of(*arrays: tuple[tuple[int, ...], npt.DTypeLike]) -> int:
    """How much of a workspace arrays of these shapes and types take together."""
    sizes = (math.prod(shape) * np.dtype(kind).itemsize for shape, kind in arrays)
    return sum(-(-size // ALIGNMENT) * ALIGNMENT for size in sizes)


def _blocks_of_device() -> int:
    if SIMULATED:
        return 2
    return 4 * int(cuda_host.get_current_device().MULTIPROCESSOR_COUNT)
