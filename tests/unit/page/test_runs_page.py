from pathlib import Path

from repic.page.runs_page import common_settings
from tests.unit.tables.saved import predictions, save_run


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
