"""How simulated papers of each archive come: when, in how many categories, with what else.

Marginals over all papers are arXiv's as published; how archives differ from each other was rounded
by hand from 100,000 real records, and is fitted to those marginals.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

# Papers with 1, 2, ... categories, of 100,000 (Iff et al. 2025, the medium set).
CATEGORY_COUNTS = np.array([52_817, 29_941, 12_040, 3_786, 1_163, 216, 31, 6])
COMMENTS_SHARE = 0.74216  # of the same paper
DOI_SHARE = 0.45
REVISED_SHARE = 0.38
MOST_AUTHORS = 1_500
COMMENTS_DRIFT = 0.1  # more in an archive's first papers, fewer in its last
FIRST_DAY, MIGRATION_DAY, LAST_DAY = (
    int(np.datetime64(day).astype("datetime64[D]").astype(np.int64))
    # The oldest paper, the day since which updates are kept, and that of the published data.
    for day in ("1991-08-14", "2007-05-22", "2025-05-08")
)
LICENSES = {
    "http://arxiv.org/licenses/nonexclusive-distrib/1.0/": 0.75,
    "http://creativecommons.org/licenses/by/4.0/": 0.18,
    "http://creativecommons.org/licenses/by-nc-nd/4.0/": 0.035,
    "http://creativecommons.org/licenses/by-nc-sa/4.0/": 0.025,
    "http://creativecommons.org/publicdomain/zero/1.0/": 0.01,
}
LICENSED_BEFORE, LICENSED_SINCE = 0.06, 0.995  # papers with one, before and since the migration
Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]


class Habit(NamedTuple):
    """Of one archive.

    begins, ends: years. growth: n(t) ~ t^(growth - 1) in that time. crossing: how the odds grow
    from one number of categories to the next. comments, revised, doi: shares, before they are
    fitted. authors, spread: of the logarithm of their number. many: papers by hundreds of authors.
    """

    begins: float = 1991.6
    ends: float = 2025.35
    growth: float = 2.5
    crossing: float = 1.0
    comments: float = 0.75
    revised: float = 0.38
    doi: float = 0.4
    authors: float = 1.0
    spread: float = 0.6
    many: float = 0.0


HABITS = {
    "astro-ph": Habit(growth=2.2, comments=0.91, revised=0.29, doi=0.73, spread=0.86, many=0.01),
    "cond-mat": Habit(growth=2.2, crossing=1.2, comments=0.82, revised=0.41, doi=0.79),
    "cs": Habit(growth=6.0, comments=0.62, revised=0.3, doi=0.19, spread=0.56),
    "econ": Habit(begins=2017.5, growth=1.5, comments=0.41, revised=0.33, doi=0.12, authors=0.7),
    "eess": Habit(begins=2017.5, growth=1.7, crossing=1.3, comments=0.59, doi=0.18, authors=1.24),
    "gr-qc": Habit(growth=2.0, crossing=1.5, comments=0.9, revised=0.43, doi=0.69, authors=0.57),
    "hep-ex": Habit(growth=1.8, crossing=1.5, comments=0.84, doi=0.6, authors=1.55, many=0.15),
    "hep-lat": Habit(growth=1.4, crossing=0.7, comments=0.95, revised=0.2, doi=0.8, authors=0.83),
    "hep-ph": Habit(growth=1.5, crossing=0.7, comments=0.95, revised=0.3, doi=0.72, authors=0.67),
    "hep-th": Habit(growth=1.5, crossing=1.5, comments=0.95, revised=0.42, doi=0.71, authors=0.6),
    "math": Habit(growth=3.2, comments=0.72, revised=0.44, doi=0.19, authors=0.53, spread=0.49),
    "math-ph": Habit(growth=2.2, crossing=2.2, comments=0.83, revised=0.49, doi=0.56, authors=0.58),
    "nlin": Habit(begins=1999.0, growth=1.6, comments=0.8, revised=0.3, doi=0.64, authors=0.84),
    "nucl-ex": Habit(growth=2.2, crossing=1.6, comments=0.76, doi=0.65, authors=2.0, many=0.15),
    "nucl-th": Habit(growth=1.7, crossing=1.3, comments=0.9, revised=0.27, doi=0.81, authors=0.9),
    "physics": Habit(begins=1996.0, growth=2.6, comments=0.73, doi=0.55, spread=0.7, many=0.006),
    "q-bio": Habit(begins=2003.0, growth=1.8, comments=0.68, revised=0.32, authors=1.02),
    "q-fin": Habit(begins=2008.0, growth=1.7, comments=0.63, doi=0.25, authors=0.73),
    "quant-ph": Habit(
        begins=1994.0, growth=2.6, crossing=1.6, comments=0.83, revised=0.51, doi=0.6
    ),
    "stat": Habit(begins=2007.0, growth=2.0, crossing=1.1, comments=0.55, revised=0.4, doi=0.21),
}
# Archives that were given up for categories of others.
RETIRED = Habit(1992.5, 1999.5, 1.5, 1.8, 0.95, 0.2, 0.4, 0.6, 0.5)


class Habits:
    """The habits of categories, by their archives, fitted to the marginals.

    archives: of each category. shares float64[c]: of all papers, by primary category. variety: how
    much categories differ from their archives (0: not at all); the same for every seed.
    """

    def __init__(self, archives: list[str], shares: Doubles, variety: float = 1.0) -> None:
        self._of = [HABITS.get(name, RETIRED) for name in archives]
        own = variety * np.random.default_rng(17).standard_normal((4, len(archives)))
        self._begins = _days([h.begins for h in self._of]).clip(FIRST_DAY)
        self._ends = _days([h.ends for h in self._of]).clip(None, LAST_DAY)
        self._growth = self._column("growth")
        self._pace = np.exp(0.5 * own[0])
        self._typical = self._column("authors") + 0.2 * own[1]
        self._spread, self._many = self._column("spread"), self._column("many")
        comments = self._column("comments") + 0.1 * own[2]
        self._comments = _fitted(comments, shares, COMMENTS_SHARE)
        self._revised = _fitted(self._column("revised"), shares, REVISED_SHARE)
        self._doi = _fitted(self._column("doi"), shares, DOI_SHARE)
        crossing = self._column("crossing") * np.exp(1.0 * own[3])
        self._counts = np.cumsum(_counts(crossing, shares), axis=1)

    def _column(self, name: str) -> Doubles:
        """One habit of every category's archive, float64[c]."""
        return np.array([getattr(habit, name) for habit in self._of], np.float64)

    def counts(self, rng: np.random.Generator, primary: Ints) -> Ints:
        """Numbers of further categories, from 0 on, int64[n]."""
        drawn = rng.random(len(primary))[:, None] > self._counts[primary, :-1]
        return np.asarray(drawn.sum(axis=1), np.int64)

    def submitted(
        self, rng: np.random.Generator, primary: Ints, home: Ints
    ) -> tuple[Ints, Doubles]:
        """Days since 1970, in the time of the primary category's archive and at the pace of the
        home's subject, and a uniform number in [0, 1) that grows with them.
        """
        early = rng.random(len(primary))
        begins, ends = self._begins[primary], self._ends[primary]
        growth = self._growth[primary] * self._pace[home]
        days = begins + (early ** (1.0 / growth) * (ends - begins + 1))
        return np.minimum(days.astype(np.int64), LAST_DAY), early

    def authors(self, rng: np.random.Generator, home: Ints) -> Ints:
        """Numbers of authors, at most MOST_AUTHORS, int64[n]."""
        count = len(home)
        sizes = np.exp(rng.normal(self._typical[home], self._spread[home]))
        many = rng.random(count) < self._many[home]
        sizes = np.where(many, np.exp(rng.normal(4.5, 1.0, count)), sizes)
        # Half up, so that the median of one to two authors is not always one.
        return np.clip(sizes + 0.5, 1, MOST_AUTHORS).astype(np.int64)

    def revisions(
        self, rng: np.random.Generator, primary: Ints, days: Ints
    ) -> tuple[pa.Array, pa.Array]:
        """Numbers of versions, and the date of the last one (null for papers never revised)."""
        count = len(days)
        revised = rng.random(count) < self._revised[primary]
        versions = np.where(revised, 1 + rng.geometric(0.62, count), 1).astype(np.int16)
        lag = 1 + np.exp(rng.normal(4.9, 1.3, count)).astype(np.int64)
        # Dates of older revisions were lost in a migration: they pile up on its day.
        updated = np.clip(np.maximum(days + lag, MIGRATION_DAY), None, LAST_DAY)
        days32 = pa.array(updated.astype(np.int32), mask=~revised)
        return pa.array(versions), days32.cast(pa.date32())

    def comments(self, rng: np.random.Generator, primary: Ints, early: Doubles) -> pa.Array:
        """Texts such as "12 pages, 3 figures"; null for about 26 %."""
        count = len(primary)
        share = self._comments[primary] + COMMENTS_DRIFT * (1.0 - 2.0 * early)
        rows = np.flatnonzero(rng.random(count) < share)
        pages, figures = 4 + rng.geometric(0.06, count), rng.geometric(0.15, count) - 1
        minor = rng.integers(0, 4, count) == 0
        texts = np.full(count, None, object)
        texts[rows] = [
            f"{p} pages"
            if f == 0
            else f"{p} pages, {f} figure{'s' * (f > 1)}{'; minor corrections' * m}"
            for p, f, m in zip(
                pages[rows].tolist(), figures[rows].tolist(), minor[rows].tolist(), strict=True
            )
        ]
        return pa.array(texts, pa.string())

    def references(
        self, rng: np.random.Generator, primary: Ints, days: Ints
    ) -> tuple[pa.Array, pa.Array]:
        """DOIs under the test prefix 10.5555 and journal references, each null for about half."""
        count = len(primary)
        published = rng.random(count) < self._doi[primary]
        told = published & (rng.random(count) < 0.9)
        numbers, volumes = rng.integers(0, 1 << 40, count), rng.integers(1, 400, count)
        years = (days.astype("datetime64[D]").astype("datetime64[Y]").astype(int) + 1971).tolist()
        dois, journals = np.full(count, None, object), np.full(count, None, object)
        dois[published] = [f"10.5555/{n:010x}" for n in numbers[published].tolist()]
        journals[told] = [
            f"J. Simul. Res. {volumes[row]} ({years[row]}) {numbers[row] % 9000 + 1}"
            for row in np.flatnonzero(told).tolist()
        ]
        return pa.array(dois, pa.string()), pa.array(journals, pa.string())


