"""The quick way over a segment with deleted rows: without what takes posting lists as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fanns.prepared import Prepared, prepare
from fanns.quick import Asking, Quick, Way
from fanns.selection import Selection


class QuickLive(Quick):
    """See `Quick`; every filter is evaluated, and tested against the live rows."""

    def select(
        self, where: Any, params: Mapping[str, Any] | None
    ) -> tuple[Asking, Mapping[str, Any] | None, Selection]:
        if where is None and not params:
            return self._unfiltered
        ready = prepare(self.snapshot, where, params, None)
        return ready, None, ready.selections()[0]

    def way(self, where: Any, params: Mapping[str, Any] | None) -> Way | None:
        return None

    def way_of(self, prepared: Prepared) -> Way | None:
        return None
