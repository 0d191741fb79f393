from dataclasses import replace
from pathlib import Path

import pytest

from repic.tables.test_set import (
    apart,
    describe_test_set,
    fingerprints,
    refuse_other_test_sets,
    tokenizer_of,
    told_apart,
)
from tests.unit.tables.saved import SETTINGS, predictions, save_run

RIGHT = [True, False, True, False]
TEST = predictions("sft", RIGHT)


def test_a_test_set_is_known_by_its_content() -> None:
    scenes, prompts = fingerprints(TEST)
    assert fingerprints(TEST[::-1]) == (scenes, prompts)
    assert fingerprints(predictions("grpo", [False] * 4)) == (scenes, prompts)  # other captions
    (first, *others) = TEST
    for change in (
        {"id": "another"}, {"present": ("<tavo>",)}, {"answers": ("another scene",)},
        {"num_concepts": 2}, {"images": (first.images[0], "test/1/0/scene@3")},
    ):  # fmt: skip
        assert fingerprints([replace(first, **change), *others])[0] != scenes
    for change in (
        {"pool": ("<momi>",)}, {"infos": ("A red bear",)},
        {"images": ("test/1/3/ref@1", first.images[1])},
    ):  # fmt: skip
        changed = fingerprints([replace(first, **change), *others])
        assert changed[0] == scenes
        assert changed[1] != prompts


def test_photos_that_lie_elsewhere_are_the_same() -> None:
    moved = [replace(p, images=tuple(f"/mnt/{key}" for key in p.images)) for p in TEST]
    assert fingerprints(moved) == fingerprints(TEST)


def test_the_summary_is_enough(tmp_path: Path) -> None:
    runs = [save_run(tmp_path / name, TEST) for name in ("one", "other")]
    (runs[0].folder / "predictions.jsonl").unlink()
    refuse_other_test_sets(runs)
    assert runs[0].test_set is not None
    assert runs[0].test_set.settings == SETTINGS
    assert describe_test_set([], SETTINGS) is None


def test_other_scenes_are_refused_with_both_values_and_a_mend(tmp_path: Path) -> None:
    one = save_run(tmp_path / "one", TEST)
    val = predictions("sft", RIGHT, split="val")
    other = save_run(tmp_path / "other", val, settings={**SETTINGS, "phase.evaluate.split": "val"})
    with pytest.raises(ValueError, match="split is test in the first and val") as e:
        refuse_other_test_sets([one, other])
    for part in (str(one.folder), str(other.folder), "--apart", "leave one of them out"):
        assert part in str(e.value)
    refuse_other_test_sets([one])
    # A retriever is no reason to refuse, so it is not what the message names.
    found = replace(other, choices={**other.choices, "retrieval": "toybox"})
    with pytest.raises(ValueError, match="split is test in the first and val"):
        refuse_other_test_sets([one, found])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"choices": {"data": "dreambooth"}}, "data is not set in the first and dreambooth"),
        ({"overrides": ["data.rules.absent=[0,0]"]}, "data.rules.absent is not set in the first"),
        ({}, "the examples themselves differ .fingerprints"),
    ],
)
def test_where_no_setting_of_the_evaluation_tells_others_do(
    tmp_path: Path, changes: dict, told: str
) -> None:
    one = save_run(tmp_path / "one", TEST)
    other = save_run(tmp_path / "other", predictions("sft", RIGHT[:3]), **changes)
    with pytest.raises(ValueError, match=told):
        refuse_other_test_sets([one, other])


def test_other_tokens_are_another_measure(tmp_path: Path) -> None:
    one = save_run(tmp_path / "one", TEST)
    other = save_run(tmp_path / "other", TEST, settings={**SETTINGS, "metrics.tokenizer": "ptb"})
    with pytest.raises(ValueError, match="tokenizer is words in the first and ptb"):
        refuse_other_test_sets([one, other])
    assert (tokenizer_of(one), tokenizer_of(other)) == ("words", "ptb")


FEWER = predictions("sft", RIGHT, pool=("<momi>", "<tavo>", "<lidu>", "<zaza>"))


def test_prompts_may_differ_by_a_setting_that_says_so_and_by_no_other(tmp_path: Path) -> None:
    skip = save_run(tmp_path / "skip", TEST)
    retrieved = save_run(tmp_path / "retrieved", FEWER, choices={"retrieval": "toybox"})
    wrong = save_run(
        tmp_path / "wrong", FEWER, overrides=["phase.evaluate.demonstrations=wrong_images"]
    )
    refuse_other_test_sets([skip, retrieved])
    refuse_other_test_sets([skip, wrong])
    again = save_run(tmp_path / "again", TEST, choices={"retrieval": "skip"})
    refuse_other_test_sets([skip, again, retrieved])  # nobody says so: skip
    unsaid = save_run(tmp_path / "unsaid", FEWER, overrides=["data.rules.absent=[3,3]"])
    with pytest.raises(ValueError, match=r"introduce others.*data\.rules\.absent is not set"):
        refuse_other_test_sets([skip, retrieved, unsaid])
    elsewhere = predictions("sft", RIGHT, split="val")
    moved = save_run(tmp_path / "moved", elsewhere, choices={"retrieval": "toybox"})
    with pytest.raises(ValueError, match="were not evaluated on the same"):
        refuse_other_test_sets([skip, moved])


def test_apart_makes_groups_that_are_not_refused(tmp_path: Path) -> None:
    val = predictions("sft", RIGHT, split="val")
    settings = {**SETTINGS, "phase.evaluate.split": "val"}
    runs = [
        save_run(tmp_path / "0", TEST),
        save_run(tmp_path / "1", val, settings=settings),
        save_run(tmp_path / "2", TEST, seed=1),
        save_run(tmp_path / "3", FEWER, choices={"retrieval": "toybox"}),
    ]
    groups = apart(runs)
    assert groups == [[runs[0], runs[2], runs[3]], [runs[1]]]
    for group in groups:
        refuse_other_test_sets(group)
    assert told_apart(groups, 0) == "phase.evaluate.split=test (3 runs)"
    assert told_apart(groups, 1) == "phase.evaluate.split=val (1 run)"
    unsaid = save_run(tmp_path / "4", FEWER)
    assert apart([runs[0], unsaid]) == [[runs[0]], [unsaid]]
