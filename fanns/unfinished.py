"""What a build in steps was asked for, so that only the same build goes on with it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash

from fanns.building import Recipe
from fanns.errors import CorruptIndexError, InputError
from fanns.parquet_source import ParquetSource, differences
from fanns.persistence import share_transforms, shared_transforms
from fanns.storage import SHARED, UNFINISHED, Directory
from fanns.transforms import Transforms

FORMAT = 1
BUILD = "build"
"""In the description of a segment: the request that it was built for, and its rows of the data."""


@dataclass(frozen=True)
class Request:
    """Data and options of a build; threads and memory limit may be others when it goes on.

    Attributes:
        files: as `ParquetSource.fingerprint` tells them. options: of `Index.build`, by name.
        queries: a checksum of the sample queries, None without.
    """

    files: list[dict[str, Any]]
    options: dict[str, Any]
    queries: str | None

    @classmethod
    def of(
        cls, source: ParquetSource, options: Mapping[str, Any], queries: np.ndarray | None
    ) -> Request:
        told = {name: _plain(value) for name, value in options.items() if name != "threads"}
        digest = None
        if queries is not None:
            held = np.ascontiguousarray(queries)
            digest = f"{held.dtype}{held.shape} {xxhash.xxh3_128_hexdigest(held.data)}"
        return cls(source.fingerprint(), told, digest)

    @property
    def digest(self) -> str:
        """A checksum of all of it."""
        text = json.dumps([self.files, self.options, self.queries], sort_keys=True)
        return str(xxhash.xxh3_128_hexdigest(text.encode()))

    def differs(self, now: Request) -> list[str]:
        """What another request asks for otherwise, in words."""
        found = differences(self.files, now.files)
        for name in sorted({*self.options, *now.options}):
            then, this = self.options.get(name), now.options.get(name)
            if then != this:
                found.append(f"{name} was {then!r}, is {this!r}")
        if self.queries != now.queries:
            found.append("the sample queries are others")
        return found


@dataclass(frozen=True)
class State:
    """A build under way.

    Attributes:
        recipe: settled from all rows. rows: of the data. limit: bytes that it may take.
        segment_rows: the most rows of a segment, by that limit.
    """

    request: Request
    recipe: Recipe
    rows: int
    limit: int
    segment_rows: int

    def write(self, directory: Directory) -> None:
        """Make it the settings of an index that nobody opens."""
        told = {
            "format": FORMAT,
            "rows": self.rows,
            "limit": self.limit,
            "segment_rows": self.segment_rows,
            "files": self.request.files,
            "options": self.request.options,
            "queries": self.request.queries,
            "recipe": self.recipe.to_json(),
        }
        share_transforms(directory, self.recipe)
        directory.set_settings({UNFINISHED: told, SHARED: self.recipe.transforms.digest})

    @classmethod
    def read(cls, directory: Directory) -> State | None:
        """What `write` wrote, None where nothing was begun.

        Raises:
            CorruptIndexError: it is not what `write` writes.
        """
        told = directory.settings.get(UNFINISHED)
        if told is None:
            return None
        try:
            if told["format"] != FORMAT:
                raise ValueError(f"format {told['format']}, this fanns reads {FORMAT}")
            numbers = [told[name] for name in ("rows", "limit", "segment_rows")]
            if not all(type(number) is int and number >= 0 for number in numbers):
                raise ValueError(f"no numbers of rows and bytes: {numbers}")
            request = Request(list(told["files"]), dict(told["options"]), told["queries"])
            recipe = Recipe.from_json(told["recipe"], shared_transforms(directory))
            return cls(request, recipe, *numbers)
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptIndexError(f"the state of the unfinished build: {error}") from error


def check_same(before: Request, now: Request, directory: Directory) -> None:
    """Raises InputError that says what differs, unless a build asks for the same."""
    found = before.differs(now)
    if found:
        raise InputError(
            f"an unfinished build of {directory.path} was of other data or options: "
            f"{'; '.join(found)}. Build with those again to go on with it, or delete "
            f"{directory.place} to begin anew"
        )


def finished_rows(directory: Directory, request: Request) -> int:
    """How many of the rows are in segments that are done: from the first one on.

    Raises:
        CorruptIndexError: the segments are not those of this build, one after another.
    """
    done = 0
    for segment in directory.segments:
        told = segment.meta.get(BUILD)
        if not isinstance(told, dict) or told.get("request") != request.digest:
            raise CorruptIndexError(
                f"{directory.place} holds segments of another build; delete it to begin anew"
            )
        rows = [told.get("start"), told.get("stop")]
        if rows[0] != done or type(rows[1]) is not int or rows[1] < done:
            raise CorruptIndexError(f"{directory.place}: its segments do not follow one another")
        done = rows[1]
    return done


def _plain(value: Any) -> Any:
    """An option as JSON gives it back."""
    if isinstance(value, Transforms):
        return value.digest
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(value)
    return value
