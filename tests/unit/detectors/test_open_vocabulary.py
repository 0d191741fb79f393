from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor, pipeline

from repic.detectors.open_vocabulary import OpenVocabularyDetector, as_query
from repic.rewards.recognition import RecognitionReward
from repic.toybox.dataset import CaptionDataset, SceneRules
from repic.types import Box, Example, Reference
from tests.tiny import build_llava
from tests.tiny_detectors import NUM_TOKENS, build_detector, load_detector

KINDS = ("owlvit", "owlv2", "grounding-dino", "mm-grounding-dino")
RULES = SceneRules(
    absent=(1, 1),
    lookalike=0.5,
    strangers=(0, 1),
    drop_image=0.0,
    drop_info=0.0,
    omit=0.0,
    swap=0.0,
)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("detectors")
    return {kind: build_detector(place / kind, kind=kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


def toys(size: int = 2) -> list[Example]:
    return list(
        CaptionDataset(
            "test", counts=[2], size=size, seed=0, rules=RULES, questions=["Who?"], scale=1.0
        )
    )


def make_detector(folder: Path | str, **changes: object) -> OpenVocabularyDetector:
    settings = dict(threshold=0.5, queries={}, names_as_queries=False, device="cpu", cache_size=8)
    return OpenVocabularyDetector(str(folder), **{**settings, **changes})


def loaded_detector(folder: Path, **changes: object) -> OpenVocabularyDetector:
    """One with a model that these tests share."""
    detector = make_detector(folder, **changes)
    detector._model = load_detector(folder)
    return detector


def count_looks(detector: OpenVocabularyDetector, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    looks: list[int] = []
    look = detector._model.look
    monkeypatch.setattr(detector._model, "look", lambda *given: (looks.append(1), look(*given))[1])
    return looks


def test_every_concept_has_its_best_box_inside_the_picture(folder: Path) -> None:
    detector = loaded_detector(folder)
    for example in toys():
        found = detector.detect(example)
        assert found is not None
        assert list(found) == list(example.pool)
        assert example.query is not None
        width, height = example.query.load().size
        for score, box in found.values():
            assert 0 < score < 1
            assert 0 <= box.x0 <= box.x1 <= width
            assert 0 <= box.y0 <= box.y1 <= height
        assert len({score for score, _ in found.values()}) == len(found)


def test_the_threshold_decides_who_is_there(folder: Path) -> None:
    (example,) = toys(1)
    detector = loaded_detector(folder)
    found = detector.detect(example)
    assert found is not None
    scores = sorted(score for score, _ in found.values())
    for threshold in scores:
        present = loaded_detector(folder, threshold=threshold)(example)
        assert present == {name for name, best in found.items() if best.score >= threshold}
        assert len(present) == len(scores) - scores.index(threshold)


def test_owl_agrees_with_the_librarys_own_pipeline(folder: Path) -> None:
    """The pipeline asks for one label at a time and rounds boxes down."""
    if "dino" in folder.name:
        pytest.skip("the pipeline does not put the full stop that Grounding DINO needs")
    (example,) = toys(1)
    assert example.query is not None
    queries = {
        name: f"a {word} bear"
        for name, word in zip(example.pool, "red big wet".split(), strict=True)
    }
    found = loaded_detector(folder, queries=queries).detect(example)
    assert found is not None
    picture = example.query.load()
    judge = pipeline("zero-shot-object-detection", model=str(folder), device="cpu")
    width, height = picture.size
    for name, (score, box) in found.items():
        best = judge(picture, candidate_labels=[queries[name]], threshold=0.0)[0]
        assert score == pytest.approx(best["score"], abs=1e-5)
        theirs = [best["box"][key] for key in ("xmin", "ymin", "xmax", "ymax")]
        inside = [min(max(x, 0), side) for x, side in zip(theirs, [width, height] * 2, strict=True)]
        assert list(box) == pytest.approx(inside, abs=1.01)


@pytest.mark.parametrize("kind", ["grounding-dino", "mm-grounding-dino"])
def test_grounding_dino_agrees_with_a_forward_pass_by_hand(
    folders: dict[str, Path], kind: str
) -> None:
    folder = folders[kind]
    (example,) = toys(1)
    assert example.query is not None
    picture = example.query.load()
    found = loaded_detector(folder, queries={example.pool[0]: "A Red bear. Or two."}).detect(
        example
    )
    assert found is not None
    model = AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    text = processor.tokenizer("a red bear.", return_tensors="pt")
    with torch.no_grad():
        outputs = model(**text, **processor.image_processor(picture, return_tensors="pt"))
    scores = outputs.logits[0].sigmoid().amax(dim=-1)
    x, y, width, height = outputs.pred_boxes[0, scores.argmax()].tolist()
    edges = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    score, box = found[example.pool[0]]
    assert score == pytest.approx(scores.max().item(), abs=1e-5)
    sides = [*picture.size, *picture.size]
    pixels = [min(max(e, 0), 1) * side for e, side in zip(edges, sides, strict=True)]
    assert list(box) == pytest.approx(pixels, abs=0.01)


def test_two_concepts_of_one_description_are_both_found(folder: Path) -> None:
    (example,) = toys(1)
    same = dict.fromkeys(example.pool, "a red bear")
    found = loaded_detector(folder, queries=same).detect(example)
    assert found is not None
    first, *others = found.values()
    assert all(other.score == pytest.approx(first.score, abs=1e-6) for other in others)


def test_a_picture_is_looked_at_once_for_a_group(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = loaded_detector(folders["owlvit"], cache_size=2)
    looks = count_looks(detector, monkeypatch)
    one, two, three = toys(3)
    reward = RecognitionReward(detector=detector, absent_cost=1.0, tasks=["caption"])
    for _ in range(8):
        reward("Here is <bo>.", one)
    assert len(looks) == 1
    detector(two)
    detector(one)  # now the latest
    assert len(looks) == 2
    detector(three)  # drops two, the oldest
    detector(one)
    assert len(looks) == 3
    detector(two)
    assert len(looks) == 4
    assert len(detector._seen) == 2


def test_the_same_picture_asked_about_others_is_another_question(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = loaded_detector(folders["owlvit"])
    looks = count_looks(detector, monkeypatch)
    (example,) = toys(1)
    fewer = replace(example, references=example.references[:1])
    every, one = detector.detect(example), detector.detect(fewer)
    assert every is not None
    assert one is not None
    assert len(looks) == 2
    assert one[fewer.pool[0]].score == pytest.approx(every[fewer.pool[0]].score, abs=1e-5)


def test_words_come_from_the_queries_then_the_info_then_the_name(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = toys(1)
    references = (
        Reference("<bo>", "A red bear. It sits.", None),
        Reference("<mo>", "a green cat", None),
        Reference("<pink_cup>", None, example.query),
    )
    example = replace(example, references=references)
    asked: list[tuple[str, ...]] = []
    model = load_detector(folders["owlvit"])
    look = model.look
    monkeypatch.setattr(model, "look", lambda p, q: (asked.append(q), look(p, q))[1])
    for names_as_queries in (True, False):
        settings = dict(queries={"<mo>": "a frog"}, names_as_queries=names_as_queries)
        detector = loaded_detector(folders["owlvit"], **settings)
        assert (detector(example) is None) == (not names_as_queries)
    assert asked == [("A red bear", "a frog", "pink cup")]


def test_who_cannot_be_told_about_is_not_judged(folders: dict[str, Path]) -> None:
    (example,) = toys(1)
    detector = loaded_detector(folders["owlvit"])
    reward = RecognitionReward(detector=detector, absent_cost=1.0, tasks=["caption"])
    value = reward("<bo>", replace(example, query=None))["recognition"]
    assert value != value
    assert detector(replace(example, references=())) == frozenset()


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("A baby. It sleeps.", "A baby"),
        ("<bo> is a 1.5 m tall cat!", "is a 1 5 m tall cat"),
        ("a striped red bear with a blue hat", "a striped red bear with a blue hat"),
        ("<black widow>", "black widow"),
        ("<billy_dog>", "billy dog"),
        ("", ""),
        (" <bo>. ", ""),
    ],
)
def test_queries_by_hand(text: str, query: str) -> None:
    assert as_query(text) == query


def test_a_long_query_is_cut_not_refused(folder: Path) -> None:
    (example,) = toys(1)
    queries = {example.pool[0]: "a very long story " * NUM_TOKENS}
    assert loaded_detector(folder, queries=queries).detect(example) is not None


def test_loading_leaves_the_random_numbers_alone(folder: Path) -> None:
    """A run that is resumed loads at another iteration, and should go on as if it had not."""
    (example,) = toys(1)
    detector = make_detector(folder)
    before = torch.get_rng_state()
    detector(example)
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_is_loaded_before_it_is_needed(folders: dict[str, Path]) -> None:
    detector = make_detector(folders["owlvit"])
    assert "_model" not in vars(detector)


def test_a_missing_directory_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^detector\.path: there is no directory .*nowhere$"):
        make_detector(tmp_path / "nowhere")


def test_a_hub_id_is_asked_for_when_it_is_needed() -> None:
    detector = make_detector("someone/no-such-detector")
    with pytest.raises(ValueError, match=r"^detector\.path: someone/no-such-detector is no dir"):
        detector(toys(1)[0])


def test_a_model_that_is_no_detector_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"detector\.path: .* is a llava, not one of owlvit, owlv2"
    ):
        make_detector(build_llava(tmp_path))


def test_boxes_are_of_the_packages_type(folders: dict[str, Path]) -> None:
    found = loaded_detector(folders["owlvit"]).detect(toys(1)[0])
    assert found is not None
    assert all(isinstance(best.box, Box) for best in found.values())
