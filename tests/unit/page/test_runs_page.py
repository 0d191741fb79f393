import math
from pathlib import Path

from repic.page.runs_page import common_settings, headline
from tests.unit.tables.saved import predictions, save_run


def test_a_number_of_concepts_at_which_nobody_has_an_accuracy_has_no_highest(
    tmp_path: Path,
) -> None:
    captions = [p for count in (1, 3) for p in predictions("sft", [True], count=count)]
    run = save_run(tmp_path / "a", captions)
    run.metrics["sft"]["1"]["accuracy"] = math.nan
    assert [fact.label for fact in headline([run])] == ["Highest recognition, %, 3 concepts"]


def test_what_runs_have_in_common_leaves_out_what_changes_no_result(tmp_path: Path) -> None:
    told = ("+experiment=toys", "outputs=elsewhere", "logger=wandb", "data.size=9")
    captions = predictions("sft", [True])
    runs = [
        save_run(tmp_path / "a", captions, overrides=("seed=1", *told, "kl=low")),
        save_run(tmp_path / "b", captions, seed=1, overrides=("seed=1", *told)),
    ]
    assert common_settings(runs) == "+experiment=toys data.size=9"
    runs.append(save_run(tmp_path / "c", captions, overrides=("logger=wandb",)))
    assert common_settings(runs) == "no overrides in common"
