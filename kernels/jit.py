"""The decorator of all kernels: numba's `njit` with a disk cache that cannot serve stale code.

numba's `cache=True` looks only at the file of the called function, so a change in a callee that
lives in another file goes unseen (numba issues 1833 and 9483). Here compiled code lies in a folder
named by a hash of *all* kernel sources, the compiler's versions and FANNS_CPU. numba's global
settings stay untouched, and functions of the user are not affected.

`FANNS_CACHE_DIR` names the parent folder; without it the platform's cache folder for `fanns`.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import inspect
import os
import pickle
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, overload

import llvmlite
import numba
import numba.core.caching
import numba.core.registry
import numba.core.serialize
import numpy as np
import numpy.typing as npt
import platformdirs

Array = npt.NDArray[Any]
Integer = int | np.integer[Any]
Function = TypeVar("Function", bound=Callable[..., Any])

# numba is only partly typed: its classes are Any here.
_Impl: Any = numba.core.caching.CompileResultCacheImpl
_Cache: Any = numba.core.caching.FunctionCache
_Dispatcher: Any = numba.core.registry.CPUDispatcher
dumps: Any = numba.core.serialize.dumps

PORTABLE = os.environ.get("FANNS_CPU", "").lower() == "portable"
"""True when FANNS_CPU=portable asks for the kernels that run on any processor."""

KEPT_FOLDERS = 8
UNUSED_SECONDS = 24 * 3600
_FOLDER_NAME = re.compile(r"kernels-[0-9a-f]{24}")


def sources_hash() -> str:
    """Hash of everything that compiled code depends on, apart from types and the processor.

    Kernels for the device (`*_cuda.py`) are not compiled by numba's njit, nor called by what is.
    """
    state = hashlib.sha256()
    versions = (numba.__version__, llvmlite.__version__, sys.version, np.__version__)
    state.update(repr((versions, PORTABLE)).encode())
    sources = Path(__file__).parent.glob("*.py")
    for path in sorted(path for path in sources if not path.stem.endswith("_cuda")):
        state.update(f"\n{path.name} {path.stat().st_size}\n".encode())
        state.update(path.read_bytes())
    return state.hexdigest()[:24]


@cache
def cache_folder() -> str:
    """The folder of this version's compiled kernels, made and tested for writing on first use."""
    chosen = os.environ.get("FANNS_CACHE_DIR")
    parent = Path(chosen) if chosen else platformdirs.user_cache_path("fanns", appauthor=False)
    folder = parent / f"kernels-{sources_hash()}"
    try:
        fresh = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        tempfile.TemporaryFile(dir=folder).close()
        os.utime(folder)  # the time of last use, which pruning goes by
        if fresh:
            _prune(parent)
        return str(folder)
    except OSError as error:
        if os.access(folder, os.R_OK | os.X_OK):
            return str(folder)  # read-only but filled: its kernels are used, new ones are not kept
        warnings.warn(
            f"compiled kernels cannot be kept in {folder} ({error.strerror}): this process "
            "compiles its own; set FANNS_CACHE_DIR to a writable folder",
            RuntimeWarning,
            stacklevel=2,
        )
        # A private folder: one with a predictable name could be filled by another user.
        folder = Path(tempfile.mkdtemp(prefix="fanns-kernels-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return str(folder)


def _prune(parent: Path) -> None:
    """Remove the folders of older kernel sources: unused for a day and not among the newest."""
    # OSError: another process prunes as well, or something that is not ours lies in a folder.
    with contextlib.suppress(OSError):
        found = [path for path in parent.iterdir() if _FOLDER_NAME.fullmatch(path.name)]
        found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for folder in found[KEPT_FOLDERS:]:
            if time.time() - folder.stat().st_mtime > UNUSED_SECONDS and not folder.is_symlink():
                with contextlib.suppress(OSError):
                    for file in folder.glob("*.nbc*"):
                        file.unlink(missing_ok=True)
                    folder.rmdir()


class _Locator:
    """Stands in for numba's locators; the folder's name already says all that matters."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._py_file = inspect.getfile(function)

    def get_cache_path(self) -> str:
        return "kernels"

    def get_source_stamp(self) -> str:
        return ""


class _CacheImpl(_Impl):  # type: ignore[misc]
    def __init__(self, function: Callable[..., Any]) -> None:
        # numba's own constructor would consult NUMBA_CACHE_DIR and look for a locator.
        self._lineno = function.__code__.co_firstlineno
        self._locator = _Locator(function)
        self._filename_base = f"{Path(self._locator._py_file).stem}.{function.__qualname__}"


class KernelFiles:
    """One file per function and types, named by a hash of them.

    numba's numbered files and shared index let two processes that compile one function for
    different types at one time swap their code; a name that is the key cannot.
    """

    def __init__(self, base: str) -> None:
        self._base = base

    def _path(self, key: Any) -> str:
        digest = hashlib.sha256(repr(key).encode()).hexdigest()[:24]
        return os.path.join(cache_folder(), f"{self._base}-{digest}.nbc")

    def load(self, key: Any) -> Any:
        try:
            with open(self._path(key), "rb") as file:
                digest, payload = file.read(32), file.read()
        except OSError:
            return None
        # A file that a power cut has truncated counts as missing and is written again.
        if hashlib.sha256(payload).digest() != digest:
            return None
        return pickle.loads(payload)

    def save(self, key: Any, data: Any) -> None:
        path, payload = self._path(key), dumps(data)
        descriptor, temporary = tempfile.mkstemp(dir=cache_folder(), suffix=".nbc.tmp")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(hashlib.sha256(payload).digest() + payload)
            os.replace(temporary, path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise

    def flush(self) -> None:
        for path in Path(cache_folder()).glob(f"{self._base}-*.nbc"):
            path.unlink(missing_ok=True)


class _KernelCache(_Cache):  # type: ignore[misc]
    _impl_class = _CacheImpl

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = KernelFiles(self._impl.filename_base)

    @property
    def cache_path(self) -> str:
        return cache_folder()

    def _save_overload(self, signature: Any, data: Any) -> None:
        if self._impl.check_cachable(data):
            try:
                key = self._index_key(signature, data.codegen)
                self._cache_file.save(key, self._impl.reduce(data))
            except OSError:
                self.disable()  # a full or read-only disk: the code works, it is only not kept

    def _load_overload(self, signature: Any, target_context: Any) -> Any:
        try:
            return super()._load_overload(signature, target_context)
        except OSError:
            return None


@overload
def kernel(function: Function, /) -> Function: ...
@overload
def kernel(**options: Any) -> Callable[[Function], Function]: ...
def kernel(function: Any = None, /, **options: Any) -> Any:
    """Compile a module-level function of `kernels/` without the GIL and keep the machine code.

    Options are those of `numba.njit` (`fastmath=True`, `inline="always"`, ...). Division by zero
    follows IEEE 754 (infinity or NaN) instead of raising, so that loops can be vectorised.

    What compiling costs, measured: assigning a slice to a slice 3 s once a process (numba compiles
    the text of its error message), a loop nothing; a call of another kernel with arguments of new
    types 0.1-0.5 s, so pass rows, sizes and ties as the same types everywhere.
    """
    if function is None:
        return lambda f: kernel(f, **options)
    settings = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, **options}
    dispatcher: Any = numba.njit(**settings)(function)
    if isinstance(dispatcher, _Dispatcher):  # not so under NUMBA_DISABLE_JIT
        setattr(dispatcher, "_cache", _KernelCache(function))  # noqa: B010
    return dispatcher


class _InnerDispatcher(_Dispatcher):  # type: ignore[misc]
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{self.__name__} is an inner kernel, which only kernels can call")


def inner(function: Function) -> Function:
    """A kernel that only kernels call: without the code that takes Python objects apart.

    That code is up to half of what a small function with many arrays costs to compile. A call from
    Python raises TypeError; tests wrap it in a kernel of their own.
    """
    dispatcher: Any = kernel(no_cpython_wrapper=True)(function)
    if isinstance(dispatcher, _Dispatcher):
        dispatcher.__class__ = _InnerDispatcher
    return dispatcher  # type: ignore[no-any-return]


def frozen(array: npt.ArrayLike) -> Array:
    """The array as C-contiguous and read-only; copied only where it is not contiguous.

    numba compiles a kernel once more for each mix of writable and read-only arrays, so arrays that
    belong to a segment are frozen before they reach a search kernel, built or memory-mapped.
    """
    result = np.ascontiguousarray(array)
    if result.flags.writeable:
        result = result.view()
        result.setflags(write=False)
    return result
