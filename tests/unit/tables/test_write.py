import csv
import io
import math
from pathlib import Path

import pytest
import rich.console

from repic.tables.estimates import Estimate
from repic.tables.table import FOUNDING, Row, Table
from repic.tables.write import cell_text, csv_text, latex, markdown, terminal, write_tables

ONE = Estimate(41.26, 37.2, 45.9, num_seeds=1)
SEEDS = Estimate(65.84, 63.74, 67.94, num_seeds=3)
BARE = Estimate(12.0, math.nan, math.nan, num_seeds=1)
TABLE = Table(
    title="A & B",
    columns=FOUNDING,
    rows=(
        Row("SFT|only", 1, (ONE, BARE, None)),
        Row("+ RL (reward=a_b)", 3, (SEEDS, SEEDS, None)),
    ),
    note="100 % of [low, high]",
)


def test_cells() -> None:
    texts = [cell_text(e) for e in (ONE, SEEDS, BARE, None)]
    assert texts == ["41.3 [37.2, 45.9]", "65.8 ± 2.1", "12.0", "–"]


def test_markdown_to_the_letter() -> None:
    assert markdown(TABLE) == (
        "**A & B**\n\n"
        "| configuration | seeds | single concept | multi concept (3) | caption quality |\n"
        "| :-- | --: | --: | --: | --: |\n"
        "| SFT\\|only | 1 | 41.3 [37.2, 45.9] | 12.0 | – |\n"
        "| + RL (reward=a_b) | 3 | **65.8 ± 2.1** | **65.8 ± 2.1** | – |\n\n"
        "100 % of [low, high]\n"
    )


def test_csv_has_all_numbers() -> None:
    header, sft, rl = csv.reader(io.StringIO(csv_text(TABLE)))
    assert header[:5] == [
        "configuration", "seeds", "single concept", "single concept_low", "single concept_high",
    ]  # fmt: skip
    assert sft == ["SFT|only", "1", "41.26", "37.2", "45.9", "12", "", "", "", "", ""]
    assert rl[2:5] == ["65.84", "63.74", "67.94"]
    assert len(header) == len(sft) == len(rl)


def test_latex_escapes_and_marks() -> None:
    text = latex(TABLE)
    assert r"\caption{A \& B. 100 \% of [low, high]}" in text
    assert r"    + RL (reward=a\_b) & 3 & \textbf{65.8 $\pm$ 2.1}" in text
    assert "    SFT|only & 1 & 41.3 [37.2, 45.9] & 12.0 & -- \\\\" in text
    assert r"\begin{tabular}{lrrrr}" in text
    assert text.count(r"\begin") == text.count(r"\end{")


def test_terminal_fits_into_eighty_characters() -> None:
    console = rich.console.Console(width=80, file=io.StringIO())
    console.print(terminal(TABLE))
    text = console.file.getvalue()
    assert "65.8*" in text
    assert "± 2.1" in text
    assert "[37–46]" in text
    assert "3 seeds" in text
    assert "41.3*" not in text
    assert "[low, high]" in text  # not taken for markup
    assert max(map(len, text.splitlines())) <= 80


def test_three_files_are_written(tmp_path: Path) -> None:
    paths = write_tables(tmp_path / "new", "ablation", TABLE)
    assert [path.name for path in paths] == ["ablation.md", "ablation.csv", "ablation.tex"]
    written = [path.read_text(encoding="utf-8") for path in paths]
    assert written == [markdown(TABLE), csv_text(TABLE), latex(TABLE)]
    assert len(list((tmp_path / "new").iterdir())) == 3


def test_a_failed_write_leaves_the_former_file(tmp_path: Path, monkeypatch) -> None:
    (path, *_) = write_tables(tmp_path, "ablation", TABLE)
    before = path.read_text(encoding="utf-8")

    def full(self: Path, *args: object, **kwargs: object) -> None:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write_tables(tmp_path, "ablation", TABLE)
    assert path.read_text(encoding="utf-8") == before
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch) -> None:
    written = []
    write = Path.write_text

    def spy(self: Path, *args: object, **kwargs: object) -> int:
        written.append(self.name)
        return write(self, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", spy)
    write_tables(tmp_path, "ablation", TABLE)
    assert written == ["ablation.md.part", "ablation.csv.part", "ablation.tex.part"]
