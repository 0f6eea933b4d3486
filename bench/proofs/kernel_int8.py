"""The masked scan of int8 codes against the machine's own sequential reading of the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numba import njit
from numpy.typing import NDArray

from fanns.bench.proofs.findings import Bar, at_least
from fanns.bench.proofs.kernel_rates import Pace, Timed, compare
from fanns.codes import Int8Codes
from fanns.kernels.distance import COSINE
from fanns.paths import NO_BUDGET
from fanns.paths.scan import ScanParameters, ScanPath
from fanns.selection import Selection
from fanns.vectors import DenseVectors

SHARE = 0.70
RUN = 4_096  # rows that pass, or fail, one after another: about a cluster
SHORTLIST, K = 40, 10
_BESIDE = 12  # bytes of a row's scale and square
_CACHE = 64 << 20  # assumed where the system does not tell the last cache's size


def rows_beyond_caches(dimensions: int) -> int:
    """Rows whose codes are twice the machine's last cache, as far as a quarter of memory goes."""
    most = psutil.virtual_memory().available // 4 // (5 * dimensions)
    return int(min(2 * last_cache() // dimensions + 1, most))


def last_cache() -> int:
    """Bytes of the largest cache that the first core knows of."""
    sizes = [_size(file) for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    return max(sizes, default=_CACHE)


def _size(file: Path) -> int:
    text = file.read_text(encoding="ascii").strip()
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(text[:-1]) * units[text[-1]] if text[-1] in units else int(text)


def measure(rows: int, dimensions: int, pace: Pace) -> tuple[list[dict[str, Any]], list[Bar]]:
    """Records of every contender, in bytes a second, and the bar for contiguous rows."""
    rng = np.random.default_rng(0)
    vectors = DenseVectors.from_array(
        rng.standard_normal((rows, dimensions), np.float32), COSINE, threads=None
    )
    codes = Int8Codes.build(vectors, threads=None)
    path = ScanPath(vectors, codes, np.arange(rows, dtype=np.int64))
    query = rng.standard_normal((1, dimensions)).astype(np.float32)

    def scan(selection: Selection) -> Timed:
        parameters = ScanParameters(SHORTLIST)
        return Timed(
            lambda: path.search(query, selection, K, parameters, NO_BUDGET),
            selection.count * (codes.width + _BESIDE),
        )

    words = codes.codes.reshape(-1).view(np.uint64)
    timed = {f"int8 scan, {name}": scan(mask) for name, mask in _selections(rows, rng).items()}
    readers = {f"reading by {name}": _reading(read, words) for name, read in READERS.items()}
    records, shares = compare("int8", timed | readers, list(readers), "bytes", pace)
    what = "masked int8 scan over contiguous codes against reading them in order"
    return records, [at_least(what, shares[f"int8 scan, {CONTIGUOUS}"], SHARE)]


CONTIGUOUS = f"runs of {RUN:,} rows pass, half of all"


def _selections(rows: int, rng: np.random.Generator) -> dict[str, Selection]:
    """Half of the rows in runs, as clusters lie; all; and every second one by chance."""
    places = np.arange(rows)
    return {
        CONTIGUOUS: Selection.from_mask(places // min(RUN, max(1, rows // 2)) % 2 == 0),
        "all rows": Selection.all(rows),
        "half of the rows by chance": Selection.from_mask(rng.random(rows) < 0.5),
    }


def _reading(read: Callable[[NDArray[np.uint64]], Any], words: NDArray[np.uint64]) -> Timed:
    return Timed(lambda: read(words), words.nbytes)


def _sum(words: NDArray[np.uint64]) -> int:
    total = np.uint64(0)
    for place in range(words.shape[0]):
        total += words[place]
    return total  # type: ignore[return-value]


def _sum_four(words: NDArray[np.uint64]) -> int:
    """The same from four places at once, which keeps more of the memory's lines on their way."""
    part = words.shape[0] // 4
    total = np.uint64(0)
    for place in range(part):
        total += words[place] + words[part + place]
        total += words[2 * part + place] + words[3 * part + place]
    for place in range(4 * part, words.shape[0]):
        total += words[place]
    return total  # type: ignore[return-value]


READERS: dict[str, Callable[[NDArray[np.uint64]], Any]] = {
    "numba": njit(nogil=True)(_sum),
    "numba, four places at once": njit(nogil=True)(_sum_four),
    "numpy": np.add.reduce,
}
"""Ways to read bytes in order; the fastest one is what the machine can do."""
