"""Splits: nothing lost, nothing shared, in time's order, and nothing taken twice."""

import numpy as np
import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st

from fanns.datasets.recsys_interactions import Interactions
from fanns.datasets.recsys_splits import Split, Valid, given, leave_one_out, ratio, temporal
from fanns.errors import InputError
from tests.recsys_data import random_interactions


def parts(split: Split) -> list[Interactions]:
    return [part.seen() for part in (split.train, split.valid, split.test) if part is not None]


@given_any(st.integers(0, 1000), st.floats(0.01, 0.6))
def test_every_interaction_is_in_one_part(seed: int, share: float) -> None:
    data = random_interactions(12, 15, share, seed, times=True)
    for split in (ratio(data, seed=seed), leave_one_out(data), temporal(data)):
        keys = np.concatenate([part.keys for part in parts(split)])
        assert sorted(keys) == data.keys.tolist()


def test_ratio_is_of_every_user() -> None:
    data = random_interactions(50, 60, 0.4, 0)
    split = ratio(data, (0.7, 0.1, 0.2), seed=1)
    counts = [part.user_counts for part in parts(split)]
    for share, count in zip((0.7, 0.1, 0.2), counts, strict=True):
        assert np.abs(count - share * data.user_counts).max() <= 1
    assert split.told == "ratio 0.7:0.1:0.2, seed 1"
    assert (ratio(data, seed=1).train.seen().keys == split.train.seen().keys).all()
    assert len(np.setdiff1d(ratio(data, seed=2).train.seen().keys, split.train.seen().keys))
    lonely = random_interactions(40, 40, 0.0, 0)
    assert len(ratio(lonely).train) == 1, "who has one interaction trains"
    for odd in ((0.7, 0.2, 0.2), (0.0, 0.5, 0.5), (1.2, -0.1, -0.1)):
        with pytest.raises(InputError, match="add up to 1"):
            ratio(data, odd)


def test_leave_one_out_leaves_the_last() -> None:
    data = random_interactions(20, 30, 0.2, 4, times=True)
    split = leave_one_out(data)
    train, valid, test = parts(split)
    assert train.times is not None and valid.times is not None and test.times is not None
    for user in range(20):
        slices = [slice(*part.indptr[[user, user + 1]]) for part in (train, valid, test)]
        if data.user_counts[user] < 3:
            assert len(test.items_of(user)) == len(valid.items_of(user)) == 0
        else:
            last = [part.times[s] for part, s in zip((valid, test), slices[1:], strict=True)]  # type: ignore[index]
            assert train.times[slices[0]].max() < last[0].item() < last[1].item()
    untimed = random_interactions(20, 30, 0.2, 4)
    with pytest.raises(InputError, match="needs times"):
        leave_one_out(untimed)
    assert len(leave_one_out(untimed, seed=3).test) == len(split.test)


def test_temporal_parts_follow_each_other() -> None:
    data = random_interactions(20, 30, 0.3, 5, times=True)
    train, valid, test = (part.times for part in parts(temporal(data)))
    assert train is not None and valid is not None and test is not None
    assert train.max() < valid.min() and valid.max() < test.min()
    assert abs(len(train) - 0.7 * len(data)) <= 1
    with pytest.raises(InputError, match="needs times"):
        temporal(random_interactions(3, 3, 0.5, 0))


def test_parts_are_taken_once_and_for_their_purpose() -> None:
    split = ratio(random_interactions(20, 30, 0.3, 6))
    split.train.take("fit")
    with pytest.raises(InputError, match="already taken for 'fit'"):
        split.train.take("fit")
    with pytest.raises(InputError, match="Train is for 'fit', not for 'rerank'"):
        split.again().train.take("rerank")
    with pytest.raises(InputError, match="Test is for 'measure', not for 'choose'"):
        split.test.take("choose")
    assert split.valid is not None
    split.valid.take("choose")
    with pytest.raises(InputError, match="already taken for 'choose'"):
        split.valid.take("rerank")
    assert len(split.train.seen()) == len(split.train), "what was seen may always be asked"
    assert len(split.again().train.take("fit")) == len(split.train)


def test_validation_divides_by_users() -> None:
    whole = ratio(random_interactions(60, 40, 0.3, 7)).valid
    assert whole is not None
    first, second = whole.divide(seed=1)
    assert isinstance(first, Valid) and len(first) + len(second) == len(whole)
    users = [set(part.seen().users.tolist()) for part in (first, second)]
    assert not users[0] & users[1] and min(map(len, users)) > 10
    first.take("choose"), second.take("rerank")
    with pytest.raises(InputError, match="already taken"):
        whole.take("choose")


def test_given_parts_share_nothing() -> None:
    data = random_interactions(10, 10, 0.5, 8)
    half = np.arange(len(data)) % 2 == 0
    assert len(given(data.select(half), None, data.select(~half)).test) == (~half).sum()
    with pytest.raises(InputError, match="test and train share"):
        given(data, None, data.select(half))
