"""Plain arguments, checked where they come in: of the right type, and in range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fanns.errors import FilterError, InputError, ParameterError

MOST = 2**62
"""Numbers that kernels count to stay below, so that sums of two are int64."""

LONGEST = 1e9
"""Seconds, some thirty years."""


def check_whole(name: str, value: Any, least: int) -> None:
    """Raises InputError unless this is a whole number of at least `least`."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least:
        raise InputError(f"{name} is {value!r}, expected a whole number of at least {least}")


def check_work(work: Any) -> None:
    """Raises InputError unless this is a number of distances."""
    check_whole("max_work", work, 1)
    if work >= MOST:
        raise InputError(f"max_work is {work!r}, expected fewer distances than 2**62")


def is_number(value: Any) -> bool:
    """Whether this is a real number, NaN and infinity too; no bool."""
    real = isinstance(value, int | float | np.integer | np.floating)
    return real and not isinstance(value, bool)


def check_recall(recall: Any) -> None:
    """Raises InputError unless this is a share above 0."""
    if not is_number(recall) or not 0 < recall <= 1:
        raise InputError(f"recall is {recall!r}, expected a share in (0, 1]")


def check_radius(radius: Any) -> None:
    """Raises InputError unless this is a distance."""
    if radius is not None and (not is_number(radius) or math.isnan(radius)):
        raise InputError(f"radius is {radius!r}, expected a distance")


def check_limit(limit: Any) -> None:
    """Raises InputError unless this is None or a number of rows."""
    if limit is not None:
        check_whole("limit", limit, 0)


def check_nulls(nulls: Any) -> None:
    """Raises FilterError unless this is a text; which, is checked with the filter."""
    if not isinstance(nulls, str):
        raise FilterError(f"nulls is {nulls!r}, expected 'sql' or 'python'")


def check_mapping(params: Any) -> None:
    """Raises ParameterError unless this is None or a dict of parameters."""
    if params is not None and not isinstance(params, Mapping):
        raise ParameterError(f"params is {params!r}, expected a dict: params={{'name': value}}")


def check_names(name: str, values: Any) -> None:
    """Raises InputError unless this is None or a list of texts."""
    if values is None:
        return
    listed = isinstance(values, list | tuple | set | frozenset | dict)
    if not listed or not all(isinstance(value, str) for value in values):
        raise InputError(f"{name} is {values!r}, expected a list of names")
