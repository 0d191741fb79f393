"""The command itself, on runs that lie in folders."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from repic import table
from tests.unit.tables.saved import SETTINGS, predictions, save_run

RIGHT = [True, False, True, True, False, False]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four rewards; RL with the later ones is right more often. Not to be written to."""
    runs = tmp_path_factory.mktemp("sweep") / "runs"
    for n, reward in enumerate(("none", "recognition", "quality", "combined")):
        captions = []
        for count in (1, 3):
            captions += predictions("sft", RIGHT, count=count)
            if reward != "none":
                right = [i < 3 + n or r for i, r in enumerate(RIGHT)]
                captions += predictions("grpo", right, count=count)
        save_run(runs / reward / "seed_0", captions, choices={"reward": reward})
    return runs


@pytest.fixture
def copied(sweep: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sweep, tmp_path / "runs"))


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    table.main([str(argument) for argument in arguments])
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as end:
        table.main([str(argument) for argument in arguments])
    assert end.value.code == 1
    text = capsys.readouterr()
    assert text.err.count("\n") == 1
    return text.err


def test_a_root_or_its_runs_give_the_same_table(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(capsys, sweep)
    assert text.count("+ RL") == 3
    assert text.count("SFT only") == 1
    assert shown(capsys, *sorted(sweep.iterdir()), sweep / "none" / "seed_0") == text


def test_everything_at_once_is_printed_and_written(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    text = shown(
        capsys, sweep, "--form", "all", "--against", "SFT only", "--orderings", "founding",
        "--weights", "names=1,cider=0.5", "--out", out, "--samples", 64,
    )  # fmt: skip
    for part in ("reward: mean of 1 names + 0.5 cider", "difference from SFT only", "Orderings"):
        assert part in text.replace("\n", " ")
    stems = ["accuracy", "founding", "single", "multi", "names_1", "names_2", "cider"]
    expected = {
        f"{stem}{more}{suffix}"
        for stem in stems
        for more in ("", "_against")
        for suffix in (".md", ".csv", ".tex")
    } | {"orderings.md", "orderings.csv", "orderings.tex"}
    assert {p.name for p in out.iterdir()} == expected
    sft, *_, best = csv.DictReader((out / "accuracy.csv").open())
    # SFT: 3 of 6 right, and every caption has 0.5 of cider.
    assert float(sft["reward"]) == 0.5 + 0.25
    assert best["configuration"] == "+ RL (reward=combined)"
    last = list(csv.DictReader((out / "accuracy_against.csv").open()))[-1]
    assert float(last["acc@1"]) == 50
    assert float(last["acc@1_p"]) == 0.25  # three scenes: two of eight exchanges
    assert float(last["reward"]) == pytest.approx(0.5)


def test_a_table_without_the_row_is_not_compared_and_keeps_no_other_from_it(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only one of the two has answered questions."""
    path = copied / "combined" / "seed_0" / "summary.json"
    answers = {"recognition": {"grpo": {"positive": 80.0}}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **answers}))
    shown(capsys, path.parent, "--form", "all", "--against", "SFT only", "--out", tmp_path)
    stems = {file.stem for file in tmp_path.glob("*.csv")}
    assert {"accuracy_against", "recognition"} <= stems
    assert "recognition_against" not in stems
    weighed = ("--form", "recognition", "--weights", "names=1")
    told = "--weights: --form recognition shows nothing of captions, which rewards are of"
    assert told in refused(capsys, path.parent, *weighed)


def test_an_empty_word_is_no_folder(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copied)
    with pytest.raises(SystemExit):
        table.main([""])
    assert "runs: it is empty" in capsys.readouterr().err


def test_runs_on_other_test_sets_stand_apart(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    val = predictions("sft", RIGHT, split="val")
    settings = {**SETTINGS, "phase.evaluate.split": "val"}
    save_run(copied / "val" / "seed_0", val, settings=settings)
    text = refused(capsys, copied)
    assert "phase.evaluate.split is test in the first and val in the second" in text
    out = tmp_path / "out"
    text = shown(capsys, copied, "--apart", "--out", out)
    assert "test set 1 of 2: phase.evaluate.split=test (4 runs)" in text
    assert "test set 2 of 2: phase.evaluate.split=val (1 run)" in text
    assert (out / "test_set_1" / "accuracy.md").exists()
    assert "+ RL" not in (out / "test_set_2" / "accuracy.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--against", "PPO"], "--against: no row is called 'PPO'; there are: SFT only; + RL"),
        (["--against", "RL"], "--against: 'RL' is in 3 rows"),
        (["--weights", "style=1"], "no run has the part 'style'; there are box, cider, names"),
        (["--against", ""], "--against: '' is in 4 rows"),
        (["--weights", ""], "'' is not <part>=<number>"),
        (["--out", __file__], "is a file; tables need a folder"),
        (["--weights", "style"], "'style' is not <part>=<number>"),
        (["--samples", "0"], "--samples: 0 is not a number from 1 to 1000000"),
        (["--samples", "1000000000"], "--samples: 1000000000 is not a number from 1 to"),
        (["--seed", "-1"], "--seed: -1 is not a number from 0 to 4294967295"),
        (["--weights", "recognition=1e39"], "'recognition=1e39' is not <part>=<number>"),
        (["--out", "/dev/null/x"], "/dev/null/x: Not a directory"),
        (["--form", "none"], "--form: 'none' is not one of accuracy, founding, single, multi,"),
    ],
)
def test_mistakes_are_told_in_one_line(
    sweep: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    assert complaint in refused(capsys, sweep, *arguments)


def test_where_there_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds no finished run" in refused(capsys, tmp_path)
    save_run(tmp_path / "pretrained", [])
    assert "no run there has evaluated anything" in refused(capsys, tmp_path)
    save_run(tmp_path / "run", predictions("sft", RIGHT))
    text = shown(capsys, tmp_path)
    assert "passed over, as it evaluated nothing" in text
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.yaml").write_text("method: {evaluated: [sft]}")
    said = shown(capsys, tmp_path)
    assert f"not ended (the same command goes on with it): {tmp_path / 'begun'}" in said
    assert "SFT only" in text


def test_summaries_alone_are_read_where_they_are_enough(
    copied: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in copied.rglob("predictions.jsonl"):
        path.write_text("this is no JSON")
    for form in ("accuracy", "founding", "names", "all"):
        assert "SFT only" in shown(capsys, copied, "--form", form)
