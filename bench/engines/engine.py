"""What the runner asks of an engine: build, open, search under a filter, and tell its size.

An engine sees rows by number: row i of the items has the id i. Nothing here is believed: the
runner recomputes distances, looks for rows that fail the filter, and times the calls itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Mode = Literal["end_to_end", "prepared"]
Kind = Literal["engine", "exact", "oracle"]
Vector = NDArray[np.float32]
Rows = NDArray[np.int64]
Params = Mapping[str, Any]
Setting = Mapping[str, Any]


class AbsentError(Exception):
    """The engine is not installed here, or needs something that is not; the text says what."""


class UnsupportedError(Exception):
    """The engine cannot do what a cell asks, for example this kind of filter; the text says why."""


@dataclass(frozen=True)
class Items:
    """What is indexed.

    Attributes:
        vectors: float32[n, d], C-contiguous, read-only; of unit length when metric is "cosine".
        attributes: n rows, the columns that filters speak of; row i belongs to vector i.
        metric: "cosine", "l2" or "ip".
        tune: float32[t, d], sample queries (none of those that are measured), for engines that
            can learn from them.
    """

    vectors: Vector
    attributes: pa.Table
    metric: str
    tune: Vector


class Work(NamedTuple):
    """What the engine tells of its last search; None where it does not.

    distances: vectors or codes compared. status: "exact", "approximate" or "incomplete".
    """

    distances: int | None = None
    status: str | None = None


class Engine(ABC):
    """One engine as a skilled user of it would apply it.

    The life of an object: in one process `warm` and `build`, which leaves a folder; in another one,
    pinned to its cores, `open`, then for every cell `start`, and under each setting `use` and
    searches.
    Searches come from one thread, or from several at once when `threads` is above 1.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind] = "engine"
    modes: ClassVar[tuple[Mode, ...]] = ("end_to_end",)

    def __init__(self, options: Mapping[str, Any], threads: int = 1) -> None:
        """`options`: the engine's section of peers.toml; `threads`: searching at the same time."""
        self.options = options
        self.threads = threads

    @classmethod
    @abstractmethod
    def version(cls) -> dict[str, str]:
        """Distribution names and versions. Raises AbsentError where a package is missing."""

    def warm(self) -> None:  # noqa: B027 - most have nothing to prepare
        """Does what an installation does once and keeps, such as compiling kernels. Not timed."""

    @abstractmethod
    def build(self, items: Items, folder: Path, threads: int) -> None:
        """Builds the index into an empty folder. An engine with nothing to keep leaves it empty."""

    @abstractmethod
    def open(self, items: Items, folder: Path) -> None:
        """Makes ready to search what `build` left, and whatever a user keeps beside it."""

    def settings(self) -> list[Setting]:
        """The settings to sweep, in order of rising cost."""
        return [dict(setting) for setting in self.options.get("settings", [{}])]

    @abstractmethod
    def start(self, where: str | None) -> None:
        """Begins a cell: takes the filter's constant text (None: no filter).

        What a user does once for a filter text (parsing, compiling, planning a statement) happens
        here; its time is reported apart. Raises UnsupportedError.
        """

    def use(self, setting: Setting) -> None:  # noqa: B027 - most have something to do
        """Begins a point: applies a setting and forgets earlier answers."""

    def forget(self) -> None:  # noqa: B027 - most remember nothing
        """Forgets the filters of earlier requests. Called before each end-to-end search, untimed:
        a filter that comes again is evaluated again, by every engine.
        """

    def bind(self, params: Params) -> Any:
        """A filter ready to search with (a selector, a bitmap): not timed in mode "prepared"."""
        raise UnsupportedError(f"{self.name} has no prepared filters")

    @abstractmethod
    def search(self, query: Vector, params: Params, k: int) -> Any:
        """End to end: binds the parameters, evaluates the filter, searches.

        query float32[d]. Returns what the engine gives; `rows` makes row numbers of it.
        """

    def search_bound(self, query: Vector, bound: Any, k: int) -> Any:
        """As `search`, with a filter from `bind`."""
        raise UnsupportedError(f"{self.name} has no prepared filters")

    def rows(self, answer: Any) -> Rows:
        """The row numbers, best first, of what a search returned; not timed. -1 stays as it is."""
        return np.asarray(answer, dtype=np.int64)

    def work(self, answer: Any) -> Work:
        """What the engine tells of a search; not timed."""
        return Work()

    def size(self, folder: Path) -> int:
        """Bytes of the index on disk."""
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())

    def close(self) -> None:  # noqa: B027 - most have nothing to end
        """Ends what the engine started, such as a server."""
