"""The README names every command and option, and no others; every one has help."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from fanns.cli import cli

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """All commands by their full names, those of groups in place of the groups."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


COMMANDS = dict(commands(cli))


def documented(name: str) -> set[str]:
    """The options in the command's line of the README's table."""
    line = re.search(rf"^\| `fanns {name}\b.*$", README, re.MULTILINE)
    assert line is not None, f"README.md has no line for `fanns {name}`"
    cells = re.findall(r"`(-[^`]*)`", line.group().rpartition("|")[0])
    return {option for cell in cells for option in cell.split(", ")}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_readme_has_the_options(name: str) -> None:
    options = [p for p in COMMANDS[name].params if isinstance(p, click.Option)]
    assert documented(name) == {spelling for option in options for spelling in option.opts}


def test_readme_has_no_other_commands() -> None:
    table = README.partition("## Commands")[2]
    assert set(re.findall(r"^\| `fanns ([a-z]+(?: [a-z]+){0,2})", table, re.MULTILINE)) == set(
        COMMANDS
    )


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_everything_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help or option.name in ("rows", "dimensions"), option.name


def test_exit_codes_are_the_same_everywhere() -> None:
    assert cli.help is not None
    helped = set(re.findall(r"^ *(\d+) {2,}\w", cli.help, re.MULTILINE))
    told = README.partition("Exit codes:")[2]
    assert helped == set(re.findall(r"\b(\d+) [a-z]", told))
