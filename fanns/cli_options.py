"""What the commands share: reading options, progress and talk on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
from numpy.typing import NDArray

from fanns.errors import InputError

Command = TypeVar("Command", bound=Callable[..., Any])
Report = Callable[[str, int, int], None]

INDEX = click.argument("index", type=click.Path(exists=True, path_type=Path))


class _NotNeeded(MetaPathFinder):
    """Makes the import of libraries fail that others would import where they are installed.

    pyarrow takes pandas at its first conversion, numba scipy.linalg at its first kernel: together
    0.7 seconds of every command. Both do without.
    """

    names = ("pandas", "scipy.linalg")

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname in self.names:
            raise ModuleNotFoundError(f"{fullname} is not used by the command line")


NOT_NEEDED = _NotNeeded()


def no_import_guard() -> None:
    """Lets a command import what NOT_NEEDED hides, as torch, encoders and others want it."""
    if NOT_NEEDED in sys.meta_path:
        sys.meta_path.remove(NOT_NEEDED)


def quiet_option(command: Command) -> Command:
    return click.option("-q", "--quiet", is_flag=True, help="No talk and no progress on stderr.")(
        command
    )


def threads_option(default: int | None, text: str) -> Callable[[Command], Command]:
    return click.option(
        "--threads", type=click.IntRange(min=1), default=default, show_default=True, help=text
    )


def filter_options(command: Command) -> Command:
    """--where, -p and --nulls."""
    for option in (
        click.option(
            "--nulls",
            type=click.Choice(["sql", "python"]),
            help="Rule for NULL: three-valued (sql), or `!=` keeps missing values (python).",
        ),
        click.option(
            "-p",
            "--param",
            "params",
            multiple=True,
            metavar="NAME=VALUE",
            callback=parse_values,
            help="Value of a :NAME in the filter; JSON where it parses as JSON, else text. "
            "Text that looks like a number needs its quotes: -p 'y=\"2020\"'.",
        ),
        click.option("--where", help='The filter, an SQL condition such as "year >= :y".'),
    ):
        command = option(command)
    return command


def parse_values(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE options by name; a value that is no JSON is text."""
    params: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"expected NAME=VALUE, got {text!r}")
        if name in params:
            raise click.BadParameter(f"{name!r} is given twice")
        try:
            params[name] = json.loads(value)
        except ValueError:
            params[name] = value
    return params


def names(_: click.Context, __: click.Parameter, given: str | None) -> list[str] | None:
    """Column names from a comma-separated option."""
    if given is None:
        return None
    return [name.strip() for name in given.split(",") if name.strip()]


def whole_numbers(
    _: click.Context, __: click.Parameter, given: str | None
) -> tuple[int, ...] | None:
    """Numbers above 0 from a comma-separated option, ascending."""
    if given is None:
        return None
    try:
        found = tuple(sorted({int(part) for part in given.split(",")}))
    except ValueError as error:
        raise click.BadParameter(f"expected numbers such as 10,20, got {given!r}") from error
    if found[0] < 1:
        raise click.BadParameter(f"expected numbers above 0, got {given!r}")
    return found


def labels(context: click.Context, option: click.Parameter, given: str | None) -> list[str] | str:
    """Column names from a comma-separated option, or "auto"."""
    if given == "auto":
        return given
    return names(context, option, given) or []


def read_vectors(path: Path) -> NDArray[np.float32]:
    """Query vectors [d] or [m, d] from a .npy file, never unpickling.

    Raises InputError when the file holds something else.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:  # a header is parsed as Python: its tokenizer's errors come as well
        raise InputError(f"{path} cannot be read as a .npy array: {error}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} holds several arrays (.npz): expected one .npy array")
    if array.ndim not in (1, 2) or array.dtype.kind not in "fiu" or array.size == 0:
        raise InputError(
            f"{path} holds {array.dtype}{list(array.shape)}: "
            "expected numbers of shape [d] or [m, d]"
        )
    with np.errstate(over="ignore"):  # infinity is refused where it is used
        return np.ascontiguousarray(array, np.float32)


def say(message: str, quiet: bool = False) -> None:
    """One line of talk on stderr."""
    if not quiet:
        click.echo(message, err=True)


@contextmanager
def progress(quiet: bool) -> Iterator[Report | None]:
    """A progress bar per stage on stderr; None when quiet or when stderr is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, TaskID

    with Progress(console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report
