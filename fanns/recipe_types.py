"""The settings of an index, as JSON gives them: which there must be, and of what types."""

from __future__ import annotations

from types import NoneType
from typing import Any

from fanns.errors import InputError

# The types of the settings' values; what they may be besides is checked by the build.
TYPES: dict[str, tuple[type, ...]] = {
    "metric": (str,),
    "dimensions": (int,),
    "dtype": (str,),
    "vector_name": (str,),
    "id_name": (str,),
    "id_kind": (str,),
    "generated": (bool,),
    "attributes": (list,),
    "stored": (list,),
    "schema": (dict,),
    "model": (str, NoneType),
    "seed": (int,),
    "keep_originals": (bool,),
    "reduce": (str,),
    "calibration": (str,),
    "bits": (int,),
    "graphs": (dict,),
    "transforms": (str,),
}


def check_types(raw: dict[str, Any]) -> None:
    """Raises InputError unless every setting is there, and of its type."""
    for name, types in TYPES.items():
        if name not in raw:
            raise InputError(f"{name} is missing")
        if type(raw[name]) not in types:
            raise InputError(f"{name} is of type {type(raw[name]).__name__}")
    for name in ("attributes", "stored"):
        if not all(isinstance(column, str) for column in raw[name]):
            raise InputError(f"{name} are not names of columns")
    if raw["seed"] < 0:
        raise InputError("seed is negative")
    if sorted([*raw["attributes"], *raw["stored"]]) != sorted(raw["schema"]):
        raise InputError("attributes and stored are not the columns of the schema")
