import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import rich.console

from repic.metrics.rescoring import METRICS, Score
from repic.tables.rescoring_table import (
    FEW_IMAGES,
    NOTE,
    Rescored,
    csv_text,
    markdown,
    terminal,
    write_rescored,
)

VALUES = dict(zip(METRICS, (100.0, 98.78, 99.387, 97.56, math.nan, 44.11), strict=True))
INTERVALS = {name: (value - 1.5, value + 1.5) for name, value in VALUES.items()}
ROWS = [
    Rescored("a|b.json", "2-concept", "paper", 82, 41, Score(VALUES, INTERVALS)),
    Rescored("a|b.json", "2-concept", "robust", 82, 41, Score(VALUES, {})),
]


def test_markdown_to_the_letter() -> None:
    assert markdown(ROWS) == (
        "**Captions, scored anew**\n\n"
        "| captions | variant | protocol | number | images | P | R | F1 | acc | CIDEr | words |\n"
        "| :-- | :-- | :-- | --: | --: | --: | --: | --: | --: | --: | --: |\n"
        "| a\\|b.json | 2-concept | paper | 82 | 41 | 100.0 [98.5, 101.5] | 98.8 [97.3, 100.3]"
        " | 99.4 [97.9, 100.9] | 97.6 [96.1, 99.1] | – | 44.1 [42.6, 45.6] |\n"
        "| a\\|b.json | 2-concept | robust | 82 | 41 | 100.0 | 98.8 | 99.4 | 97.6 | – | 44.1 |\n"
        f"\n{NOTE}\n"
    )


def test_intervals_over_few_images_are_not_to_be_trusted(tmp_path: Path) -> None:
    few = [*ROWS, replace(ROWS[0], num_images=9)]
    for rows, text in ((ROWS, NOTE), (few, f"{NOTE} {FEW_IMAGES}")):
        assert markdown(rows).endswith(f"\n\n{text}\n")
        paths = write_rescored(tmp_path, rows)
        assert json.loads(paths[2].read_text())["note"] == text
        assert str(terminal(rows).caption) == text


def test_programs_get_every_digit_and_nothing_for_nothing(tmp_path: Path) -> None:
    paths = write_rescored(tmp_path / "run", ROWS)
    assert [path.name for path in paths] == ["rescored.md", "rescored.csv", "rescored.json"]
    first, second = csv.DictReader(io.StringIO(paths[1].read_text()))
    assert paths[1].read_text() == csv_text(ROWS)
    assert (first["captions"], first["f1"], first["f1_low"]) == ("a|b.json", "99.387", "97.887")
    assert (first["cider"], second["f1_low"], second["num_images"]) == ("", "", "41")
    rows = json.loads(paths[2].read_text())["rows"]
    assert rows[0]["f1_ci"] == [99.387 - 1.5, 99.387 + 1.5]
    assert rows[0]["cider"] is None
    assert rows[1]["f1_ci"] is None


def test_the_terminal_shows_every_column_in_80_characters() -> None:
    console = rich.console.Console(width=80, record=True, file=io.StringIO())
    console.print(terminal(ROWS))
    text = console.export_text()
    for part in ("a|b.json", "82 captions", "paper", "robust", "98.8", "97–100", "44.1", "words"):
        assert part in text
    assert text.count("a|b.json") == 1
    assert max(map(len, text.splitlines())) <= 80
