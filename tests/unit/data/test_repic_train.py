"""RePIC's training file: what a record becomes, and what is said of a bad one."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from repic.data.repic_train import TASKS, RepicTrainDataset

GOOD: list[dict[str, Any]] = [
    {
        "image": ["a.png", "b.png"],
        "problem": "Is <bo> also in the second image?",
        "solution": "Yes",
        "accu_reward_method": "yes_no",
    },
    {
        "image": "b.png",
        "problem": "Where is the red mug?",
        "solution": [1, 2, 30.4, 40],
        "accu_reward_method": "iou",
    },
    {
        "image": ["a.png", "b.png"],
        "problem": "Describe the second image.",
        "solution": "<bo>",
        "accu_reward_method": "yes_no_name",
    },
    {
        "image": ["a.png", "a.png", "b.png"],
        "problem": "Describe the last image.",
        "solution": ["<bo>", "<Mi Mi>"],
        "accu_reward_method": "yes_no_name_multi",
    },
]
SUFFIXES = {method: ["Be brief.", "Be kind."] for method in TASKS}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 40), "red").save(tmp_path / name)
    return tmp_path


def load(root: Path | None, records: Any = GOOD, **changes: Any) -> RepicTrainDataset:
    if root is not None:
        (root / "train.json").write_text(json.dumps(records))
    given = {"samples": "train.json", "images": ".", "suffixes": SUFFIXES, "how_to_get": "Get it."}
    given |= {"counts": [1, 2], "size": None, "seed": 0, "missing": "refuse", **changes}
    return RepicTrainDataset(root, **given)


def test_every_kind_of_question(root: Path) -> None:
    dataset = load(root)
    same, locate, one, two = sorted((dataset[i] for i in range(4)), key=lambda e: e.id)
    assert [e.task for e in (same, locate, one, two)] == ["same", "locate", "caption", "caption"]
    assert [e.target for e in (same, locate, one, two)] == ["yes", "[1, 2, 30, 40]", "", ""]
    assert [e.present for e in (same, locate, one, two)] == [(), (), ("<bo>",), ("<bo>", "<Mi Mi>")]
    assert [e.pool for e in (same, locate, one, two)] == [
        ("<bo>",),
        (),
        ("<bo>",),
        ("<bo>", "<Mi Mi>"),
    ]
    assert [len(e.images) for e in (same, locate, one, two)] == [2, 1, 2, 3]
    assert same.query is not None
    assert same.query.load().size == (40, 40)
    assert same.question in {f"Is <bo> also in the second image? {s}" for s in SUFFIXES["yes_no"]}


def test_everything_follows_from_the_seed(root: Path) -> None:
    many = GOOD * 8
    first, second = load(root, many), load(root, many)
    assert [first[i] for i in range(32)] == [second[i] for i in range(32)]
    other = load(root, many, seed=1)
    assert [first[i].id for i in range(32)] != [other[i].id for i in range(32)]
    questions = {first[i].question for i in range(32)}
    assert len(questions) == 8  # both suffixes of every kind are drawn


def test_counts_and_size(root: Path) -> None:
    assert {e.num_concepts for e in map(load(root, counts=[1]).__getitem__, range(3))} == {1}
    assert len(load(root, counts=[1])) == 3
    assert len(load(root, counts=[2])) == 1
    assert len(load(root, size=2)) == 2


def test_a_reference_that_nobody_names_has_a_number(root: Path) -> None:
    record = {**GOOD[0], "problem": "Is it the same?"}
    assert load(root, [record])[0].pool == ("<reference 1>",)


@pytest.mark.parametrize(
    ("problem", "question"),
    [
        ("<image>\nName: <bo>. <image>\nIs <bo> in it?", "Name: <bo>. Is <bo> in it?"),
        ("<image 1><Image> <bo>: <VIDEO>is it here?<image_2>", "<bo>: is it here?"),
    ],
)
def test_a_mark_in_a_picture_s_place_is_no_name_and_no_words(
    root: Path, caplog: pytest.LogCaptureFixture, problem: str, question: str
) -> None:
    dataset = load(root, [{**GOOD[0], "problem": problem}, GOOD[1]])
    (example,) = (one for one in map(dataset.__getitem__, range(2)) if one.task == "same")
    assert example.pool == ("<bo>",)
    assert example.question.startswith(f"{question} Be ")
    assert "train.json: the questions of 1 of 2 samples hold <image> or the like" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": []}, r"row 2, key 'image': is \[\], need a path or a list"),
        ({"image": ["a.png", ""]}, "row 2, key 'image': is empty, need a path"),
        ({"image": [1]}, "row 2, key 'image.0': is 1, need a path or a list"),
        ({"problem": " "}, "row 2, key 'problem': is empty, need a question"),
        ({"accu_reward_method": "iuo"}, "row 2, key 'accu_reward_method': 'iuo' is not one of"),
        ({"solution": "maybe"}, "row 2, key 'solution': needs yes or no, found 'maybe'"),
        ({"accu_reward_method": "iou"}, r"needs four numbers \[x0, y0, x1, y1\], found 'Yes'"),
        ({"accu_reward_method": "iou", "solution": [1, 2, 3]}, "needs four numbers"),
        ({"accu_reward_method": "iou", "solution": [1, 2, True, 4]}, "needs four numbers"),
        ({"accu_reward_method": "yes_no_name", "solution": "bo"}, "needs a name such as '<bo>'"),
        ({"accu_reward_method": "yes_no_name_multi", "solution": []}, "needs a name such as"),
        ({"accu_reward_method": "yes_no_name", "solution": "<image>"}, "needs a name such as"),
        ({"problem": "<image> <image>"}, "row 2, key 'problem': is empty, need a question"),
    ],
)
def test_a_bad_record_is_named_with_row_and_key(root: Path, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        load(root, [GOOD[1], {**GOOD[0], **change}])
    assert "Get it." in str(error.value)


def test_missing_pictures_are_refused_together_or_skipped(root: Path) -> None:
    records = [*GOOD, {**GOOD[1], "image": "c.png"}, {**GOOD[0], "image": ["d.png", "b.png"]}]
    with pytest.raises(ValueError, match=r"1 of 2 reference pictures, 1 of 2 query") as raised:
        load(root, records)
    for part in ("c.png", "d.png", "data.missing=skip", "Get it."):
        assert part in str(raised.value)
    assert {load(root, records, missing="skip")[i].id for i in range(4)} == {
        f"repic/{row}" for row in (1, 2, 3, 4)
    }
    assert len(load(root, records, missing="skip")) == 4


def test_boxes_that_no_answer_meets_are_told(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    box = {**GOOD[0], "accu_reward_method": "iou", "solution": [1, 2, 3, 4]}
    load(root, [box])
    assert "no area" not in caplog.text
    load(root, [box, {**box, "solution": [3, 2, 1, 4]}, {**box, "solution": [1, 2, 9, 2.2]}])
    assert "train.json: the boxes of rows 2, 3 have no area" in caplog.text


def test_bad_files(root: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.root: no folder is set\. Get it\."):
        load(None)
    with pytest.raises(ValueError, match=r"row 1: is .yes., need a JSON object"):
        load(root, ["yes"])
    for content, complaint in (([], "holds no samples"), ({}, "is {}, need a list")):
        with pytest.raises(ValueError, match=complaint):
            load(root, content)
    with pytest.raises(ValueError, match="no such file"):
        load(root, samples="other.json")
    with pytest.raises(ValueError, match=r"data\.train\.suffixes"):
        load(root, suffixes={"iou": [""]})
    (root / "broken.json").write_text("[{")
    with pytest.raises(ValueError, match="not JSON"):
        load(root, samples="broken.json")
