"""The page over several runs, from nothing but what the runs left in their folders."""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from repic.assembly import DATA_CLASSES, SPLITS, saved_examples
from repic.data.personal import PhotoDataset
from repic.report import main
from repic.toybox.dataset import CaptionDataset, SceneRules
from repic.types import Example, Prediction
from tests.photos import draw_collection
from tests.unit.tables.saved import PHASES, caption_of, leave

RULES = {
    "absent": [1, 2],
    "lookalike": 0.6,
    "strangers": [0, 2],
    "drop_image": 0.15,
    "drop_info": 0.5,
    "omit": 0.0,
    "swap": 0.0,
}
TOYS = {
    "_target_": "repic.toybox.dataset.CaptionDataset",
    "split": "test",
    "counts": "???",
    "size": "???",
    "seed": "???",
    "questions": ["Who is there?"],
    "rules": {"_target_": "repic.toybox.dataset.SceneRules", **RULES},
    "scale": 1.0,
}
ROOT = Path(__file__).parents[2]
EVIL = "<img src=x onerror=alert(1)>"


def toys(count: int, size: int) -> list[Example]:
    dataset = CaptionDataset(
        "test",
        counts=[count],
        size=size,
        seed=7,
        rules=SceneRules(**RULES),
        questions=["Who is there?"],
        scale=1.0,
    )
    return list(dataset)


def captions(examples: Sequence[Example], phase: str, skill: int) -> Iterator[Prediction]:
    """Every ``skill``-th caption names somebody wrong or nobody, and is cut off."""
    for i, example in enumerate(examples):
        names = " and ".join(example.present)
        if i % skill == 0:
            names = f"{example.pool[0]}, {EVIL}" if i % 2 else ""
        said = f"{phase}: here are {names}."
        yield caption_of(example, phase, said, finished=i % skill != 0)


def write_run(
    folder: Path,
    examples: Mapping[int, Sequence[Example]],
    *,
    test: Mapping[str, Any] = TOYS,
    reward: str = "combined",
    seed: int = 0,
    skill: int = 5,
) -> Path:
    """A finished run's folder, as a run leaves it."""
    folder.mkdir(parents=True)
    size = max(map(len, examples.values()))
    config = {
        "data": {"test": dict(test)},
        "metrics": {"counts": list(examples)},
        "phase": {
            "evaluate": {
                "split": "test",
                "per_count": size,
                "seed": 7,
                "demonstrations": "right",
            },
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    cells = {str(count): {"accuracy": 10.0 * skill + seed, "cider": 1.0} for count in examples}
    said = [
        prediction
        for phase, wrong in (("base", 2), ("grpo", skill))
        for of_count in examples.values()
        for prediction in captions(of_count, phase, wrong)
    ]
    leave(
        folder,
        {"base": {c: {"accuracy": 1.0, "cider": 1.0} for c in cells}, "grpo": cells},
        said,
        [{"phase": "grpo", "iteration": i, "grpo/reward/total": i / 9} for i in (1, 2, 3)],
        name="study",
        seed=seed,
        overrides=[f"reward={reward}", f"seed={seed}"],
        choices={"reward": reward},
        phases=[asdict(phase) for phase in PHASES],
    )
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    examples = {count: toys(count, 6) for count in (1, 3)}
    for reward, skill in (("quality", 3), ("combined", 4)):
        for seed in (0, 1):
            folder = tmp_path / "runs" / reward / f"seed_{seed}"
            write_run(folder, examples, reward=reward, seed=seed, skill=skill)
    return tmp_path / "runs"


def test_a_page_over_several_runs(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page.html"
    assert main([str(runs), str(runs / "quality"), "--out", str(out), "--items", "7"]) == 0
    said = capsys.readouterr().out
    assert "4 runs, 3 models, 7 scenes (7 with pictures)" in said  # a run given twice counts once
    page = out.read_text(encoding="utf-8")
    assert page.count("<article") == 7
    assert "± 6.4 · + RL (reward=combined)" in page  # 12.71 · 0.71 / sqrt(2) over 40 and 41
    assert "dashed: a stranger" in page
    assert page.count('data-n="1"') == 4  # the remainder goes to the first
    assert page.count('src="data:image/webp;base64,') == 7
    assert re.findall(r'name="method" value="([^"]*)"', page) == [
        "base model",
        "+ RL (reward=quality)",
        "+ RL (reward=combined)",
    ]
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
    assert "captions are those of the first (seed 0)" in page
    assert 'class="curve overview"' in page
    assert "<b>Reward</b>" in page
    assert 'class="best"' in page
    assert "± " in page
    # Nothing of the scale at which the model saw them: pictures are drawn for the page.
    assert 'width="320" height="200"' in page


def test_the_same_folders_give_the_same_page(runs: Path, tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        assert main([str(runs), "--out", str(tmp_path / name), "--items", "3"]) == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_examples_of_a_run_are_made_again(runs: Path) -> None:
    again = list(saved_examples(runs / "quality" / "seed_0", scale=2.0))
    before = [example for count in (1, 3) for example in toys(count, 6)]
    assert [e.id for e in again] == [e.id for e in before]
    assert [e.answers for e in again] == [e.answers for e in before]
    assert again[0].query is not None
    assert again[0].query.load().size == (512, 320)
    (runs / "quality/seed_0/config.yaml").unlink()
    with pytest.raises(ValueError, match=r"config\.yaml"):
        list(saved_examples(runs / "quality" / "seed_0", scale=2.0))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"_target_": "tests.photos.photo"}, 'is made by "tests.photos.photo", which is no data'),
        ({"questions": [{"_target_": "os.system", "command": "touch x"}]}, 'made by "os.system"'),
        ({"rules": {"_target_": ["os.system"]}}, "no data class of repic"),
        ({"questions": ["${oc.env:HOME}"]}, 'holds "${oc.env:HOME}", which would be looked up'),
    ],
)
def test_what_others_have_written_makes_data_of_this_package_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: Any, said: str
) -> None:
    run = write_run(tmp_path / "run", {1: toys(1, 4)}, test={**TOYS, **changes})
    out = tmp_path / "page.html"
    assert main([str(run), "--out", str(out)]) == 1
    complaint = capsys.readouterr().err
    assert f"{run}/config.yaml: data.test" in complaint
    assert said in complaint
    assert not out.exists()
    assert main([str(run), "--out", str(out), "--no-pictures"]) == 0


