"""Systems that are told of friends in other ways than by references, on one bench."""

import logging
from collections.abc import Iterator
from pathlib import Path
from weakref import WeakSet

import pytest

from repic.captioners.model import ModelCaptioner
from repic.metrics.caption_files import read_predictions
from repic.models.policy import Policy
from repic.toybox import cast
from tests.integration.small import start, summary_of
from tests.tiny import build_llava

CAST = ("method=zero_shot", "data=toybox_cast", "reward=none", "phase.evaluate.per_count=2")
FORMS = "no_references,as_text,montage"


def test_three_forms_of_zero_shot_are_rows_like_others(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("captioner=systems", f"method.evaluated=[base,{FORMS}]")
    questions = ("task=recognize", "data.recognize.questions.per_kind=2")
    alive, loaded = WeakSet[Policy](), ModelCaptioner.loaded
    most: list[int] = []

    def counted(self: ModelCaptioner) -> Policy:
        alive.add(policy := loaded(self))
        most.append(len(alive))
        return policy

    monkeypatch.setattr(ModelCaptioner, "loaded", counted)
    folder = start(model, tmp_path, *CAST, *given, *questions)
    assert set(most) == {1}  # models at a time
    summary = summary_of(folder)
    assert list(summary["metrics"]) == ["base", *FORMS.split(",")]
    assert summary["captioners"]["montage"]["label"] == "zero-shot, montage"
    tokens = {name: c["cost"]["prompt_tokens"] for name, c in summary["captioners"].items()}
    assert tokens["no_references"] == 0
    assert min(tokens["base"], tokens["as_text"]) > 0
    pictures = {name: c["cost"]["pictures"] for name, c in summary["captioners"].items()}
    assert pictures == {"base": 1, "no_references": 0, "as_text": 0, "montage": 1}
    # Nobody has become another: the page says how the model is, and no more.
    page = (folder / "report.html").read_text()
    assert "from " not in page.partition("Results")[0].partition("<body")[2]
    assert set(summary["recognition"]["base"]) == {
        *("positive", "lookalike", "random", "absent", "weighted", "neither")
    }
    assert "zero-shot, montage" in (folder / "recognition.md").read_text()
    by_example: dict[str, set[tuple[str, ...]]] = {}
    for prediction in read_predictions(folder):  # everybody is asked about the same scenes
        by_example.setdefault(prediction.phase, set()).add((prediction.id, *prediction.present))
    assert len({frozenset(asked) for asked in by_example.values()}) == 1


def test_who_answers_no_questions_is_left_out_with_a_word(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = (
        "method.evaluated=[name_everybody]",
        "task=recognize",
        "data.recognize.questions.per_kind=1",
    )
    with caplog.at_level(logging.INFO):
        folder = start(model, tmp_path, *CAST, *given)
    assert "name_everybody answers no questions" in caplog.text
    assert summary_of(folder)["recognition"] == {"name_everybody": None}
    other = ("captioner=systems", "method.evaluated=[montage]", "captioner.montage.on=sft")
    with pytest.raises(ValueError, match=r"captioner.montage.on: 'sft' is no model of .*: base"):
        start(model, tmp_path, *CAST, *other, name="other")
    alone = ("method=sft", "data=toybox_cast", "captioner=yollava", "data.friends.negatives=0")
    with pytest.raises(ValueError, match=r"Yo'LLaVA learns who is not <.*; raise data.friends.neg"):
        start(model, tmp_path, *alone, "method.evaluated=[sft,yollava]", name="alone")
    assert not list(tmp_path.rglob("*.safetensors"))  # before anything is trained
    with pytest.raises(ValueError, match="has no yes-or-no questions; use data=toybox_cast, dream"):
        start(model, tmp_path, "method=zero_shot", "task=recognize", name="elsewhere")


def test_questions_with_options_stand_beside_three_controls(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = ("method.evaluated=[base,name_everybody]", "phase.evaluate.per_count=1")
    questions = ("task=ask", "data.ask.questions.per_kind=4", "metrics.counts=[1]")
    with caplog.at_level(logging.INFO):
        folder = start(model, tmp_path, *CAST, *given, *questions)
    assert "name_everybody answers no questions" in caplog.text
    summary = summary_of(folder)
    assert summary["choices"]["data"] == "toybox_cast"
    found = summary["questions"]
    assert found["name_everybody"] is None
    assert set(found["base"]) == {"whole", "no_picture", "no_references", "anothers"}
    assert set(found["base"]["whole"]) == {"visual", "text", "mean", "no choice"}
    assert set(found["base"]["no_picture"]) == {"visual", "no choice"}
    table = (folder / "questions.md").read_text()
    assert "| base model, with another's reference |" in table
    assert "| guessing |" in table
    page = (folder / "report.html").read_text()
    assert page.count("base model, without references") == 1
    with pytest.raises(ValueError, match="task: this data has no questions to choose an answer to"):
        start(model, tmp_path, "method=zero_shot", "task=ask", name="elsewhere")


FEW = (
    *("data.friends.pictures=2", "data.friends.negatives=1", "metrics.counts=[1]"),
    *("task=recognize", "data.recognize.questions.per_kind=1"),
    *("captioner.myvlm.head.steps=2", "captioner.myvlm.head.views=1"),
    *("captioner.myvlm.vector.steps=1", "captioner.myvlm.embedder.side=28"),
    *(
        f"captioner.{system}.{key}"
        for system in ("yollava", "mcllava")
        for key in (
            *("num_tokens=2", "epochs=1"),
            *(
                f"lessons.{kind}=1"
                for kind in ("positives", "lookalikes", "others", "captions", "texts")
            ),
        )
    ),
    "captioner.mcllava.lessons.companions=1",
)


LEARNING = ("myvlm", "yollava", "mcllava")


@pytest.fixture
def few_friends(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A cast of fewer than forty, which takes as much less time to learn; how many they are."""
    monkeypatch.setattr(cast, "SIZE", 12)
    cast.members.cache_clear()
    yield cast.SIZE
    cast.members.cache_clear()


@pytest.mark.slow
@pytest.mark.usefixtures("few_friends")
def test_every_system_runs_on_the_class_of_llava_with_the_published_settings(
    tmp_path: Path,
) -> None:
    """But for sizes; the other tests here are on Qwen2.5-VL's."""
    model = build_llava(tmp_path / "model")
    given = (
        *("+experiment=systems_llava_7b", "reward=none", "data.scale=1", *FEW),
        *("phase.evaluate.per_count=1", "captioner.rap.retriever.embedder.side=28"),
        f"method.evaluated=[base,{FORMS},{','.join(LEARNING)},rap]",
    )
    summary = summary_of(start(model, tmp_path, *given))
    found = {name: one["cost"]["pictures"] for name, one in summary["captioners"].items()}
    assert found == {"base": 1, "no_references": 0, "as_text": 0, "montage": 1,
                     **dict.fromkeys(LEARNING, 2), "rap": 1}  # fmt: skip
    assert summary["recognition"].keys() == summary["metrics"].keys() == found.keys()


@pytest.mark.slow
def test_a_system_learns_each_friend_once_and_is_a_row_like_others(
    model: Path, tmp_path: Path, few_friends: int
) -> None:
    given = (*CAST, *FEW, "captioner=systems", f"method.evaluated=[base,{','.join(LEARNING)}]")
    first = summary_of(start(model, tmp_path, *given))
    table = (tmp_path / "run/seed_0/costs.md").read_text()
    for system in LEARNING:
        cost = first["captioners"][system]["cost"]
        assert cost["pictures"] == 2
        assert min(cost["seconds"], cost["parameters"], cost["bytes"]) > 0
        assert f"| {cost['parameters']} |" in table
    states = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache/friends").glob("*.saf*")}
    assert len(states) == few_friends * len(LEARNING)
    again = ("phase.evaluate.sampling.max_new_tokens=4", "phase.evaluate.seed=3")
    second = summary_of(start(model, tmp_path, *given, *again, name="again"))
    assert {path: path.stat().st_mtime_ns for path in states} == states
    assert len(list((tmp_path / "cache/friends").glob("*.saf*"))) == len(states)
    for system in LEARNING:
        costs = [one["captioners"][system]["cost"] for one in (first, second)]
        assert costs[0]["seconds"] == costs[1]["seconds"]
    alone = ("captioner=myvlm", "method.evaluated=[myvlm]")
    with pytest.raises(ValueError, match=r"captioner.myvlm learns friends, and this data has"):
        start(model, tmp_path, "method=zero_shot", *alone, name="elsewhere")
    many = ("data.friends.pictures=2", "captioner.myvlm.needs=3")
    with pytest.raises(
        ValueError, match=r"<.*> has 2 pictures .*myvlm needs 3; raise data.friends.pictures"
    ):
        start(model, tmp_path, *CAST, *alone, *many, name="many")
