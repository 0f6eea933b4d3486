"""Click models of `fanns dataset recsys fit`: recipes of published figures on MovieLens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from fanns.cli_output import SCHEMA_VERSION
from fanns.errors import InputError

RECIPES = ("autoint", "autoint-plus", "unified-full", "unified-hashed", "unified-shared")


def follow(
    name: str,
    data: str,
    output: Path,
    options: dict[str, Any],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Follows a recipe, writes its items as a data set, and tells the record to print.

    options: of the command; those that training does not take must be None.

    Raises InputError for other options.
    """
    from fanns.datasets import recsys_recipes
    from fanns.datasets.recsys_trainer import Training

    training = recsys_recipes.RECIPES[name].training
    taken = {part.name for part in fields(Training)}
    given = {key: value for key, value in options.items() if value is not None}
    if odd := sorted(given.keys() - taken):
        raise InputError(f"{name} takes no {odd[0].replace('_', '-')}")
    made = recsys_recipes.run(
        name,
        Path(data),
        training=replace(training, **given),
        seed=options["seed"],
        say=say,
    )
    recsys_recipes.write(made, Path(data), output)
    return {"schema_version": SCHEMA_VERSION, "model": name} | made.record()