def licenses(rng: np.random.Generator, days: Ints) -> pa.Array:
    """Addresses of licences; null for most papers before the migration."""
    count = len(days)
    drawn = rng.choice(len(LICENSES), size=count, p=list(LICENSES.values()))
    share = np.where(days < MIGRATION_DAY, LICENSED_BEFORE, LICENSED_SINCE)
    return pa.array(list(LICENSES), pa.string()).take(
        pa.array(drawn, mask=rng.random(count) >= share)
    )


def _days(years: list[float]) -> Doubles:
    return (np.array(years) - 1970.0) * 365.2425


def _fitted(shares: Doubles, papers: Doubles, target: float) -> Doubles:
    """Shares moved together until their mean over all papers is the target; none leaves
    [0.1, 0.9].
    """
    low, high = -1.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        mean = float((papers * np.clip(shares + middle, 0.1, 0.9)).sum())
        low, high = (middle, high) if mean < target else (low, middle)
    return np.clip(shares + high, 0.1, 0.9)


def _counts(crossing: Doubles, shares: Doubles) -> Doubles:
    """Shares float64[c, counts] of papers with 1, 2, ... categories, by primary category.

    They grow by `crossing` from one count to the next, and are fitted to CATEGORY_COUNTS over all
    papers (iterative proportional fitting, Deming and Stephan 1940).
    """
    target = CATEGORY_COUNTS / CATEGORY_COUNTS.sum()
    table = shares[:, None] * target * crossing[:, None] ** np.arange(len(target))
    for _ in range(100):
        table *= (shares / table.sum(axis=1))[:, None]
        table *= target / table.sum(axis=0)
    return np.asarray(table / table.sum(axis=1, keepdims=True))
