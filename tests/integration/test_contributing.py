"""Every how-to of CONTRIBUTING.md, done as it stands there in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

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
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    for command in how_to.commands:
        done = subprocess.run(
            ["bash", "-c", command.replace("python ", f"'{sys.executable}' ", 1)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        output += done.stdout + done.stderr
    for line in how_to.printed:
        assert line in output
