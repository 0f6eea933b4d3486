"""Native stores: rows as numpy has them, hashes to the bit, files taken back or refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanns.errors import (
    CorruptIndexError,
    FannsError,
    IndexExistsError,
    InputError,
    NotAnIndexError,
)
from fanns.stores import (
    Coded,
    Masked,
    MixedDimension,
    QuotientRemainder,
    hash_codes,
    load,
    restored,
)
from tests.store_helpers import KINDS, entry, make, mix

TABLE = np.ones((3, 2), np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 63, 130])
def test_rows_are_those_of_numpy(kind: str, n: int) -> None:
    store, rows = make(kind, n, np.random.default_rng(n))
    got = store.decode(np.arange(n))
    assert got.dtype == np.float32 and got.shape == rows.shape == (n, store.d)
    if kind.startswith("mixed"):  # sums of another order, rounded once
        np.testing.assert_allclose(got, rows, rtol=2e-7, atol=1e-7)
    else:
        np.testing.assert_array_equal(got, rows)
    assert np.linalg.norm(rows.astype(np.float64), axis=1).max() <= store.reach
    some = np.random.default_rng(0).integers(0, n, 5)
    np.testing.assert_array_equal(store.decode(some), got[some])


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_gives_the_store_back(kind: str, tmp_path: Path) -> None:
    store, _ = make(kind, 100, np.random.default_rng(1))
    store.save(tmp_path / "s")
    again = load(tmp_path / "s")
    assert type(again) is type(store) and again.describe() == store.describe()
    assert repr(again) == repr(store) and again.nbytes == store.nbytes
    np.testing.assert_array_equal(again.decode(np.arange(100)), store.decode(np.arange(100)))
    with pytest.raises(IndexExistsError, match="overwrite"):
        store.save(tmp_path / "s")
    store.save(tmp_path / "s", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s"]


def test_hashes_are_fixed_forever() -> None:
    """Stored indexes depend on every bit of them."""
    assert mix(1) == 0x5692161D100B05E5
    keys, salts = np.array([0, 1, 2, 12345678901, 2**62]), np.array([0, 1, 2**63 + 5], np.uint64)
    got = hash_codes(keys, salts, np.array([1000, 2**31, 7]))
    expected = [
        [entry(int(k), int(s), z) for s, z in zip(salts, (1000, 2**31, 7), strict=True)]
        for k in keys
    ]
    assert got.tolist() == expected
    assert got[:2].tolist() == PINNED
    store = Coded.hashed(np.ones((1000, 2), np.float32), 5, salts)
    assert (store.codes(np.arange(5)) == hash_codes(np.arange(5), salts, 1000)).all()
    spread = np.bincount(hash_codes(np.arange(100_000), salts[:1], 100)[:, 0], minlength=100)
    assert spread.min() > 850 and spread.max() < 1150


PINNED = [[281, 1852969470, 3], [617, 774463136, 4]]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: QuotientRemainder((TABLE, TABLE), 10), "need 4 quotients"),
        (lambda: QuotientRemainder((TABLE, np.ones((3, 3))), 4, "add"), "one width"),
        (lambda: QuotientRemainder((TABLE, TABLE), 4, "sub"), "op is 'sub'"),
        (lambda: QuotientRemainder((TABLE, TABLE * np.nan), 4), "W2: nan at"),
        (lambda: QuotientRemainder((TABLE.astype(int), TABLE), 4), "expected floats"),
        (lambda: QuotientRemainder((TABLE * 1e30, TABLE * 1e30), 4, "mult"), "float32"),
        (lambda: MixedDimension([]), "at least one"),
        (lambda: MixedDimension([(TABLE, None), (TABLE, np.ones((2, 3)))]), "3 dimensions"),
        (lambda: MixedDimension([(TABLE, np.ones((3, 3)))]), "3 rows"),
        (lambda: MixedDimension([(TABLE, None)], [0, 3]), "0..2"),
        (lambda: Coded.stored(TABLE, [[3]]), "outside its table"),
        (lambda: Coded.stored(TABLE, np.zeros((4, 3), int), 2), "no chunks of 2"),
        (lambda: Coded.stored([TABLE], np.zeros((4, 2), int)), "or 2, got 1"),
        (lambda: Coded.hashed(TABLE, 4, []), "salts"),
        (lambda: Coded.blocks(np.ones(3), 4, [1], 4), "no window of 4"),
        (lambda: Coded.signed(np.ones(3), np.zeros(2, np.uint64), [[16]], [1]), "0..15"),
        (lambda: Masked(np.ones((2, 2), bool), np.ones(3)), "has 4, got 3"),
        (lambda: Masked(np.ones((2, 2)), np.ones(4)), "bool"),
        (lambda: QuotientRemainder((TABLE, TABLE), 9).decode([9]), "0..8"),
        (lambda: QuotientRemainder((TABLE, TABLE), 9).decode([-1]), "0..8"),
        (lambda: hash_codes([-1], [1], 5), "negative"),
    ],
)
def test_what_cannot_be_is_refused(call: Callable[[], object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        call()


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    store, _ = make("stored", 50, np.random.default_rng(2))
    store.save(tmp_path / "s")
    with pytest.raises(NotAnIndexError):
        load(tmp_path)
    binary, text = tmp_path / "s" / "store.bin", tmp_path / "s" / "store.json"
    whole = binary.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 20)):
        binary.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CorruptIndexError, match="checksum"):
            load(tmp_path / "s")
    binary.write_bytes(whole[:-1])
    with pytest.raises(CorruptIndexError, match="truncated"):
        load(tmp_path / "s")
    binary.write_bytes(whole)
    told = json.loads(text.read_text())
    changes: list[dict[str, Any]] = [
        {"format": 2},
        {"arrays": 5},
        {"store": {}},
        {"store": {**told["store"], "rows": 51}},
        {"store": {**told["store"], "dimensions": 2**40}},
        {"store": {**told["store"], "reach": "far"}},
        {"arrays": [{**one, "offset": one["offset"] + 64} for one in told["arrays"]]},
        {"arrays": [{**one, "name": "../x"} for one in told["arrays"]]},
        {"bytes": "many"},
    ]
    for change in changes:
        text.write_text(json.dumps({**told, **change}))
        with pytest.raises(CorruptIndexError):
            load(tmp_path / "s")
    text.write_text("{")
    with pytest.raises(CorruptIndexError):
        load(tmp_path / "s")


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_that_would_mislead_a_kernel_are_refused(kind: str) -> None:
    """Whatever an index's files say, a kernel reads inside its arrays: or the store is refused."""
    rng = np.random.default_rng(3)
    store, _ = make(kind, 70, rng)
    arrays, told = store.arrays(), store.describe()
    refused = 0
    for name, array in arrays.items():
        changes = [array[:-1], array.astype(np.float64)]
        for value in (-1, 0, 5, 10**6):
            flat = array.reshape(-1)
            for at in {0, len(flat) // 2, len(flat) - 1}:
                changed = flat.copy()
                changed[at] = np.array(value).astype(array.dtype)
                changes.append(changed.reshape(array.shape))
        for changed in changes:
            try:
                made = restored(told, {**arrays, name: changed})
            except FannsError:
                refused += 1
                continue
            made.decode(np.arange(made.n))
    assert refused > 5
    for told_wrong in ({}, {"kind": kind}, {**told, "rows": 2**40}, {**told, "rows": None}):
        with pytest.raises(InputError):
            restored(told_wrong, arrays)
    with pytest.raises(InputError, match="no store has"):
        restored(told, {**arrays, "more": arrays["first"]})
