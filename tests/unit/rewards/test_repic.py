"""RePIC's rewards: cases worked by hand from the paper's equations and what its script does."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.parsing import parse_box, parse_whole_box, parse_yes_no, parse_yes_no_anywhere
from repic.rewards.identity import IdentityReward
from repic.rewards.localization import LocalizationReward, released_iou
from repic.rewards.object_consistency import ObjectConsistencyReward
from repic.types import Box, Example

OCT = ObjectConsistencyReward(parser=parse_yes_no_anywhere, tasks=["same"])
OCT_WORDS = ObjectConsistencyReward(parser=parse_yes_no, tasks=["same"])
VLT = LocalizationReward(parser=parse_whole_box, iou=released_iou, threshold=0.5, tasks=["locate"])
ICT = IdentityReward(tasks=["caption"])


def example(task: str, target: str = "", present: tuple[str, ...] = ()) -> Example:
    return Example("x7", task, (), None, "", target, (), present, len(present))


@pytest.mark.parametrize(
    ("answer", "released", "words"),
    [
        ("Yes.", 1, 1),
        ("no", 0, 0),
        ("", 0, 0),
        ("perhaps", 0, 0),
        ("The eyes match", 1, 0),
        ("I know: yes", 0, 1),
        ("YES, no", 1, 1),
    ],
)
def test_object_consistency_by_hand(answer: str, released: int, words: int) -> None:
    question = example("same", "yes")
    assert OCT(answer, question) == {"object_consistency": released}
    assert OCT_WORDS(answer, question) == {"object_consistency": words}


@given(st.text(), st.sampled_from(["yes", "no"]))
def test_object_consistency_never_pays_for_both_truths(answer: str, truth: str) -> None:
    for reward in (OCT, OCT_WORDS):
        paid = [reward(answer, example("same", t))["object_consistency"] for t in ("yes", "no")]
        assert sum(paid) <= 1
    assert OCT(truth, example("same", truth))["object_consistency"] == 1


def test_a_target_that_is_no_truth_is_named() -> None:
    with pytest.raises(ValueError, match="x7: the target 'maybe' says neither yes nor no"):
        OCT("yes", example("same", "maybe"))
    with pytest.raises(ValueError, match="x7: the target 'there' is not a box"):
        VLT("[1, 2, 3, 4]", example("locate", "there"))


# The first box is [0, 0, 10, 10]: what is common, what the union is, and what is paid.
@pytest.mark.parametrize(
    ("answer", "released", "exact"),
    [
        ("[0, 0, 10, 10]", 1.0, 1.0),
        ("the bear is at [0,0,10,5].", 0.5, 0.5),
        ("[0, 0, 10, 4]", 0.4, 0.4),
        ("[5, 0, 15, 10]", 50 / 150, 50 / 150),
        ("[9, 0, 19, 10]", 0.0, 10 / 190),  # a strip of one pixel
        ("[0, 0, 10, 1]", 0.0, 0.1),
        ("[20, 20, 30, 30]", 0.0, 0.0),
        ("[10, 10, 0, 0]", 0.0, 0.0),
        ("[5, 5, 5, 5]", 0.0, 0.0),
    ],
)
def test_iou_by_hand(answer: str, released: float, exact: float) -> None:
    truth, said = Box(0.0, 0.0, 10.0, 10.0), parse_whole_box(answer)
    assert said is not None
    assert released_iou(said, truth) == pytest.approx(released)
    assert said.iou(truth) == pytest.approx(exact)
    paid = VLT(answer, example("locate", "[0, 0, 10, 10]"))["localization"]
    assert paid == float(released >= 0.5)


def test_how_boxes_are_read() -> None:
    where = example("locate", "[0, 0, 10, 10]")
    assert VLT("[0, 0, 10, 9.5]", where)["localization"] == 0  # whole numbers only
    assert VLT("[-1, 0, 10, 10]", where)["localization"] == 0
    assert VLT('{"bbox_2d": [0, 0, 10, 10]} or [50, 50, 60, 60]', where)["localization"] == 1
    assert VLT("[50, 50, 60, 60] or [0, 0, 10, 10]", where)["localization"] == 0  # the first one
    assert VLT("nowhere", where)["localization"] == 0
    over_the_edge = example("locate", "[-1, 79, 61, 141]")  # a truth may be what no answer is
    assert VLT("[0, 79, 61, 141]", over_the_edge)["localization"] == 1
    corrected = LocalizationReward(parser=parse_box, iou=Box.iou, threshold=0.9, tasks=["locate"])
    assert corrected("[0, 0, 10, 9.5]", where)["localization"] == 1
    assert corrected("[0, 0, 10, 8]", where)["localization"] == 0


side = st.integers(min_value=0, max_value=40).map(float)
boxes = st.builds(lambda x, y, w, h: Box(x, y, x + w, y + h), side, side, side, side)


def painted_iou(a: Box, b: Box) -> float:
    """By counting pixels."""
    one, other = (
        {(x, y) for x in range(int(c.x0), int(c.x1)) for y in range(int(c.y0), int(c.y1))}
        for c in (a, b)
    )
    return len(one & other) / max(len(one | other), 1)


@given(boxes, boxes)
def test_iou_is_what_counting_pixels_gives(a: Box, b: Box) -> None:
    assert a.iou(b) == pytest.approx(painted_iou(a, b))
    width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
    is_thin = width < 2 or height < 2
    assert released_iou(a, b) == pytest.approx(0.0 if is_thin else painted_iou(a, b))


@given(boxes, boxes)
def test_iou_is_symmetric_and_a_share(a: Box, b: Box) -> None:
    for iou in (Box.iou, released_iou):
        assert iou(a, b) == iou(b, a)
        assert 0 <= iou(a, b) <= 1


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A bear, <bo>, sits.", 1),
        ("A bear, bo, sits.", 0),
        ("A bear, <Bo>, sits.", 0),
        ("<bo> sits </bo>", 0),
        ("<bo> and </mi>", 1),
        ("<<bo>>", 1),
        ("<bo", 0),
        ("", 0),
    ],
)
def test_single_identity_by_hand(caption: str, expected: int) -> None:
    parts = ICT(caption, example("caption", present=("<bo>",)))
    assert parts["single_identity"] == expected
    assert math.isnan(parts["multi_identity"])


@pytest.mark.parametrize(
    ("caption", "expected"),
    [("<bo> <mi> <lu>", 1.0), ("<bo> </bo> and <mi>", 2 / 3), ("<bo> <bo> <bo>", 1 / 3), ("", 0.0)],
)
def test_multi_identity_by_hand(caption: str, expected: float) -> None:
    parts = ICT(caption, example("caption", present=("<bo>", "<mi>", "<lu>")))
    assert parts["multi_identity"] == pytest.approx(expected)
    assert math.isnan(parts["single_identity"])


def test_one_sample_has_one_kind_of_reward() -> None:
    samples = [
        example("same", "yes"),
        example("locate", "[0, 0, 9, 9]"),
        example("caption", present=("<bo>",)),
        example("caption", present=("<bo>", "<mi>")),
    ]
    for sample in samples:
        parts = {**OCT("yes", sample), **VLT("yes", sample), **ICT("yes", sample)}
        assert sum(not math.isnan(value) for value in parts.values()) == 1
    assert all(math.isnan(value) for value in ICT("<bo>", example("caption")).values())