def test_a_value_that_data_cannot_have_is_told(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {1: toys(1, 4)}, test={**TOYS, "questions": []})
    with pytest.raises(ValueError, match=r"yaml: data\.test\.questions: \[\] is not a list of one"):
        list(saved_examples(run, scale=1.0))


def test_a_class_of_one_s_own_is_made_where_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_toys.py").write_text(
        "from repic.toybox.dataset import CaptionDataset\n\ndef make(**a):\n"
        "    return CaptionDataset(**a)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    mine = {**TOYS, "_target_": "my_toys.make"}
    run = write_run(tmp_path / "run", {1: toys(1, 4)}, test=mine)
    call = [str(run), "--out", str(tmp_path / "page.html")]
    assert main(call) == 1
    assert "--trust my_toys.make" in capsys.readouterr().err
    assert main([*call, "--trust", "my_toys.make"]) == 0
    assert "4 scenes (4 with pictures)" in capsys.readouterr().out


def test_data_classes_are_those_of_conf_data() -> None:
    named = {
        name
        for file in (ROOT / "repic/conf/data").rglob("*.yaml")
        for split in SPLITS
        for name in re.findall(
            r"_target_: (\S+)", yaml.safe_dump(yaml.safe_load(file.read_text()).get(split))
        )
    }
    rules = {"repic.toybox.dataset.SceneRules"}  # conf/data/toybox.yaml has them beside its splits
    assert named | rules == set(DATA_CLASSES)


def test_photos_are_found_again_and_missed_with_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    settings = draw_collection(root).write()
    examples = list(PhotoDataset(**{**settings, "counts": [1], "size": 9}))
    test = {**settings, "root": str(root), "counts": "???", "size": "???", "seed": "???"}
    test |= {"_target_": "repic.data.personal.PhotoDataset", "_convert_": "all"}
    run = write_run(tmp_path / "run", {1: examples}, test=test)
    out = tmp_path / "page.html"
    assert main([str(run), "--out", str(out)]) == 0
    assert "9 scenes (9 with pictures)" in capsys.readouterr().out

    (root / "photos/bo/00.jpg").unlink()  # one photo
    assert main([str(run), "--out", str(out)]) == 0
    assert "9 scenes (8 with pictures)" in capsys.readouterr().out

    shutil.move(root, tmp_path / "moved")  # all of them
    assert main([str(run), "--out", str(out)]) == 0
    assert "9 scenes (0 with pictures)" in capsys.readouterr().out
    page = out.read_text()
    assert page.count("<article") == 9
    assert "<img" not in page
    assert page.count(f"there is no folder {root}") == 1
    assert page.count(str(run / "config.yaml")) == 1


def test_without_pictures_no_configuration_is_needed(runs: Path, tmp_path: Path) -> None:
    for file in runs.rglob("config.yaml"):
        file.write_text("data: [")
    out = tmp_path / "page.html"
    assert main([str(runs), "--out", str(out), "--no-pictures"]) == 0
    page = out.read_text()
    assert page.count("<article") == 12
    assert "<img" not in page
    assert "without pictures" not in page
    assert main([str(runs), "--out", str(out)]) == 0
    assert "12 scenes are without pictures: they cannot be made again" in out.read_text()


def test_runs_without_captions_have_tables(runs: Path, tmp_path: Path) -> None:
    for file in (runs / "quality").rglob("predictions.jsonl"):
        file.unlink()
    out = tmp_path / "page.html"
    assert main([str(runs), "--out", str(out)]) == 0
    page = out.read_text()
    assert "No captions were saved by: + RL (reward=quality)." in page
    for file in runs.rglob("predictions.jsonl"):
        file.write_text("")
    assert main([str(runs), "--out", str(out)]) == 0
    page = out.read_text()
    assert "<article" not in page
    assert "<form" not in page
    assert "acc@3" in page


@pytest.mark.parametrize(
    ("arguments", "mend", "complaint"),
    [
        (["empty"], "", "empty: holds no finished run"),
        (["runs", "--items", "-1"], "", "--items -1"),
        (["runs", "--out", "empty"], "", "--out empty: is a folder; name a file"),
        (["runs", "--out", "no/where.html"], "", "there is no folder no"),
        (["runs"], "{", "predictions.jsonl, line 13: not JSON"),
        (["runs"], '{"rewards": {}}', "predictions.jsonl, line 13: the key 'id' is missing"),
        (["runs"], '{"rewards": {}, "id": 3}', "line 13, key 'id': is 3, need text"),
    ],
)
def test_bad_input_is_said_in_a_line(
    runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    mend: str,
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with (runs / "combined/seed_0/predictions.jsonl").open("a") as file:
        file.write(mend)
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("repic.report: ")
    assert error.count("\n") == 1
    assert complaint.replace("line 13", f"line {1 + 2 * 2 * 6}") in error
    assert not (tmp_path / "report.html").exists()
