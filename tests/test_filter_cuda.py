"""Filters on the device against the selections of the same filters on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanns.attributes import AttributeIndex
from fanns.selection import Selection
from tests.attribute_data import Context
from tests.attribute_helpers import Case, cases, trees

columns = pytest.importorskip("fanns.device.columns")
jit = pytest.importorskip("fanns.kernels.jit_cuda")


@settings(max_examples=25)
@given(st.data(), cases(max_rows=130))
def test_bitmaps_on_the_device_are_the_selections(data: st.DataObject, case: Case) -> None:
    index = AttributeIndex.build(case.table, case.schema)
    if index.n == 0:
        return
    context = Context(index.n, case.table)
    held = columns.DeviceColumns(index, context)
    held.move(jit.cuda_host)
    live = Selection.from_mask(np.random.default_rng(index.n).random(index.n) < 0.7)
    drawn = data.draw(st.lists(trees(case.schema), min_size=1, max_size=3))
    for alive in (None, live):
        programs = held.programs(drawn, alive)
        workspace = jit.Workspace(held.scratch_bytes(programs), threads=32)
        found = held.bitmaps(programs, workspace).copy_to_host()
        for tree, words in zip(drawn, found, strict=True):
            expected = index.select(tree, context)
            expected = expected if alive is None else expected & alive
            assert Selection.from_words(words, index.n) == expected
