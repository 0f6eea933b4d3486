"""Training, validation and test parts, each of which may be taken once, and for its own purpose.

    split = ratio(data, (0.7, 0.1, 0.2), seed=0)
    model.fit(split.train.take("fit"))
    model.choose(split.valid.take("choose"))        # when to stop, which settings
    evaluate(model, split.test.take("measure"), seen=split.train.seen())

A model that is fitted on what another was fitted on, and judges it, looks better than it is: a
reranker needs interactions that its producer never saw. So a part gives its interactions once. Who
compares several models splits anew for each (`again`), in plain sight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fanns.errors import InputError

from .recsys_interactions import Interactions

Ints = NDArray[np.int64]


class Part:
    """Interactions that are given out once; see `Train`, `Valid` and `Test`."""

    purposes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, interactions: Interactions) -> None:
        self._interactions = interactions
        self._used: str | None = None

    def __len__(self) -> int:
        """How many interactions there are."""
        return len(self._interactions)

    def take(self, purpose: str) -> Interactions:
        """The interactions, for one purpose, once.

        Raises InputError for a purpose that is not this part's, and the second time.
        """
        kind = type(self).__name__
        if purpose not in self.purposes:
            expected = " or ".join(map(repr, self.purposes))
            raise InputError(f"{kind} is for {expected}, not for {purpose!r}")
        if self._used is not None:
            raise InputError(
                f"{kind} was already taken for {self._used!r}: what one model has seen must not "
                "judge or train the next; divide() it, or begin another chain with split.again()"
            )
        self._used = purpose
        return self._interactions

    def seen(self) -> Interactions:
        """The interactions, to leave out of answers and for nothing else; any number of times."""
        return self._interactions


class Train(Part):
    """What producers learn from."""

    purposes = ("fit",)


class Valid(Part):
    """What settings are chosen by, or rerankers learn from."""

    purposes = ("choose", "rerank")

    def divide(self, share: float = 0.5, *, seed: int = 0) -> tuple[Self, Self]:
        """Two parts of different users, to choose by and to train a reranker on.

        Raises InputError where it was taken; it counts as taken from then on.
        """
        if not 0 < share < 1:
            raise InputError(f"share is {share}, expected a number between 0 and 1")
        whole = self.take("choose")
        first = np.random.default_rng(seed).random(whole.n_users) < share
        mask = first[whole.users]
        return type(self)(whole.select(mask)), type(self)(whole.select(~mask))


class Test(Part):
    """What the figures are measured on."""

    purposes = ("measure",)
    __test__ = False  # no collection of tests, whatever its name begins with


@dataclass(frozen=True)
class Split:
    """The parts of a data set, and in words how it was split; valid is None where there is none."""

    train: Train
    valid: Valid | None
    test: Test
    told: str

    def again(self) -> Split:
        """The same parts, untaken: another model begins, which shares nothing with the first."""
        valid = None if self.valid is None else Valid(self.valid.seen())
        return Split(Train(self.train.seen()), valid, Test(self.test.seen()), self.told)


def given(train: Interactions, valid: Interactions | None, test: Interactions) -> Split:
    """Parts that come as files of their own; raises InputError where two share an interaction."""
    parts = {"train": train, "test": test} | ({} if valid is None else {"valid": valid})
    names = sorted(parts)
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            shared = np.intersect1d(parts[one].keys, parts[other].keys)
            if len(shared):
                user, item = divmod(int(shared[0]), train.n_items)
                raise InputError(
                    f"{one} and {other} share {len(shared)} interactions, the first of user "
                    f"{train.user_ids[user]} with item {train.item_ids[item]}: a test on what was "
                    "trained on tells nothing"
                )
    return Split(Train(train), None if valid is None else Valid(valid), Test(test), "as given")


def ratio(
    data: Interactions,
    shares: tuple[float, float, float] = (0.7, 0.1, 0.2),
    *,
    seed: int = 0,
) -> Split:
    """Every user's interactions at random into train, valid and test, by these shares.

    Counts are rounded to the nearest, training first, so that nobody is without training.
    """
    if any(share < 0 for share in shares) or abs(sum(shares) - 1) > 1e-9 or shares[0] <= 0:
        raise InputError(f"shares are {shares}, expected three numbers from 0 that add up to 1")
    draws = np.random.default_rng(seed).random(len(data))
    place, counts = _places(data, draws)
    ends = counts * shares[0] + 0.5, counts * (shares[0] + shares[1]) + 0.5
    train = (place < np.floor(ends[0])) | (place == 0)
    valid = ~train & (place < np.floor(ends[1]))
    told = f"ratio {':'.join(f'{share:g}' for share in shares)}, seed {seed}"
    return _split(data, train, valid, told)


def leave_one_out(data: Interactions, *, seed: int | None = None) -> Split:
    """Every user's last interaction for the test, the one before for validation.

    seed: of a random order, for data without times. Users of fewer than three interactions stay in
    training. Raises InputError where there are neither times nor a seed.
    """
    random = np.random.default_rng(seed)
    order = _times(data, "leave_one_out") if seed is None else random.permutation(len(data))
    place, counts = _places(data, order)
    enough = counts >= 3
    test, valid = enough & (place == counts - 1), enough & (place == counts - 2)
    told = "leave one out, by time" if seed is None else f"leave one out, seed {seed}"
    return _split(data, ~(test | valid), valid, told)


def temporal(data: Interactions, shares: tuple[float, float, float] = (0.7, 0.1, 0.2)) -> Split:
    """All before one moment for training, all before a second for validation, the rest for test.

    The moments are those before which such shares of all interactions lie; interactions of one
    moment stay together. Raises InputError for data without times.
    """
    if any(share < 0 for share in shares) or abs(sum(shares) - 1) > 1e-9 or shares[0] <= 0:
        raise InputError(f"shares are {shares}, expected three numbers from 0 that add up to 1")
    times = _times(data, "temporal")
    cuts = np.quantile(times, [shares[0], shares[0] + shares[1]], method="higher")
    train = times < cuts[0]
    told = f"temporal {':'.join(f'{share:g}' for share in shares)}"
    return _split(data, train, ~train & (times < cuts[1]), told)


def _times(data: Interactions, name: str) -> Ints:
    if data.times is None:
        raise InputError(f"{name} needs times, and these interactions have none")
    if not len(data):
        raise InputError(f"{name} needs interactions, and there are none")
    return data.times


def _places(data: Interactions, order: NDArray[Any]) -> tuple[Ints, Ints]:
    """For each interaction its place among its user's by `order`, and how many that user has."""
    ranked = np.lexsort((order, data.users))
    place = np.empty(len(data), np.int64)
    place[ranked] = np.arange(len(data)) - data.indptr[data.users[ranked]]
    return place, data.user_counts[data.users]


def _split(
    data: Interactions, train: NDArray[np.bool_], valid: NDArray[np.bool_], told: str
) -> Split:
    chosen = Valid(data.select(valid)) if valid.any() else None
    return Split(Train(data.select(train)), chosen, Test(data.select(~train & ~valid)), told)
