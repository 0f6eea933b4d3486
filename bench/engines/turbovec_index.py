"""turbovec: a scan of 4-bit codes under a mask, and the best again in full precision.

It keeps no attributes: the mask comes from posting lists, as a skilled user of it keeps them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fanns.bench.engines.engine import (
    Engine,
    Items,
    Mode,
    Params,
    Rows,
    Setting,
    UnsupportedError,
    Vector,
    Work,
)
from fanns.bench.engines.rows import Filter, Postings
from fanns.bench.engines.tables import installed

SAMPLE = 4096  # rows that the calibration sees


class Turbovec(Engine):
    """Codes over-fetch `refine` times k rows, which numpy compares in full precision."""

    name = "turbovec"
    modes: ClassVar[tuple[Mode, ...]] = ("end_to_end", "prepared")

    @classmethod
    def version(cls) -> dict[str, str]:
        return installed("turbovec")

    def build(self, items: Items, folder: Path, threads: int) -> None:
        os.environ["RAYON_NUM_THREADS"] = str(threads)
        import turbovec

        rows, width = items.vectors.shape
        if items.metric == "l2":
            raise UnsupportedError("turbovec compares by inner product only")
        if width % 8:
            raise UnsupportedError(f"turbovec's vectors are multiples of 8 wide, not {width}")
        index = turbovec.TurboQuantIndex(dim=width, **self.options.get("build", {}))
        sample = np.random.default_rng(0).choice(rows, min(rows, SAMPLE), replace=False)
        index.calibrate(np.ascontiguousarray(items.vectors[np.sort(sample)]))
        index.add(np.ascontiguousarray(items.vectors))
        index.write(str(folder / "index.tv"))

    def open(self, items: Items, folder: Path) -> None:
        os.environ["RAYON_NUM_THREADS"] = str(self.threads)
        import turbovec

        self.index = turbovec.TurboQuantIndex.load(str(folder / "index.tv"))
        self.index.prepare()
        self.vectors = items.vectors
        self.postings = Postings(items.attributes)

    def start(self, where: str | None) -> None:
        self.filter: Filter | None = self.postings.compile(where)

    def use(self, setting: Setting) -> None:
        self.refine = int(setting.get("refine", 0))

    def bind(self, params: Params) -> NDArray[np.bool_] | None:
        return None if self.filter is None else self.filter.find(params).mask()

    def search(self, query: Vector, params: Params, k: int) -> Rows:
        return self.search_bound(query, self.bind(params), k)

    def search_bound(self, query: Vector, bound: Any, k: int) -> Rows:
        _, slots = self.index.search(query[None, :], k * max(1, self.refine), mask=bound)
        found: Rows = slots[0]
        if self.refine == 0:
            return found
        scores = self.vectors[found] @ query
        return found[np.argsort(-scores)[:k]]

    def work(self, answer: Rows) -> Work:
        return Work(None, "approximate")
