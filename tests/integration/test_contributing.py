"""Every how-to of CONTRIBUTING.md, done as it stands there in an empty folder."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import forked

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"^# (\S+\.(?:py|yaml))$", re.MULTILINE)  # a comment with the file's name
LONGEST = 60  # lines of a screen


class HowTo(NamedTuple):
    """One section of the page: files to write, commands to give, and what they should print."""

    title: str
    text: str
    files: dict[str, str]
    commands: list[str]
    printed: list[str]


def how_tos(page: str) -> list[HowTo]:
    """Read the sections that are called "Add …"."""
    found = []
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        title, _, text = section.partition("\n")
        if not title.startswith("Add "):
            continue
        blocks = BLOCK.findall(text)
        files = {FILE.findall(b)[0]: b for kind, b in blocks if kind in ("python", "yaml")}
        commands = [line for kind, b in blocks if kind == "bash" for line in b.splitlines()]
        printed = [line.strip() for kind, b in blocks if kind == "text" for line in b.splitlines()]
        found.append(HowTo(title, text, files, commands, printed))
    return found


HOW_TOS = how_tos((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))


def test_page_says_how_to_add_each_kind_of_thing() -> None:
    kinds = ("reward", "metric", "photo set", "model family", "captioner", "phase")
    assert [how_to.title for how_to in HOW_TOS] == [f"Add a {kind}" for kind in kinds]


@pytest.mark.slow
@pytest.mark.parametrize("how_to", HOW_TOS, ids=lambda how_to: how_to.title)
def test_how_to_does_what_it_says(how_to: HowTo, tmp_path: Path) -> None:
    assert how_to.text.count("\n") <= LONGEST
    assert how_to.files
    assert how_to.commands
    assert how_to.printed
    for name, text in how_to.files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    output = ""
    for number, command in enumerate(how_to.commands):
        program, *arguments = shlex.split(command)
        if program == "python":
            said = tmp_path / f"said_{number}"
            done: Any = forked.run(arguments, said, cwd=tmp_path, environment={"COLUMNS": "200"})
        else:
            done = subprocess.run(
                ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=300
            )
        assert done.returncode == 0, done.stdout + done.stderr
        output += done.stdout + done.stderr
    for line in how_to.printed:
        assert line in output
