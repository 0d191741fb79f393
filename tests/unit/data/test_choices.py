"""The published files of questions with options, in small ones of the test's own."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from repic.data.choices import PublishedChoices

VISUAL = {
    "bo": {
        "./yollava-data/test/bo/0.png": {
            "question": "What is sks wearing?",
            "options": {"A": "A hat", "B": "A scarf"},
            "correct_answer": "B",
        }
    }
}
TEXT = {
    "bo": {
        "0": {
            "question": "Is sks's coat red? Risks aside.",
            "option": {"A": "Yes", "B": "No"},
            "correct_answer": "A",
        }
    },
    "mi": {
        "0": {
            "question": "Is <sks> a dog or a cat?",
            "option": {"A": "Dog", "B": "Cat", "C": "Pig"},
            "correct_answer": "C",
        }
    },
}
DATABASE = {
    "concept_dict": {
        f"<{name}>": {"name": name, "image": f"db/{name}.png", "info": info, "category": "toy"}
        for name, info in (("bo", "<bo> is red."), ("mi", "<mi> is a pig."))
    }
}


def published(folder: Path, **files: Any) -> PublishedChoices:
    contents = {"visual": VISUAL, "text": TEXT, "database": DATABASE, **files}
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    for path in ("db/bo.png", "db/mi.png", "photos/test/bo/0.png"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / path)
    return PublishedChoices(
        folder,
        visual=None if files.get("visual", 1) is None else "visual.json",
        text=None if files.get("text", 1) is None else "text.json",
        database="database.json",
        folders={"yollava-data": "photos", "db": "db"},
        asks="{question}\n{options}\nWhich?",
        missing="refuse",
        how_to_get="Ask somebody.",
    )


def changed(file: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy with another value at a dotted path; None takes the key away."""
    copy: dict[str, Any] = json.loads(json.dumps(file))
    *parents, last = path.split("/")
    place = copy
    for key in parents:
        place = next(v for k, v in place.items() if k.endswith(key))
    if value is None:
        del place[last]
    else:
        place[last] = value
    return copy


def test_both_files_as_they_are_published(tmp_path: Path) -> None:
    choices = published(tmp_path)
    visual, text, other = (choices[i] for i in range(len(choices)))
    assert visual.example.question == "What is <bo> wearing?\nA. A hat\nB. A scarf\nWhich?"
    assert (visual.answer, visual.options, visual.example.target) == (1, ("A hat", "A scarf"), "B")
    assert visual.example.query is not None
    assert visual.example.query.key.endswith("bo/0.png")
    assert (visual.example.task, visual.example.present) == ("ask/visual", ("<bo>",))
    assert text.example.question.startswith("Is <bo>'s coat red? Risks aside.\nA. Yes")
    assert (text.example.query, text.example.task) == (None, "ask/text")
    assert (other.answer, other.example.question[:9]) == (2, "Is <mi> a")
    (reference,) = other.example.references
    assert (reference.name, reference.info) == ("<mi>", "<mi> is a pig.")
    assert len(published(tmp_path, visual=None)) == 2
    assert len(published(tmp_path, text=None)) == 1


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        (
            {"visual": changed(VISUAL, "bo/0.png/correct_answer", None)},
            r"visual.json, row 1 \('bo', './yollava-data/test/bo/0.png'\): the key"
            " 'correct_answer' is missing",
        ),
        (
            {"text": changed(TEXT, "mi/0/correct_answer", "D")},
            r"text.json, row 2 \('mi', '0'\), key 'correct_answer': 'D' is none of the options"
            " A, B, C; mend it",
        ),
        (
            {"text": changed(TEXT, "mi/0/option", {"A": "Dog", "C": "Pig"})},
            r"text.json, row 2 .*, key 'options': has A, C; there have to be two or more, A, B",
        ),
        (
            {"text": changed(TEXT, "mi/0/option", {"A": "Dog", "B": "dog"})},
            "key 'options': two are the same, or one is empty; reword one",
        ),
        (
            {"database": changed(DATABASE, "concept_dict/<mi>/info", " ")},
            "text.json, key 'mi': these are answered from the info, and the concept database has"
            " none of <mi>; write one",
        ),
        (
            {"text": {**TEXT, "ko": TEXT["mi"]}},
            r"text.json, key 'ko': <ko> is not in the concept database \(2 concepts\); add",
        ),
        ({"text": {}}, "text.json: holds no questions"),
        ({"text": None, "visual": None}, "visual and text are both null; name a file"),
        (
            {"visual": {"bo": {"./photos/bo/1.png": VISUAL["bo"][next(iter(VISUAL["bo"]))]}}},
            "row 1 .*has none of the folders",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_told(
    tmp_path: Path, files: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        published(tmp_path, **files)
