"""Interactions with a structure that is known, and MovieLens-like zips, made on the spot."""

import zipfile
from pathlib import Path

import numpy as np

from fanns.datasets.recsys_interactions import Interactions, from_pairs


def random_interactions(
    users: int, items: int, share: float, seed: int, *, times: bool = False
) -> Interactions:
    """Each pair with the same chance; times are distinct within a user, in random order."""
    random = np.random.default_rng(seed)
    held = random.random((users, items)) < share
    user, item = np.nonzero(held)
    names = {"user_ids": None, "item_ids": None}
    made = from_pairs(
        np.append(user, users - 1),
        np.append(item, items - 1),
        times=random.permutation(len(user) + 1) if times else None,
        **names,
    )
    assert made.n_users == users and made.n_items == items
    return made


RATINGS = (
    "1::10::5::978300760\n1::20::3::978302109\n2::10::1::978301968\n3::40::4::978300275\n"
    "3::10::4::978824291\n"
)
USERS = "1::F::1::10::48067\n2::M::56::16::70072\n3::M::25::15::02460-1234\n4::F::45::7::0\n"
MOVIES = (
    "10::Toy Story (1995)::Animation|Children's|Comedy\n20::Métis, La (1931)::Drama\n"
    "40::Untitled::\n50::Nobody's Film (2000)::Action\n"
)


def movielens(path: Path, ratings: str = RATINGS, users: str = USERS, movies: str = MOVIES) -> Path:
    """A zip of MovieLens' form, as its owners make it: one folder, Latin-1."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in (("ratings", ratings), ("users", users), ("movies", movies)):
            archive.writestr(f"ml-1m/{name}.dat", text.encode("latin-1"))
    return path
