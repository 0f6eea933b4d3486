"""LaTeX accents, author lines and dates as arXiv's metadata have them."""

import datetime as dt
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanns.datasets import arxiv_dates, arxiv_names

pytest.importorskip("pylatexenc")


@pytest.mark.parametrize(
    ("latex", "plain"),
    [
        (r"C. Bal\'azs", "C. Balázs"),
        (r"Gr\"{o}bner", "Gröbner"),
        (r"{\'E}. Cartan", "É. Cartan"),
        (r"Erd\H{o}s", "Erdős"),
        (r"Pawe{\l} Nowak", "Paweł Nowak"),
        (r"\L ukasz", "Łukasz"),
        (r"J.~Smith", "J. Smith"),
        (r"\c{C}a\u{g}lar", "Çağlar"),
        (r"na\"{\i}f", "naïf"),
        (r"\DJ{}or{\dj}evi\'c", "Đorđević"),
        (r"Nguy\~{\^e}n", "Nguyễn"),
        (r"G\'erard 't Hooft", "Gérard 't Hooft"),
        ("e\u0301tale  space", "étale space"),  # composed, one space
        (r"50% of us", "50% of us"),  # no comment begins here
        (r"Gr{\"o", "Grö"),  # braces that are never closed
        ("\\", ""),
        ("A\x00B\u200bC", "A B C"),
    ],
)
def test_names(latex: str, plain: str) -> None:
    assert arxiv_names.name(latex) == plain


@pytest.mark.parametrize(
    ("latex", "plain"),
    [
        ("the Poincar\\'{e} group", "the Poincaré group"),
        ("  two\n  lines\n", "two lines"),
        (r"$\'e \o$ of \'etale $\alpha$", r"$\'e \o$ of étale $\alpha$"),  # mathematics stays
        (r"\(\v c\) and \v{C}ech \beta", r"\(\v c\) and Čech \beta"),
        (r"50% of {\"o} and \cite{x}", r"50% of ö and \cite{x}"),
        (r"S\o{}rensen, {\AA}ngstr\"om", "Sørensen, Ångström"),
    ],
)
def test_texts(latex: str, plain: str) -> None:
    assert arxiv_names.text(latex) == plain


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("Ileana Streinu and Louis Theran", ["Ileana Streinu", "Louis Theran"]),
        ("D. Anderson, Andy Lee, and Bob Sands", ["D. Anderson", "Andy Lee", "Bob Sands"]),
        ("A. Sm\\'it (1), B. Jones (2 and 3) ((1) X, (2) Y)", ["A. Smít", "B. Jones"]),
        ("J. Smith, Jr., K. Lee, III", ["J. Smith Jr.", "K. Lee III"]),
        ("N. Alexander for the CMS Collaboration", ["N. Alexander", "CMS Collaboration"]),
        ("ATLAS Collaboration: G. Aad, et al.", ["ATLAS Collaboration", "G. Aad"]),
        ("F. Sea; R. Ford & G. Hill", ["F. Sea", "R. Ford", "G. Hill"]),
        ("A. Lost (who never (closes", ["A. Lost"]),
        ("et al.", []),
        ("", []),
    ],
)
def test_author_lines(line: str, names: list[str]) -> None:
    assert arxiv_names.names_of_line(line) == names


def test_names_of_parts() -> None:
    parts = [['G\\"odel', "Kurt", ""], ["Smith", "J.", "Jr", "MIT"], ["CMS Collaboration"], [""]]
    assert arxiv_names.names_of_parts(parts) == ["Kurt Gödel", "J. Smith Jr", "CMS Collaboration"]


@given(st.text(alphabet=st.sampled_from("aZé\\'\"{}$~%^ vc\n,();.&\u0301"), max_size=40))
def test_any_text_gives_one_clean_line(text: str) -> None:
    for plain in (arxiv_names.text(text), arxiv_names.name(text), *arxiv_names.names_of_line(text)):
        assert plain == " ".join(plain.split())
        assert plain == unicodedata.normalize("NFC", plain)


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("Mon, 2 Apr 2007 19:18:42 GMT", dt.datetime(2007, 4, 2, 19, 18, 42)),
        ("Mon, 2 Apr 2007 23:18:42 -0500", dt.datetime(2007, 4, 3, 4, 18, 42)),
        ("Tue, 5 Nov 96 14:02:00 GMT", dt.datetime(1996, 11, 5, 14, 2)),
        ("2008-11-26", dt.datetime(2008, 11, 26)),
        (dt.date(2008, 11, 26), dt.datetime(2008, 11, 26)),
        (13655, dt.datetime(2007, 5, 22)),
        ("Mon, 31 Feb 2007 19:18:42 GMT", None),
        ("Mon, 2 Apr 2207 19:18:42 GMT", None),
        ("2008-13-01", None),
        ("yesterday", None),
        ("", None),
        (None, None),
        (True, None),
        (10**20, None),
        ("9999-12-31T23:59:59-12:00", None),
    ],
)
def test_dates(written: object, moment: dt.datetime | None) -> None:
    assert arxiv_dates.moment(written) == moment


def test_year_of_id() -> None:
    known = {"0704.0001": 2007, "2501.12345": 2025, "hep-th/9901001": 1999, "math.GT/0309136": 2003}
    assert {i: arxiv_dates.year_of_id(i) for i in known} == known
    assert arxiv_dates.year_of_id("9999.00001") is None and arxiv_dates.year_of_id("x") is None
