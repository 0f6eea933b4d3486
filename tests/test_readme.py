"""The README's examples run as written, in an empty folder."""

import re
import shlex
from pathlib import Path

import pytest

from fanns.cli import cli, run

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_python_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "readme"}
    found = blocks("python")
    assert found
    for block in found:
        exec(compile(block, "README.md", "exec"), namespace)


def test_shell_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line for block in blocks("console") for line in block.splitlines()]
    assert lines
    for line in lines:
        words = shlex.split(line)
        assert words[:2] == ["$", "fanns"], line
        code = run(words[2:])
        assert code == 0, f"{line}\n{capfd.readouterr().err}"


def test_other_shell_lines_name_real_options() -> None:
    for block in blocks("sh"):
        for line in block.splitlines():
            for part in line.split("&&"):
                words = shlex.split(part)
                if words[0] == "fanns":
                    command = cli.commands[words[1]]
                    command.make_context(words[1], [w for w in words[2:]], resilient_parsing=True)
