import random
from collections.abc import Sequence
from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.judges.questions import LanguageScores
from repic.rewards.language import LanguageReward
from repic.rewards.language_rules import LanguageRules
from repic.toybox.grammar import parse_caption, write_captions
from repic.types import Example, Scene
from tests.unit.rewards.test_claims import SCENE, rollout, worlds

ANSWERS = write_captions(SCENE)


def rules(corpus: Sequence[Sequence[str]] = (ANSWERS,)) -> LanguageRules:
    return LanguageRules(
        parser=parse_caption,
        corpus=corpus,
        verbs=["are", "is", "see", "sits", "stands"],
        place="position",
        order=["left", "middle", "right"],
    )


def example(scene: Scene | None = SCENE, answers: tuple[str, ...] = ANSWERS) -> Example:
    return Example("", "caption", (), None, "", "", answers, (), 1, scene)


def scores(
    caption: str, scene: Scene = SCENE, answers: tuple[str, ...] | None = None
) -> LanguageScores:
    answers = answers or write_captions(scene)
    (found,) = rules([answers]).assess([caption], [example(scene, answers)])
    return found


LEFT, RIGHT = "On the left stands a red bear, <bo>.", "On the right stands a cat."
# (clear, coherent) of so many mentions and sentences.
BY_HAND = {
    f"{LEFT} {RIGHT}": (4, 4, 4),
    f"{RIGHT} {LEFT}": (4, 4, 4),  # from right to left is as good
    f"{LEFT} {RIGHT} {LEFT}": (6, 4, 6),  # said again: a sentence, and a mention
    f"{LEFT} {RIGHT} On the left stands a bear.": (6, 5, 6),  # turns back
    f"{LEFT} On the left is a bear, <bo>.": (4, 3, 4),  # the name is taken
    "A bear. a cat sits here. A bear sits": (3, 5, 6),  # no verb; no capital; no end; said again
    "<bo> is here.": (1, 1, 1),
    "Cosy.": (0, 1, 1),
}


@pytest.mark.parametrize("caption", BY_HAND)
def test_clarity_and_coherence_by_hand(caption: str) -> None:
    clear, coherent, total = BY_HAND[caption]
    found = scores(caption)
    assert found.clarity == pytest.approx(clear / total)
    assert found.coherence == pytest.approx(coherent / total)


CLEAR = {
    "A bear sits here.": 0.5,
    "A bear is on the left.": 1.0,
    "A dog is here.": 1.0,  # whether it is there is another matter
}


def test_a_description_that_fits_two_is_not_clear() -> None:
    twins = parse_caption("A red bear on the left, a red bear with a blue hat on the right.")
    clarity = {text: scores(text, twins, ANSWERS).clarity for text in CLEAR}
    assert clarity == CLEAR


def test_fluency_is_the_share_of_known_pairs() -> None:
    found = scores("The toys are cosy.")
    assert found.fluency == pytest.approx(2 / 3)
    assert scores("The toys are cosy").fluency == 0


@given(worlds, st.integers(0, 4))
def test_reference_captions_are_well_written(scene: Scene, style: int) -> None:
    ordered = sorted(
        {m.name or str(m.attributes): m for m in scene.mentions}.values(),
        key=lambda m: ["left", "middle", "right"].index(m.attributes["position"]),
    )
    scene = Scene(tuple(ordered), scene.background)
    assert scores(write_captions(scene)[style], scene) == LanguageScores(1.0, 1.0, 1.0)


words = st.sampled_from("a red bear sits on the left , <bo> . cosy On".split())


@given(st.lists(words, max_size=25).map(" ".join))
def test_scores_are_shares(caption: str) -> None:
    assert all(0 <= part <= 1 for part in astuple(scores(caption)))


@given(worlds, st.integers(0, 99))
def test_words_in_any_order_are_written_worse(scene: Scene, seed: int) -> None:
    caption = write_captions(scene)[4]
    shuffled = caption.split()
    random.Random(seed).shuffle(shuffled)
    assert scores(" ".join(shuffled), scene).mean < scores(caption, scene).mean


@given(worlds)
def test_repetition_is_written_worse(scene: Scene) -> None:
    caption = write_captions(scene)[4]
    once, twice = scores(caption, scene), scores(f"{caption} {caption}", scene)
    assert twice.fluency < once.fluency
    assert twice.coherence < once.coherence


@pytest.mark.parametrize("caption", ["", "  \n", "...", "!"])
def test_no_words_no_language(caption: str) -> None:
    assert scores(caption) == LanguageScores(0.0, 0.0, 0.0)


class Told:
    """A source that knows one caption."""

    def applies(self, example: Example) -> bool:
        return bool(example.answers)

    def assess(
        self, captions: Sequence[str], examples: Sequence[Example]
    ) -> list[LanguageScores | None]:
        return [LanguageScores(1.0, 0.5, 0.0) if text == "known" else None for text in captions]

    def take_counts(self) -> dict[str, float]:
        return {"questions": 2.0}


def test_the_reward_is_the_mean_and_keeps_the_parts() -> None:
    asked = [rollout("known", example()), rollout("lost", example())]
    batch = LanguageReward(source=Told(), tasks=["caption"]).score(
        [*asked, rollout("known", example(answers=()))]
    )
    assert batch.names[0] == "language"
    assert batch.names[1:] == ("language_clarity", "language_fluency", "language_coherence")
    assert batch.values[0].tolist() == [0.5, 1.0, 0.5, 0.0]
    assert batch.values[1:].isnan().all()
    assert batch.failed is not None
    assert batch.failed.any(dim=1).tolist() == [False, True, False]
    assert batch.failed[1].all()


def test_rules_apply_where_the_scene_and_answers_are_known() -> None:
    assert rules().applies(example())
    assert not rules().applies(example(scene=None))
    assert not rules().applies(example(answers=()))
