"""Recipes of published figures, on a generated zip of MovieLens' format."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fanns.cli import run as run_command
from fanns.errors import InputError

torch = pytest.importorskip("torch")

from fanns.datasets import dataset  # noqa: E402
from fanns.datasets.recsys_recipes import RECIPES, clicks, run  # noqa: E402

GENRES = ("Action", "Comedy", "Drama", "Horror")


@pytest.fixture(scope="module")
def ml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 users and 120 movies; women like comedies and dramas, men the others, of any age."""
    random = np.random.default_rng(0)
    users, movies = 150, 120
    woman = random.random(users) < 0.5
    kinds = [random.choice(4, random.integers(1, 3), replace=False) for _ in range(movies)]
    people = [
        f"{u + 1}::{'F' if woman[u] else 'M'}::{random.choice([1, 18, 25])}::{u % 20}::{90000 + u}"
        for u in range(users)
    ]
    years = random.integers(1925, 2001, movies)
    films = [
        f"{m + 1}::Film {m}\xe9 ({years[m]})::{'|'.join(GENRES[k] for k in kinds[m])}"
        for m in range(movies)
    ]
    ratings: list[str] = []
    for user in range(users):
        for movie in random.choice(movies, 40, replace=False):
            soft = float(np.isin(kinds[movie], (1, 2)).mean())
            like = 3 + (2.5 if woman[user] else -2.5) * (soft - 0.5) + random.normal() * 0.6
            stars = int(np.clip(round(like), 1, 5))
            ratings.append(f"{user + 1}::{movie + 1}::{stars}::{978300000 + len(ratings)}")
    target = tmp_path_factory.mktemp("movielens") / "ml-1m.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for name, lines in (("users", people), ("movies", films), ("ratings", ratings)):
            text = "".join(line + "\n" for line in lines)
            archive.writestr(f"ml-1m/{name}.dat", text.encode("latin-1"))
    return target


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_on_the_users_zip(name: str, ml: Path) -> None:
    recipe = RECIPES[name]
    epochs = 1 if name == "autoint" else 3
    training = replace(recipe.training, batch=256, lr=5e-3, epochs=epochs, threads=1)
    made = run(name, ml, training=training)
    assert sum(made.rows) == len(clicks(ml)[1]) and made.rows[1] == pytest.approx(
        sum(made.rows) / 10, abs=1
    )
    assert set(made.published) <= set(made.metrics) == {"auc", "logloss"}
    assert [field.name for field in made.fields] == list(recipe.columns)
    # A hashed table of a tenth holds one row for both genders; attention alone starts slowly.
    if name not in ("unified-hashed", "autoint"):
        assert made.metrics["auc"] > 0.65
    assert made.report.config["recipe"] == name


@pytest.mark.slow
def test_attention_alone_learns_as_well(ml: Path) -> None:
    training = replace(RECIPES["autoint"].training, batch=64, lr=3e-3, epochs=5, threads=1)
    assert run("autoint", ml, training=training).metrics["auc"] > 0.65


def test_the_cells_of_unified_embeddings_hold_what_they_are_allowed(ml: Path) -> None:
    short = replace(RECIPES["unified-full"].training, batch=2048, epochs=1, threads=1)
    sizes = {
        name: run(f"unified-{name}", ml, training=short).params
        for name in ("full", "hashed", "shared")
    }
    assert sizes["shared"] <= sizes["full"] / 10
    assert sizes["hashed"] <= sizes["full"] / 10 + 6 * 30


def test_the_rows_that_count(ml: Path) -> None:
    table, labels = clicks(ml)
    assert len(table) == len(labels) and set(labels.tolist()) == {0.0, 1.0}
    release = np.asarray(table["release"])
    assert release.min() >= 1920 and set(release[release < 1970] % 10) == {0}
    assert table["genres"][0].as_py() and table["gender"][0].as_py() in ("F", "M")
    with pytest.raises(InputError, match="unknown recipe 'din'; expected one of autoint"):
        run("din", ml)


def test_the_command_writes_the_movies_and_tells_the_figures(
    ml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "films"
    arguments = ["dataset", "recsys", "fit", "unified-shared", "--data", str(ml), "-o", str(out)]
    quick = ["--epochs", "1", "--batch", "1024", "--threads", "1", "--format", "json", "-q"]
    assert run_command([*arguments, *quick]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["published"] == {"auc": 0.82} and set(told["metrics"]) == {"auc", "logloss"}
    made = dataset.read(out)
    assert made.metric == "cosine" and made.vectors().shape == (len(made.items), 30)
    assert made.items.column_names == ["id", "embedding", "title", "year", "genres"]
    assert dataset.verify(out) == []
