"""What a stored segment says of itself, checked before anything goes by it."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any

from fanns.errors import CorruptIndexError
from fanns.kernels.distance import METRICS

REPORTED = ("bits_per_vector", "reconstruction_error")


def check_description(meta: Mapping[str, Any]) -> None:
    """Raises CorruptIndexError unless every entry is there and of its type.

    What numbers may be is checked where they are used.
    """
    good = {
        "rows": _is_number(meta.get("rows")) and meta["rows"] < 2**31,
        "metric": isinstance(meta.get("metric"), str) and meta["metric"] in METRICS,
        "id_kind": meta.get("id_kind") in ("int", "string"),
        "indexed": _are_names(meta.get("indexed")),
        "graph": isinstance(meta.get("graph"), bool),
        "bits": _is_number(meta.get("bits")),
        "products": _is_number(meta.get("products")),
        "codes": _are_reports(meta.get("codes")),
        "reduction": isinstance(meta.get("reduction", 0), dict | NoneType),
        "store": isinstance(meta.get("store"), dict | NoneType),
        "calibration": isinstance(meta.get("calibration"), str),
    }
    for name, right in good.items():
        if not right:
            told = repr(meta[name])[:60] if name in meta else "nothing"
            raise CorruptIndexError(f"its description has {told} for {name!r}")


def _is_number(value: Any) -> bool:
    return type(value) is int and value >= 0


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _are_reports(value: Any) -> bool:
    """By the names of codes, numbers by name."""
    return isinstance(value, dict) and all(
        isinstance(report, dict)
        and all(isinstance(report.get(name), int | float) for name in REPORTED)
        for report in value.values()
    )
