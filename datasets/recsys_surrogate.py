"""Rules that say why a scorer ranks an item where it does: a small tree that imitates it.

    made = imitate(reranker.model.predict, features, names, known)
    made.fidelity                       # R^2 against the scorer on candidates held back
    made.rule(features[0]).conditions   # ("rank at most 11", "genre is river")

After Karim et al., "Interpreting black-box machine learning models for high-dimensional datasets"
(2022): the scorer is probed by permuting one feature after the other, the ones that move its scores
most are kept, and a decision tree learns the scores from them. Where the tree agrees too little
with the scorer, its rules would tell of something else, and none are given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanns.errors import InputError

from .recsys_ctr_metrics import auc

TOP = 6  # features that the tree may ask for
DEPTH = 4
LEAST = 0.6  # fidelity below which no rules are given
LEAF = 0.005  # share of the candidates that a leaf holds at least
HELD = 1 / 3  # of the candidates, to measure by
BEST = 0.1  # share of candidates that count as the scorer's best

Floats = NDArray[np.float32]
Scorer = Callable[[Floats], NDArray[np.float64]]


@dataclass(frozen=True)
class Question:
    """What a tree asks of a row: how large a feature is, or whether it has a value.

    Attributes:
        place: of the feature in a row. code: of the value, None for a number. value: in words.
    """

    place: int
    name: str
    code: int | None = None
    value: str = ""

    def ask(self, features: Floats) -> Floats:
        """float32[n] of rows [n, f]: the number, NaN where it is missing, or 0 and 1."""
        column = features[:, self.place]
        return column if self.code is None else (column == self.code).astype(np.float32)


class Step(NamedTuple):
    """An answer on a row's path: above the limit or not, or where missing ones go."""

    question: Question
    above: bool
    limit: float
    missing: bool


@dataclass(frozen=True)
class Rule:
    """The path of one row through the tree.

    Attributes:
        conditions: in words, one for each feature or value asked for.
        score: the mean of the scorer over candidates of this path. share: of the candidates.
    """

    conditions: tuple[str, ...]
    score: float
    share: float


@dataclass(frozen=True)
class Surrogate:
    """A tree in place of a scorer.

    Attributes:
        importances: of the features, by how much scores move when one is permuted, as a share of
            the scores' deviation; the largest first.
        fidelity: R^2 of the tree against the scorer, on candidates held back.
        auc: the chance that it prefers one of the scorer's best tenth to one of the others, there.
    """

    questions: tuple[Question, ...]
    tree: Any
    importances: dict[str, float]
    fidelity: float
    auc: float

    def predict(self, features: Floats) -> NDArray[np.float64]:
        """The tree's scores float64[n] of rows [n, f]."""
        return np.asarray(self.tree.predict(_answers(self.questions, features)), np.float64)

    def rule(self, row: Floats) -> Rule:
        """Why a row [f] has its score.

        Raises InputError where the fidelity is below LEAST.
        """
        if self.fidelity < LEAST:
            raise InputError(
                f"a tree of depth {self.tree.get_depth()} follows the scorer too little for its "
                f"rules to mean anything: R^2 is {self.fidelity:.2f} on candidates held back, "
                f"expected at least {LEAST}; let it be deeper, or ask for more features"
            )
        answers = _answers(self.questions, row[None])[0]
        nodes, steps, node = self.tree.tree_, [], 0
        while nodes.children_left[node] >= 0:
            asked, limit = int(nodes.feature[node]), float(nodes.threshold[node])
            given = answers[asked]
            missing = bool(np.isnan(given))
            left = bool(nodes.missing_go_to_left[node]) if missing else bool(given <= limit)
            steps.append(Step(self.questions[asked], not left, limit, missing))
            node = int((nodes.children_left if left else nodes.children_right)[node])
        share = float(nodes.n_node_samples[node] / nodes.n_node_samples[0])
        return Rule(_conditions(steps), float(nodes.value[node].item()), share)


