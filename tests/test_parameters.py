"""Parameters that differ per query of a batch."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from fanns.errors import ParameterError
from fanns.filters import Each, bind, each, parse_filter, split_params
from fanns.schema import ColumnType


def test_split_gives_one_dict_per_query() -> None:
    params = {"y": each(np.array([1, 2])), "tags": each([["a"], ["b", "c"]]), "all": [5]}
    assert split_params(params, 2) == [
        {"y": 1, "tags": ["a"], "all": [5]},
        {"y": 2, "tags": ["b", "c"], "all": [5]},
    ]
    assert split_params({"y": Each(pa.array([1, None]))}, 2) == [{"y": 1}, {"y": None}]


def test_shared_parameters_are_not_split() -> None:
    assert split_params(None, 3) is None
    assert split_params({}, 3) is None
    assert split_params({"y": [1, 2, 3]}, 3) is None


def test_wrong_number_of_values_is_named() -> None:
    with pytest.raises(ParameterError, match=r":y has each\(\) of 2 values for 3 queries"):
        split_params({"y": each([1, 2])}, 3)


def test_each_outside_a_batch_is_refused() -> None:
    for where in ("a = :y", "a IN :y", "a IN (1, :y)"):
        with pytest.raises(ParameterError, match=r":y is each\(2 values\).*batch"):
            bind(parse_filter(where), {"a": ColumnType("int")}, {"y": each([1, 2])})
