import json
from dataclasses import asdict
from pathlib import Path

import pytest

from repic.metrics.caption_files import (
    read_caption_file,
    read_caption_sets,
    read_references,
    with_references,
)
from tests.unit.metrics.hand import FOUR, SINGLE, TWO
from tests.unit.tables.test_runs import PREDICTION

ROW = ["a.jpg", ["<bo>"], "<bo> sits", "Who?"]
LINE = asdict(PREDICTION)


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_lines(path: Path, *lines: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_published_form_is_read(tmp_path: Path) -> None:
    (found,) = read_caption_sets(write(tmp_path / "two.json", TWO))
    assert found.label == "two.json"
    assert len(found.records) == 4
    record = found.records[2]
    assert (record.image, record.targets, record.caption) == ("hj/1.jpg", ("<H>", "<J>"), TWO[2][2])
    assert record.place == f"{tmp_path}/two.json, row 3"
    assert record.pool is None
    assert record.references == ()


def test_a_prompt_may_be_left_out_and_a_byte_order_mark_is_none_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "bare.json"
    path.write_text(json.dumps([ROW[:3]]), encoding="utf-8-sig")
    assert read_caption_sets(path)[0].records[0].caption == "<bo> sits"


def test_further_fields_are_not_read_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (found,) = read_caption_sets(write(tmp_path / "more.json", [[*ROW, 0.5, None]]))
    assert found.records[0].caption == "<bo> sits"
    assert "rows have up to 6 fields; those after the fourth are not read" in caplog.text


def test_predictions_are_read_by_phase_and_number_of_concepts(tmp_path: Path) -> None:
    lines = [
        LINE,
        {**LINE, "id": "1"},
        {**LINE, "phase": "grpo", "images": ["bo.jpg", "q.jpg"]},
        {**LINE, "num_concepts": 2, "id": "2", "present": ["<momi>", "<tavo>"]},
    ]
    sets = read_caption_sets(write_lines(tmp_path / "predictions.jsonl", *lines))
    assert [(found.label, len(found.records)) for found in sets] == [
        ("predictions.jsonl · sft · 1", 2),
        ("predictions.jsonl · grpo · 1", 1),
        ("predictions.jsonl · sft · 2", 1),
    ]
    record = sets[1].records[0]
    assert (record.image, record.targets, record.pool) == ("q.jpg", ("<momi>",), PREDICTION.pool)
    assert record.references == PREDICTION.answers


def test_a_folder_is_searched_at_any_depth(tmp_path: Path) -> None:
    write(tmp_path / "b/single.json", SINGLE)
    write(tmp_path / "four.json", FOUR)
    write(tmp_path / "summary.json", {"name": "run"})
    write_lines(tmp_path / "a/predictions.jsonl", LINE)
    write_lines(tmp_path / "a/metrics.jsonl", {"phase": "sft"})
    labels = [found.label for found in read_caption_sets(tmp_path)]
    assert labels == ["a/predictions.jsonl · sft · 1", "b/single.json", "four.json"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "is empty; it needs a caption or more"),
        ({"a": 1}, "needs a list of rows"),
        ([ROW, {"image": "b.jpg"}], 'row 2: is {"image": "b.jpg"}, need ["image.jpg", ['),
        ([[]], "row 1: the key 'image' is missing"),
        ([["a.jpg", ["<bo>"]]], "row 1: the key 'caption' is missing; need ["),
        ([[1, ["<bo>"], "x"]], "row 1, key 'image': is 1, need ["),
        ([[" ", ["<bo>"], "x"]], "row 1: 'image' is empty, need the picture's file name"),
        ([["a.jpg", "<bo>", "x"]], "row 1, key 'names': is \"<bo>\", need ["),
        ([["a.jpg", [], "x"]], "row 1, key 'names': is [], need ["),
        ([["a.jpg", ["<>"], "x"]], "row 1: 'names' are [\"<>\"], need such as <bo>, each once"),
        ([["a.jpg", ["<bo>", "<bo>"], "x"]], 'row 1: \'names\' are ["<bo>", "<bo>"], need'),
        ([["a.jpg", ["<bo>"], None]], "row 1, key 'caption': is null, need ["),
        ([["a.jpg", ["<bo>"], float("nan")]], "row 1, key 'caption': is NaN, need ["),
        ([ROW, [*ROW[:2], "other", "Who?"]], "row 2: the same as"),
        ([ROW[:3], ROW[:3]], "row 2: the same as"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(tmp_path: Path, rows: object, said: str) -> None:
    path = write(tmp_path / "bad.json", rows)
    with pytest.raises(ValueError, match=r"bad\.json") as raised:
        read_caption_file(path, "bad")
    assert said in str(raised.value)


def test_other_prompts_and_other_captions_are_not_the_same(tmp_path: Path) -> None:
    rows = [ROW, [*ROW[:3], "Where?"], ROW[:3], [*ROW[:2], "other"]]
    assert len(read_caption_sets(write(tmp_path / "a.json", rows))[0].records) == 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"caption": 3}, "line 2, key 'caption': is 3, need text"),
        ({"capton": "x"}, "line 2: unknown key 'capton'"),
        ({"present": ["<zaza>"]}, "line 2: 'present' holds '<zaza>', which is not in 'pool'"),
        ({"rewards": {"cider": float("nan")}}, "line 2: rewards.cider is nan; write null"),
        ({"images": []}, "line 2: 'images' is empty"),
        ({"id": PREDICTION.id}, "line 2: the same as"),
        ({"answers": []}, "line 2: 'answers' has no reference caption, but other rows"),
        ({"answers": ["..."]}, "line 2: 'answers' has no reference caption, but other rows"),
    ],
)
def test_what_is_wrong_with_a_prediction_is_said(tmp_path: Path, changes: dict, said: str) -> None:
    path = write_lines(tmp_path / "predictions.jsonl", LINE, {**LINE, "id": "1", **changes})
    with pytest.raises(ValueError, match=r"predictions\.jsonl") as raised:
        read_caption_sets(path)
    assert said in str(raised.value)


