"""Rules of a known scorer are found; where a tree cannot follow it, none are given."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fanns.errors import InputError

pytest.importorskip("sklearn")

from fanns.datasets.recsys_surrogate import Surrogate, imitate
from tests.test_recsys_rerank import folder  # noqa: F401

NAMES = ("price", "genre", "year", "noise", "user's town")
KNOWN = {"genre": ("river", "clock", "engine"), "user's town": ("A", "B")}
Floats = NDArray[np.float32]


def rows(count: int, seed: int = 0) -> Floats:
    """One price in ten is missing; some genres and towns are unknown (-1) or null (-2)."""
    random = np.random.default_rng(seed)
    price = np.where(random.random(count) < 0.1, np.nan, random.random(count) * 100)
    made = (
        price,
        random.integers(-2, 3, count),
        random.integers(1980, 2025, count),
        random.normal(size=count),
        random.integers(-2, 2, count),
    )
    return np.column_stack(made).astype(np.float32)


def planted(features: Floats) -> NDArray[np.float64]:
    """Rivers first; among them cheap ones; among the others, clocks of this century."""
    price, genre, year = features[:, 0], features[:, 1], features[:, 2]
    river = np.where(price <= 30, 5.0, 4.0)
    other = np.where((genre == 1) & (year > 2000), 2.0, 0.0)
    return np.where(genre == 0, river, other).astype(np.float64)


def surrogate(**options: Any) -> Surrogate:
    return imitate(planted, rows(4000), NAMES, KNOWN, **options)


def test_planted_rules_are_found() -> None:
    made = surrogate()
    assert made.fidelity > 0.98 and made.auc > 0.98
    assert set(list(made.importances)[:3]) == {"price", "genre", "year"}
    assert made.importances["noise"] == made.importances["user's town"] == 0
    cheap = np.array([10, 0, 1990, 0, 0], np.float32)
    rule = made.rule(cheap)
    assert rule.score == pytest.approx(5.0) and 0 < rule.share < 0.2
    assert "genre is river" in rule.conditions and len(rule.conditions) == 2
    (price,) = (told for told in rule.conditions if told.startswith("price at most "))
    assert float(price.rpartition(" ")[2]) == pytest.approx(30, abs=1)
    clock = made.rule(np.array([90, 1, 2020, 0, -1], np.float32))
    assert clock.score == pytest.approx(2.0)
    assert "genre is clock" in clock.conditions and "year above 2000" in str(clock.conditions)
    assert not any("is not" in told for told in clock.conditions), "what it is says it"
    engine = made.rule(np.array([90, 2, 2020, 0, -1], np.float32))
    assert set(engine.conditions) >= {"genre is not river", "genre is not clock"}
    unknown = made.rule(np.array([np.nan, 0, 2020, 0, -2], np.float32))
    assert "price is missing" in unknown.conditions and unknown.score == pytest.approx(4.0)


def test_a_rule_is_what_the_tree_says() -> None:
    made, asked = surrogate(), rows(200, seed=1)
    told = np.array([made.rule(row).score for row in asked])
    np.testing.assert_allclose(told, made.predict(asked))


def test_no_rules_where_the_tree_cannot_follow() -> None:
    def waves(features: Floats) -> NDArray[np.float64]:
        return np.sin(features[:, 3] * 40).astype(np.float64)

    made = imitate(waves, rows(3000), NAMES, KNOWN)
    assert made.fidelity < 0.6 and next(iter(made.importances)) == "noise"
    with pytest.raises(InputError, match=r"R\^2 is -?0\.\d\d .*at least 0\.6; let it be deeper"):
        made.rule(rows(1)[0])


def test_only_the_features_that_are_asked_for() -> None:
    one = surrogate(top=1)
    assert {question.name for question in one.questions} == {"genre"}
    assert 0.6 < one.fidelity < surrogate().fidelity
    assert surrogate(depth=1).fidelity < one.fidelity


def test_nothing_to_explain() -> None:
    with pytest.raises(InputError, match="20 candidates"):
        imitate(planted, rows(20), NAMES, KNOWN)
    with pytest.raises(InputError, match="with 1 different scores"):
        imitate(lambda features: np.zeros(len(features)), rows(100), NAMES, KNOWN)
