"""Clips, in small: trained on, evaluated beside their controls, and captioned from files."""

import csv
import json
from pathlib import Path

import pytest

from repic.files import read_lines
from repic.tables.layouts import tables_of
from repic.tables.runs import read_run
from repic.toybox.album import write_album
from tests.integration.small import FEW, rows_of, start, summary_of
from tests.integration.test_caption import start as caption


@pytest.mark.slow
def test_clips_are_trained_on_and_evaluated_beside_their_controls(
    model: Path, tmp_path: Path
) -> None:
    folder = start(model, tmp_path, "+experiment=toybox_clips", FEW, letters=False)
    rewards = {key for row in rows_of(folder) for key in row if key.startswith("grpo/reward/")}
    assert {"grpo/reward/recognition", "grpo/reward/presence", "grpo/reward/binding"} <= rewards
    summary = summary_of(folder)
    controls = ("one_frame", "shuffled", "no_frames")
    models = [
        f"{name}{end}" for name in ("sft", "grpo") for end in ("", *(f"_{c}" for c in controls))
    ]
    assert list(summary["metrics"]) == ["name_everybody", *models]
    assert summary["captioners"]["sft_shuffled"]["label"] == "SFT only, frames shuffled"
    for row in read_lines(folder / "predictions.jsonl"):
        times = {"one_frame": "5", "no_frames": ""}
        shown = next((t for c, t in times.items() if row["phase"].endswith(c)), "1,3,5,7")
        assert row["images"][-1].endswith(f"#t={shown}")
        assert row["prompt"].count(" s:<image>") == len(shown.split(",")) * bool(shown)
    (table,) = tables_of("clips", [read_run(folder)]).values()
    everybody = next(row for row in table.rows if row.label == "names everybody")
    assert [cell.mean == 100 for cell in everybody.cells] == [False, True, False] * 2


def test_a_film_is_captioned_from_its_file(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av")
    toys = tmp_path / "toys"
    sizes = {"friends": 3, "per_friend": 1, "photos": 1, "strangers": (0, 0), "scale": 1.0}
    write_album(toys, **sizes, seed=0, clips=2)
    with (toys / "clips" / "who.csv").open(newline="") as file:
        assert [len(row["names"].split(";")) for row in csv.DictReader(file)] == [1, 2]
    (toys / "clips" / "broken.mov").write_bytes(b"no film")
    asked = (str(toys / "album"), str(toys / "clips"), f"model.path={model}", "frames=4")
    folder = caption(*asked, f"outputs={tmp_path}")
    assert "broken.mov: cannot be read as a film" in capsys.readouterr().out
    told = json.loads((folder / "captions.json").read_text())
    assert [Path(row["photo"]).name for row in told] == ["1.mp4", "2.mp4"]
    kept = {tuple(row["times"]) for row in read_lines(folder / "kept.jsonl")}
    assert kept == {(1, 3, 5, 7)}
    assert (folder / "captions.html").read_text().count("<img") == 2