def imitate(
    scorer: Scorer,
    features: Floats,
    names: Sequence[str],
    known: Mapping[str, Sequence[str]],
    *,
    top: int = TOP,
    depth: int = DEPTH,
    seed: int = 0,
) -> Surrogate:
    """A tree over the `top` features that move a scorer most.

    features: candidates float32[n, f], named by `names`. known: of features that are codes, the
    values that 0, 1, ... stand for; other codes are values of no name.

    Raises InputError for fewer than 30 candidates, or a scorer that gives all the same score.
    """
    from .recsys_sklearn import sklearn

    scores = np.asarray(scorer(features), np.float64)
    if len(features) < 30 or np.ptp(scores) == 0:
        raise InputError(
            f"{len(features)} candidates with {len(np.unique(scores))} different scores: there is "
            "nothing to explain; take more users, or longer shortlists"
        )
    random = np.random.default_rng(seed)
    moved = _probed(scorer, features, scores, random)
    order = np.argsort(-moved, kind="stable")
    importances = {names[place]: float(moved[place]) for place in order}
    kept = [place for place in order[:top] if moved[place] > 0]
    questions = tuple(
        question for place in kept for question in _questions(features, place, names[place], known)
    )
    held = random.random(len(features)) < HELD
    answers = _answers(questions, features)
    least = max(2, round(LEAF * len(features)))
    tree = sklearn.tree.DecisionTreeRegressor(
        max_depth=depth, min_samples_leaf=least, random_state=seed
    ).fit(answers[~held], scores[~held])
    told = tree.predict(answers[held])
    left = scores[held]
    residue = float(((left - told) ** 2).sum() / ((left - left.mean()) ** 2).sum())
    best = (left > np.quantile(left, 1 - BEST)).astype(np.float64)
    agreed = auc(best, told) if 0 < best.sum() < len(best) else float("nan")
    return Surrogate(questions, tree, importances, 1.0 - residue, agreed)


def _probed(
    scorer: Scorer, features: Floats, scores: NDArray[np.float64], random: np.random.Generator
) -> NDArray[np.float64]:
    """float64[f]: how much scores move, on the mean, when a feature's values change rows."""
    moved = np.zeros(features.shape[1], np.float64)
    for place in range(features.shape[1]):
        mixed = features.copy()
        mixed[:, place] = random.permutation(mixed[:, place])
        moved[place] = np.abs(scorer(mixed) - scores).mean()
    return np.asarray(moved / scores.std())


def _questions(
    features: Floats, place: int, name: str, known: Mapping[str, Sequence[str]]
) -> list[Question]:
    """One for a number; one for each value that comes up of a feature that is codes."""
    if name not in known:
        return [Question(place, name)]
    present = np.unique(features[:, place]).astype(np.int64)
    return [Question(place, name, code, known[name][code]) for code in present[present >= 0]]


def _answers(questions: Sequence[Question], features: Floats) -> Floats:
    return np.stack([question.ask(features) for question in questions], axis=1)


def _conditions(steps: Sequence[Step]) -> tuple[str, ...]:
    """Words for the steps of a path, those of one question put together."""
    by_question: dict[Question, list[Step]] = {}
    for step in steps:
        by_question.setdefault(step.question, []).append(step)
    said = {step.question.place for step in steps if step.question.code is not None and step.above}
    told = []
    for question, taken in by_question.items():
        if question.code is None:
            told.append(_interval(question.name, taken))
        elif taken[0].above:
            told.append(f"{question.name} is {question.value}")
        elif question.place not in said:  # else what it is tells what it is not
            told.append(f"{question.name} is not {question.value}")
    return tuple(told)


def _interval(name: str, taken: Sequence[Step]) -> str:
    if taken[0].missing:
        return f"{name} is missing"
    low = max((step.limit for step in taken if step.above), default=None)
    high = min((step.limit for step in taken if not step.above), default=None)
    above = "" if low is None else f"above {low:.4g}"
    most = "" if high is None else f"at most {high:.4g}"
    return f"{name} {' and '.join(filter(None, (above, most)))}"
