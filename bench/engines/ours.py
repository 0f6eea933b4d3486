"""fanns itself, through its public interface."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

import fanns
from fanns.bench.engines.engine import Engine, Items, Mode, Params, Rows, Setting, Vector, Work
from fanns.datasets import arxiv_like
from fanns.datasets.dataset import vectors

WARMING = (
    "list_contains(categories, 'cs.LG') AND submitted_date >= DATE '2015-01-01'",
    "list_has_any(categories, ['cs.LG', 'hep-th']) OR versions > 2",
    "NOT primary_category IN ('cs.LG', 'hep-th')",
    "len(authors) > 2 AND comments IS NOT NULL AND submitted_date < DATE '2020-01-01'",
)


class Fanns(Engine):
    """The filter's text is constant and its tree cached; parameters are bound for each query."""

    name = "fanns"
    modes: ClassVar[tuple[Mode, ...]] = ("end_to_end", "prepared")

    @classmethod
    def version(cls) -> dict[str, str]:
        return {"fanns": fanns.__version__, "code": _code()}

    def warm(self) -> None:
        """Compiles the kernels of builds, paths and filters."""
        papers = arxiv_like.items(4_096, 64)
        with fanns.Index.build(papers, calibration="default") as index:
            index.warmup()
            for where in WARMING:
                index.search(vectors(papers)[0], 10, where)

    def build(self, items: Items, folder: Path, threads: int) -> None:
        flat = items.vectors.ravel()
        column = pa.FixedSizeListArray.from_arrays(flat, items.vectors.shape[1])
        vector = free_name(items.attributes.column_names)
        fanns.Index.build(
            items.attributes.append_column(vector, column),
            vector=vector,
            metric=items.metric,
            attributes=items.attributes.column_names,
            queries=items.tune if len(items.tune) else None,
            threads=threads,
            path=folder / "index",
            overwrite=True,
            **self._options(items.attributes),
        ).close()

    def _options(self, attributes: pa.Table) -> dict[str, Any]:
        """The build options as `Index.build` takes them."""
        options = dict(self.options.get("build", {}))
        if options.pop("graphs", False):
            ordered = [field.name for field in attributes.schema if _is_ordered(field.type)]
            options |= {"range_index": ordered, "label_index": "auto"}
        return options

    def open(self, items: Items, folder: Path) -> None:
        self.index = fanns.open(folder / "index")

    def start(self, where: str | None) -> None:
        self.where = where
        self.prepared = self.index.prepare(where)  # the index keeps the tree of this text

    def use(self, setting: Setting) -> None:
        self.recall = float(setting["recall"])

    def forget(self) -> None:
        self.index.clear_cache()

    def bind(self, params: Params) -> fanns.Prepared:
        bound = self.prepared.bind(**params)
        bound.count()  # evaluates the filter
        return bound

    def search(self, query: Vector, params: Params, k: int) -> fanns.Hits:
        hits = self.index.search(
            query, k, where=self.where, params=params or None, recall=self.recall
        )
        hits.ids  # noqa: B018 - read when first asked for: part of the answer
        return hits  # type: ignore[no-any-return]

    def search_bound(self, query: Vector, bound: fanns.Prepared, k: int) -> fanns.Hits:
        hits = self.index.search(query, k, where=bound, recall=self.recall)
        hits.ids  # noqa: B018
        return hits  # type: ignore[no-any-return]

    def rows(self, answer: fanns.Hits) -> Rows:
        return np.asarray(answer.ids, dtype=np.int64)

    def work(self, answer: fanns.Hits) -> Work:
        codes, full, _, _ = (int(part) for part in answer.work)
        return Work(codes + full, answer.status)

    def close(self) -> None:
        self.index.close()


def _is_ordered(kind: pa.DataType) -> bool:
    return bool(pa.types.is_temporal(kind) or pa.types.is_floating(kind))


@cache
def _code() -> str:
    """A digest of the library's sources: its speed changes more often than its version."""
    root = Path(fanns.__file__).parent
    files = [
        *root.glob("*.py"),
        *(root / "attributes").glob("*.py"),
        *(root / "calibration").glob("*.py"),
        *(root / "paths").glob("*.py"),
    ]
    files += (root / "kernels").glob("*.py")
    found = hashlib.sha256()
    for file in sorted(files):
        found.update(file.name.encode() + b"\0" + file.read_bytes())
    return found.hexdigest()[:12]


def free_name(taken: Sequence[str]) -> str:
    """A name for the column of vectors that no attribute has."""
    name = "embedding"
    while name in taken:
        name += "_"
    return name
