import pytest

from repic.rewards.cider import CiderD
from repic.rewards.quality import QualityReward, count_bigrams, fluency
from repic.types import Example, Mention, Scene

SCENE = Scene((Mention({"colour": "red", "species": "bear"}, "<bo>"),), background="beach")
ANSWERS = ("A red bear, <bo>, on a beach.", "There is a red bear, <bo>.")
CORPUS = [["A blue cat, <mi>.", "There is a cat on a beach."], ["A red bear."], ["A dog."]]


def parse(text: str) -> Scene:
    """Every bear is a mention, red if the word stands before it; "beach" is the background."""
    mentions = [
        Mention({"species": "bear"} | ({"colour": "red"} if before.endswith("red ") else {}))
        for before in text.split("bear")[:-1]
    ]
    return Scene(tuple(mentions), "beach" if "beach" in text else None)


def make_example(
    task: str = "caption", answers: tuple[str, ...] = ANSWERS, scene: Scene | None = SCENE
) -> Example:
    return Example("x", task, (), None, "", "", answers, ("<bo>",), 1, scene)


REWARD = QualityReward(parser=parse, corpus=CORPUS, tasks=["caption"])


@pytest.mark.parametrize(
    ("caption", "precision", "recall"),
    [
        ("A red bear on a beach.", 1.0, 1.0),
        ("A red bear.", 1.0, 2 / 3),
        ("A bear.", 1.0, 1 / 3),
        ("A red bear, a red bear.", 0.5, 2 / 3),
        ("A red bear, a bear.", 2 / 3, 2 / 3),
        ("", 0.0, 0.0),
        ("Something.", 0.0, 0.0),
    ],
)
def test_facts_by_hand(caption: str, precision: float, recall: float) -> None:
    parts = REWARD(caption, make_example())
    assert parts["fact_precision"] == pytest.approx(precision)
    assert parts["fact_recall"] == pytest.approx(recall)


def test_cider_is_a_tenth_of_the_score_without_names() -> None:
    parts = REWARD(ANSWERS[0], make_example())
    nameless = ("A red bear, on a beach.", "There is a red bear.")
    assert parts["cider"] == REWARD.cider.score(nameless[0], nameless) / 10
    assert 0.3 < parts["cider"] <= 1
    assert REWARD(ANSWERS[0], make_example(answers=ANSWERS[:1]))["cider"] == pytest.approx(1)


@pytest.mark.parametrize(
    "caption",
    [
        "A red bear, <bo>, on a beach.",
        "A red bear, <mi>, on a beach.",
        "A red bear, <bo>'s <bo>, on a beach.",
        "A red bear, <Black Widow> </bo>, on a beach.",
        "A red bear, bo, on a beach.",
        "<bo> <bo> <mi> <zaza> A red bear on a beach.",
    ],
)
def test_who_is_named_is_no_part_of_quality(caption: str) -> None:
    assert REWARD(caption, make_example()) == REWARD("A red bear on a beach.", make_example())


def test_documents_are_counted_without_names() -> None:
    ngrams = REWARD.cider.document_frequencies
    assert ("blue", "cat") in ngrams
    assert not any("<" in word for ngram in ngrams for word in ngram)


def test_with_names_they_are_words_like_others_under_a_name_of_their_own() -> None:
    reward = QualityReward(parser=parse, corpus=CORPUS, tasks=["caption"], with_names=True)
    right, wrong = (reward(f"A red bear, {name}.", make_example()) for name in ("<bo>", "<mi>"))
    scorer = CiderD.from_corpus(CORPUS)
    assert right.pop("cider_with_names") == scorer.score("A red bear, <bo>.", ANSWERS) / 10
    assert wrong.pop("cider_with_names") < scorer.score("A red bear, <bo>.", ANSWERS) / 10
    assert right == wrong == REWARD("A red bear.", make_example())


KNOWN = {("a", "bear"), ("bear", "a"), ("bear", "<>"), ("bear", "sits")}


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A bear, <bo>.", 1.0),
        ("A bear, <never-seen>.", 1.0),  # a name is a name
        ("A bear! ", 1.0),
        ('"A bear?"', 1.0),
        ("A bear", 0.0),  # it does not end
        ("A bear,", 0.0),
        ("Bear.", 0.0),  # no two words
        ("", 0.0),
        (".", 0.0),
        ("Bear a bear sits.", 1.0),
        ("Sits bear a.", 0.5),  # nobody says "sits bear"
        ("A bear, a bear.", 2 / 3),  # a-bear twice
        ("A bear, a bear, a bear.", 2 / 5),  # a-bear three times, bear-a twice
        ("<a> <b> <c>.", 0.0),
    ],
)
def test_fluency_by_hand(caption: str, expected: float) -> None:
    assert fluency(caption, [], KNOWN) == pytest.approx(expected)


def test_what_answers_say_is_known_and_may_be_repeated_as_often_as_in_one_of_them() -> None:
    answers = ["A cat, a cat.", "A cat, a dog."]  # a-cat twice in the first, once in the second
    assert fluency("A cat, a cat.", answers, set()) == 1.0
    assert fluency("A cat, a cat, a cat.", answers, set()) == pytest.approx(3 / 5)


def test_answers_are_fluent() -> None:
    for answer in ANSWERS:
        assert REWARD(answer, make_example())["fluency"] == 1.0


def test_any_name_stands_for_every_name() -> None:
    assert count_bigrams("cat <a>, cat <b>") == {("cat", "<>"): 2, ("<>", "cat"): 1}


def test_bigrams_of_the_corpus_are_known_across_a_name() -> None:
    assert ("cat", "sits") in QualityReward(
        parser=parse, corpus=[["A cat, <mi>, sits."], ["A dog."]], tasks=[]
    ).bigrams


def test_the_corpus_is_read_once_and_not_before_it_is_needed() -> None:
    reads = []

    class Corpus:
        def __iter__(self):
            reads.append(1)
            return iter(CORPUS)

    reward = QualityReward(parser=parse, corpus=Corpus(), tasks=["caption"])
    reward("A cat.", make_example(task="same"))
    assert not reads
    reward("A cat.", make_example())
    reward("A dog.", make_example())
    assert len(reads) == 1


def test_without_a_corpus_only_what_has_no_answers_is_scored() -> None:
    reward = QualityReward(parser=parse, corpus=None, tasks=["caption"])
    assert set(reward("A bear.", make_example(answers=()))) == set(reward.components)
    with pytest.raises(ValueError, match=r"^data\.reward_corpus: null .* reward=none"):
        reward("A bear.", make_example())


@pytest.mark.parametrize(
    ("example", "missing"),
    [
        (make_example(), set()),
        (make_example(scene=None), {"fact_precision", "fact_recall"}),
        (make_example(answers=()), set(REWARD.components)),
        (make_example(task="locate"), set(REWARD.components)),
    ],
)
@pytest.mark.parametrize("caption", ["", "A red bear.", "<bo>", "???"])
def test_what_applies_depends_on_the_example_alone(
    example: Example, missing: set[str], caption: str
) -> None:
    parts = REWARD(caption, example)
    assert tuple(parts) == REWARD.components
    assert {name for name, value in parts.items() if value != value} == missing
    assert all(0 <= value <= 1 for value in parts.values() if value == value)