def test_a_prediction_that_lacks_a_key_is_named(tmp_path: Path) -> None:
    line = {key: value for key, value in LINE.items() if key != "pool"}
    with pytest.raises(ValueError, match=r"line 1: the key 'pool' is missing"):
        read_caption_sets(write_lines(tmp_path / "predictions.jsonl", line))


@pytest.mark.parametrize("name", ["a.json", "predictions.jsonl"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b" \n\n", "is empty"),
        (b'[["a.jpg", ["<bo>"], "x"', "not JSON"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(ValueError, match=rf"{name}.*{said}"):
            read_caption_sets(path)


def test_what_a_folder_holds_besides_is_passed_over_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    write(tmp_path / "two.json", TWO)
    write(tmp_path / "queries.json", {"a.jpg": ["<bo>"]})
    write_lines(tmp_path / "mine.jsonl", LINE)
    write_lines(tmp_path / "metrics.jsonl", {"phase": "sft"})
    assert [found.label for found in read_caption_sets(tmp_path)] == ["two.json"]
    assert f"holds no list of captions: {tmp_path}/queries.json" in caplog.text
    assert f"is not called predictions.jsonl: {tmp_path}/mine.jsonl" in caplog.text
    assert "metrics.jsonl" not in caplog.text


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no caption file"):
        read_caption_sets(tmp_path)
    for name in ("none.json", "none.jsonl", "none"):
        with pytest.raises(ValueError, match=rf"{name}: no such file; need a file or folder"):
            read_caption_sets(tmp_path / name)


def test_references_are_given_by_image(tmp_path: Path) -> None:
    (found,) = read_caption_sets(write(tmp_path / "two.json", TWO))
    table = {row[0]: ["a toy", "toys"] for row in TWO}
    references = read_references(write(tmp_path / "references.json", table))
    given = with_references(found, references)
    assert {record.references for record in given.records} == {("a toy", "toys")}
    assert [record.image for record in given.records] == [record.image for record in found.records]
    del references["hj/1.jpg"], references["hj/2.jpg"]
    with pytest.raises(
        ValueError, match=r"two\.json, row 3: no references for image 'hj/1\.jpg'"
    ) as e:
        with_references(found, references)
    assert "(2 of 4 captions lack them)" in str(e.value)


@pytest.mark.parametrize(
    "table", [[], {"a.jpg": "text"}, {"a.jpg": []}, {"a.jpg": [1]}, {"a.jpg": ["."]}]
)
def test_references_of_another_form_are_refused(tmp_path: Path, table: object) -> None:
    with pytest.raises(ValueError, match=r"references\.json.* need "):
        read_references(write(tmp_path / "references.json", table))
