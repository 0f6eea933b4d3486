"""Selection: every form and operation against a boolean array."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanns.errors import InputError
from fanns.selection import Selection, word_count


@st.composite
def selections(draw: st.DrawFn, n: int) -> tuple[Selection, np.ndarray]:
    density = draw(st.sampled_from([0.0, 0.005, 0.1, 0.9, 1.0]))
    mask = np.random.default_rng(draw(st.integers(0, 99))).random(n) < density
    form = draw(st.sampled_from(["rows", "words", "mask", "both", "bare"]))
    rows = np.flatnonzero(mask)
    if form == "bare" and mask.all():
        return Selection.all(n), mask
    if form == "bare" and not mask.any():
        return Selection.none(n), mask
    selection = Selection.from_rows(rows, n)
    if form == "words":
        selection = Selection.from_words(selection.words(), n)
    elif form == "mask":
        selection = Selection.from_mask(mask)
    elif form == "both":
        selection.words()
    return selection, mask


@given(st.data(), st.sampled_from([1, 64, 100, 1000, 5000]))
def test_forms_and_operations(data: st.DataObject, n: int) -> None:
    a, mask_a = data.draw(selections(n))
    b, mask_b = data.draw(selections(n))
    for selection, mask in [
        (a, mask_a),
        (a & b, mask_a & mask_b),
        (a | b, mask_a | mask_b),
        (a - b, mask_a & ~mask_b),
        (~a, ~mask_a),
        (a.invert() | (b & a), ~mask_a | (mask_b & mask_a)),
    ]:
        assert selection.n == n
        assert selection.count == mask.sum()
        assert selection.is_all == mask.all()
        assert (selection.mask() == mask).all()
        assert selection.rows().tolist() == np.flatnonzero(mask).tolist()
        assert selection == Selection.from_mask(mask)
        for array in (selection.rows(), selection.words()):
            assert not array.flags.writeable
        assert selection.rows().dtype == np.int32 and selection.has_rows
        assert selection.words().shape == (word_count(n),) and selection.has_words
        assert selection.nbytes == selection.rows().nbytes + selection.words().nbytes


def test_all_and_none() -> None:
    everything, nothing = Selection.all(70), Selection.none(70)
    assert everything.is_all and not nothing.is_all
    assert nothing.has_rows and not everything.has_rows
    assert everything.rows().tolist() == list(range(70))
    assert int(everything.words()[1]) == 0b111111
    assert ~everything == nothing and everything != nothing
    assert repr(nothing) == "Selection(0 of 70 rows)"


def test_an_empty_segment() -> None:
    empty = Selection.all(0)
    assert empty.is_all and empty.count == 0
    assert empty.rows().shape == empty.words().shape == empty.mask().shape == (0,)
    assert (empty & ~empty).count == 0
    assert Selection.from_words(empty.words(), 0) == empty == Selection.from_mask(empty.mask())


@pytest.mark.parametrize("rows", [[1, 1], [2, 1], [-1, 3], [5]])
def test_rows_that_are_no_selection(rows: list[int]) -> None:
    with pytest.raises(InputError, match=r"sorted, unique and within 0\.\.4"):
        Selection.from_rows(np.array(rows), 5)


def test_bitmaps_that_are_no_selection() -> None:
    with pytest.raises(InputError, match=r"uint64\[1\]"):
        Selection.from_words(np.zeros(2, np.uint64), 64)
    with pytest.raises(InputError, match="beyond row 4"):
        Selection.from_words(np.array([1 << 5], np.uint64), 5)


def test_selections_of_unlike_segments() -> None:
    with pytest.raises(InputError, match="of 5 and of 6 rows"):
        Selection.all(5) & Selection.none(6)
