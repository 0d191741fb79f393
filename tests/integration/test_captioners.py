"""Whoever writes captions is evaluated in the same way, and captions are kept by content."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from repic.captioners.captioner import Caption, Captioner, Cost, Labels
from repic.metrics.caption_files import read_predictions
from repic.types import Example
from tests.integration.small import start, summary_of
from tests.photos import draw_collection

NAMES_ALONE = ("method=name_everybody", "reward=none")


def test_a_file_of_captions_is_scored_as_its_own_run_scored_it(
    finished: Path, tmp_path: Path
) -> None:
    evaluated = "method.evaluated=[name_everybody,file]"
    theirs = f"captions={finished / 'predictions.jsonl'}"
    given = (*NAMES_ALONE, evaluated, theirs, "captioner.file.label=theirs")
    with pytest.raises(Exception, match="captions of base, name_everybody, sft, grpo; choose"):
        start(finished, tmp_path, *given, name="undecided")
    with pytest.raises(Exception, match="'dpo' is not in"):
        start(finished, tmp_path, *given, "captioner.file.system=dpo", name="unknown")
    summary = summary_of(start(finished, tmp_path, *given, "captioner.file.system=grpo"))
    scores, expected = summary["metrics"], summary_of(finished)["metrics"]
    assert scores["name_everybody"] == expected["name_everybody"]
    assert scores["file"] == expected["grpo"]
    assert summary["captioners"]["file"]["label"] == "theirs"
    others = ("captioner.file.system=grpo", "phase.evaluate.seed=7")
    with pytest.raises(ValueError, match=r"no caption of toybox:7/test/"):
        start(finished, tmp_path, *given, *others, name="others")
    with pytest.raises(Exception, match="say captions=<a caption file>"):
        start(finished, tmp_path, *NAMES_ALONE, evaluated, name="none")
    same = ("captioner.file.system=grpo", "captioner.file.label=names everybody")
    with pytest.raises(ValueError, match="name_everybody and file are both called 'names everyb"):
        start(finished, tmp_path, *given, *same, name="same")


def test_a_captioner_of_one_s_own_needs_no_name_anywhere(tmp_path: Path) -> None:
    given = (*NAMES_ALONE, "method.evaluated=[polite]", "metrics.counts=[2]")
    with pytest.raises(
        ValueError, match="'polite' is not one of base, model, name_everybody, file"
    ):
        start(tmp_path / "nowhere", tmp_path, *given, name="unknown")
    own = "+captioner.polite._target_=tests.integration.test_captioners.Polite"
    folder = start(tmp_path / "nowhere", tmp_path, *given, own)
    assert {p.caption for p in read_predictions(folder)} == {"What a lovely picture."}
    summary = summary_of(folder)
    assert list(summary["metrics"]) == list(summary["captioners"]) == ["polite"]
    assert summary["captioners"]["polite"]["cost"]["pictures"] == 4


class Polite:
    labels = Labels("polite", "polite", is_shared=False, has_model=True)
    key, decoding = "polite", None

    def write(self, examples: Sequence[Example]) -> list[Caption]:
        return [Caption("What a lovely picture.", True) for _ in examples]

    def cost(self) -> Cost:
        return Cost(pictures=4)


def test_a_captioner_is_one_by_what_it_does() -> None:
    assert isinstance(Polite(), Captioner)


def test_a_photo_that_changes_under_its_name_is_another_photo(model: Path, tmp_path: Path) -> None:
    collection = draw_collection(tmp_path / "data")
    files = collection.write()
    given = ["data=dreambooth", f"data.root={collection.root}", "metrics.counts=[1]"]
    given += [f"data.test.folders.{name}={place}" for name, place in files["folders"].items()]
    given += [f"data.test.{key}={files[key]}" for key in ("database", "queries")]

    def num_captioned(name: str) -> int:
        start(model, tmp_path, "method=zero_shot", *given, name=name, letters=False)
        return len(list((tmp_path / "cache" / "captions").glob("*.jsonl")))

    before = num_captioned("one")
    assert num_captioned("two") == before
    photos = [path for path in collection.root.rglob("*") if path.suffix in (".jpg", ".png")]
    for photo in photos:
        Image.new("RGB", (12, 8), "red").save(photo)
    assert num_captioned("three") > before
