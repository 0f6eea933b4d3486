"""Key phrases of short texts by rapid automatic keyword extraction (RAKE; Rose et al., 2010).

Candidates are runs of words between stop words and punctuation. A word's score is its degree
(how many words stand in its candidates, itself counted) over its frequency; a phrase's is the sum.
"""

from __future__ import annotations

import re
from collections import Counter

LEAST, MOST = 2, 5  # words of a phrase
STOP_WORDS = frozenset(
    str.split(
        """a able about above according across after against al all allow allows almost along
already also although always am among an and another any approach are around as
associated assuming at based be became because been before being below between both
but by called can cannot certain consider considered consists corresponding could
demonstrate demonstrated describe described develop developed did different discuss
discussed do does doing done down due during each either else enough especially et
etc even ever every few finally find first for found four from further furthermore
general give given gives had has have having he hence here however i if implies
imposing in include includes including indeed instead into introduce introduced
investigate investigated is it its itself just known last latter least less make
makes many may me mean might more moreover most mostly motivated much must my namely
near neither never nevertheless new no nor not novel now obtain obtained of off
often on once one only onto or other others our out over own paper particular
particularly per perhaps possible present presented presents propose proposed
proposes prove provide rather recent recently related respectively result results s
same second see seem several shall should show shown shows similar since so some
still studied studies study such suggest t take than that the their them then there
thereby therefore these they this those though three through throughout thus to
together too toward towards two under until up upon use used useful using various
very via was we well well-known were what when where whereas whether which while who
whose why will with within without work would yet yields you your"""
    )
)
_BREAK = re.compile(
    r"[^\w\s'\u2019-]|\s[-'\u2019]+\s|_"
)  # punctuation, and dashes that stand alone
_WORD = re.compile(r"\w(?:[\w'\u2019-]*\w)?")
_LETTER = re.compile(r"[^\W\d]{2}")  # a phrase needs a word, not only numbers and signs


def key_phrases(text: str) -> list[str]:
    """Phrases of LEAST to MOST words, best first; equal scores in the text's order.

    As in the text but for spaces; a phrase that comes again, in any case of letters, comes once.

    >>> key_phrases("We study magnetic monopoles, and the dark matter halo of spiral galaxies.")
    ['dark matter halo', 'magnetic monopoles', 'spiral galaxies']
    """
    candidates = _candidates(text)
    frequency: Counter[str] = Counter()
    degree: Counter[str] = Counter()
    for words in candidates:
        for word in words:
            frequency[word.lower()] += 1
            degree[word.lower()] += len(words)
    scored: dict[str, tuple[float, str]] = {}
    for words in candidates:
        phrase = " ".join(words)
        if LEAST <= len(words) <= MOST and _LETTER.search(phrase):
            score = sum(degree[word.lower()] / frequency[word.lower()] for word in words)
            scored.setdefault(phrase.lower(), (score, phrase))
    return [phrase for _, phrase in sorted(scored.values(), key=lambda one: -one[0])]


def _candidates(text: str) -> list[list[str]]:
    """Runs of words that are no stop words, inside one clause."""
    found: list[list[str]] = []
    for clause in _BREAK.split(text):
        run: list[str] = []
        for word in _WORD.findall(clause):
            if word.lower() in STOP_WORDS or word.isdigit():
                found.append(run)
                run = []
            else:
                run.append(word)
        found.append(run)
    return [run for run in found if run]
