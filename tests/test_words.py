"""The rows of a word of a bitmap: every form against numpy."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fanns.kernels.jit import kernel
from fanns.kernels.words import FORM, rows_of_word_form


def runner(form: str) -> Any:
    rows_of_word = rows_of_word_form(form)

    @kernel(cache=False)
    def run(word: Any, first: int, out: Any, place: int) -> int:
        return rows_of_word(word, np.int64(first), out, np.int64(place))  # type: ignore[no-any-return]

    return run


RUN = {form: runner(form) for form in sorted({FORM, "portable"})}


@pytest.mark.parametrize("form", sorted(RUN))
@example(word=0, first=0, place=0)
@example(word=2**64 - 1, first=2**31 - 64, place=5)
@given(word=st.integers(0, 2**64 - 1), first=st.integers(0, 2**31 - 64), place=st.integers(0, 9))
def test_rows_are_the_set_bits(form: str, word: int, first: int, place: int) -> None:
    out = np.full(place + 64, -7, np.int32)
    end = RUN[form](np.uint64(word), first, out, place)
    expected = [first + bit for bit in range(64) if word >> bit & 1]
    assert out[place:end].tolist() == expected
    assert (out[:place] == -7).all()
