"""One table with everything that a table can have, in every form."""

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import rich.console

from repic.tables.estimates import Estimate
from repic.tables.table import Column, Row, Table
from repic.tables.write import (
    cell_text,
    csv_text,
    json_text,
    latex,
    markdown,
    print_tables,
    terminal,
    write_tables,
)

ONE = Estimate(41.26, 37.2, 45.9, num_seeds=1)
SEEDS = Estimate(65.84, 63.74, 67.94, num_seeds=3)
BARE = Estimate(12.0, math.nan, math.nan, num_seeds=1)
TABLE = Table(
    title="A & B",
    columns=(
        Column("at 1", "accuracy at 1", direction="up"),
        Column("at 3", key="three", direction="up"),
        Column("nothing"),
        Column("missing", kind="number", is_alarm=True),
        Column("p", kind="number", digits=3),
        Column("judge", kind="text", is_for_programs=True),
    ),
    rows=(
        Row("all of them", ("", "", "", "", "", ""), is_heading=True),
        Row("SFT|only", (ONE, BARE, None, 0, 0.0312, "x"), (1, "paper")),
        Row("+ RL (reward=a_b)", (SEEDS, SEEDS, None, 2, 0.0002, "y"), (3, "paper")),
        Row("+ RL (reward=a_b)", (ONE, None, None, 0, math.nan, "y"), (3, "robust")),
    ),
    note="100 % of [low, high]. Bold: best",
    asides=(Column("seeds", kind="number", unsaid=1), Column("by", key="protocol", kind="text")),
    lists=(("Not there:", ("a.png", "and 3 more")),),
    details={"left_out": {"meteor": "no Java"}},
)


def shown(table: Table) -> str:
    console = rich.console.Console(width=80, file=io.StringIO())
    console.print(terminal(table))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    return text


def test_cells() -> None:
    texts = [cell_text(e) for e in (ONE, SEEDS, BARE, None)]
    assert texts == ["41.3 [37.2, 45.9]", "65.8 ± 2.1", "12.0", "–"]
    three = Estimate(1.234, 0.0123, 1234.5, num_seeds=1)
    assert cell_text(three, digits=None) == "1.23 [0.0123, 1,234]"


def test_markdown_to_the_letter() -> None:
    assert markdown(TABLE) == (
        "**A & B**\n\n"
        "| configuration | seeds | by | at 1 | at 3 | nothing | missing | p |\n"
        "| :-- | --: | :-- | --: | --: | --: | --: | --: |\n"
        "| **all of them** |  |  |  |  |  |  |  |\n"
        "| SFT\\|only | 1 | paper | 41.3 [37.2, 45.9] | 12.0 | – | 0 | 0.031 |\n"
        "| + RL (reward=a_b) | 3 | paper | **65.8 ± 2.1** | **65.8 ± 2.1** | – | 2 | <0.001 |\n"
        "| + RL (reward=a_b) | 3 | robust | 41.3 [37.2, 45.9] | – | – | 0 | – |\n\n"
        "100 % of [low, high]. Bold: best\n"
        "\nNot there:\n- a.png\n- and 3 more\n"
    )


def test_programs_get_every_digit_and_nothing_for_nothing() -> None:
    assert csv_text(TABLE) == (
        "configuration,seeds,protocol,at 1,at 1_low,at 1_high,three,three_low,three_high,"
        "nothing,nothing_low,nothing_high,missing,p,judge\n"
        "SFT|only,1,paper,41.26,37.2,45.9,12,,,,,,0,0.0312,x\n"
        "+ RL (reward=a_b),3,paper,65.84,63.74,67.94,65.84,63.74,67.94,,,,2,0.0002,y\n"
        "+ RL (reward=a_b),3,robust,41.26,37.2,45.9,,,,,,,0,,y\n"
    )
    content = json.loads(json_text(TABLE))
    assert (content["title"], content["note"]) == (TABLE.title, TABLE.note)
    assert content["left_out"] == {"meteor": "no Java"}
    first, _, last = content["rows"]
    assert first == {
        "configuration": "SFT|only", "seeds": 1, "protocol": "paper",
        "at 1": 41.26, "at 1_ci": [37.2, 45.9], "three": 12.0, "three_ci": None,
        "nothing": None, "nothing_ci": None, "missing": 0, "p": 0.0312, "judge": "x",
    }  # fmt: skip
    assert last["p"] is None


def test_differences_have_signs_and_p_values() -> None:
    cells = (replace(ONE, p_value=0.0071), replace(BARE, p_value=math.nan))
    table = Table("t", (Column("acc"), Column("CIDEr")), (Row("a", cells),))
    assert markdown(table).splitlines()[-1] == ("| a | +41.3 [+37.2, +45.9], p = 0.007 | +12.0 |")
    (line,) = csv.DictReader(io.StringIO(csv_text(table)))
    assert (line["acc_p"], line["CIDEr_p"], line["CIDEr"]) == ("0.0071", "", "12")
    assert "+41.3 [+37.2, +45.9], p = 0.007" in shown(table)
    three = replace(table, columns=(*table.columns, Column("x")), rows=(Row("a", (*cells, None)),))
    assert "p=0.007" in shown(three)
    rounded = replace(three, columns=(Column("acc", digits=None), *three.columns[1:]))
    assert "[+37.2," in shown(rounded)


def test_latex_escapes_and_marks() -> None:
    text = latex(TABLE)
    assert r"\caption{A \& B. 100 \% of [low, high]. Bold: best}" in text
    assert r"    + RL (reward=a\_b) & 3 & paper & \textbf{65.8 $\pm$ 2.1}" in text
    assert "    SFT|only & 1 & paper & 41.3 [37.2, 45.9] & 12.0 & -- & 0 & 0.031 \\\\" in text
    assert r"    \textbf{all of them} &  & " in text
    assert r"\begin{tabular}{lrlrrrrr}" in text
    assert text.count(r"\begin") == text.count(r"\end{")


def test_the_terminal_shows_all_in_eighty_characters() -> None:
    text = shown(TABLE)
    for part in ("65.8*", "± 2.1", "[37–46]", "3 seeds", "paper", "robust", "<0.001", "Bold, *"):
        assert part in text
    assert "41.3*" not in text
    assert "1 seeds" not in text
    assert "judge" not in text
    assert "[low, high]" in text  # not taken for markup
    assert text.count("(reward=a_b)") == 1  # its two protocols stand below each other


def test_what_is_listed_is_printed_in_one_piece(capsys: pytest.CaptureFixture[str]) -> None:
    path = "a/" * 60
    print_tables(replace(TABLE, lists=(("Not there:", (path, "and 3 more")),)))
    assert capsys.readouterr().out.endswith(f"\nNot there:\n  {path}\n  and 3 more\n")


def test_three_files_are_written(tmp_path: Path) -> None:
    paths = write_tables(tmp_path / "new", "ablation", TABLE)
    assert [path.name for path in paths] == ["ablation.md", "ablation.csv", "ablation.tex"]
    written = [path.read_text(encoding="utf-8") for path in paths]
    assert written == [markdown(TABLE), csv_text(TABLE), latex(TABLE)]
    # Programs have the first of several tables, which the others repeat for people.
    for path in write_tables(tmp_path / "two", "both", TABLE, TABLE):
        forms = {".md": f"{markdown(TABLE)}\n{markdown(TABLE)}", ".csv": csv_text(TABLE)}
        forms[".tex"] = f"{latex(TABLE)}\n{latex(TABLE)}"
        assert path.read_text(encoding="utf-8") == forms[path.suffix]
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
