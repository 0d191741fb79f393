"""Photos to learn from and photos to ask about are different ones, whatever the layout."""

import json
from pathlib import Path
from typing import Any

import pytest

from repic.data.enrolment import PhotoQuestions, photo_friends
from repic.data.images import FileImage
from repic.data.personal import PhotoDataset
from repic.types import Friend, ImageSource
from tests.photos import Collection, draw_collection, photo


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    """Two dogs more than photos of each: bo, mi and lu are dogs, jug and pot vases."""
    return draw_collection(tmp_path)


def learn(collection: Collection, **changes: Any) -> dict[str, Friend]:
    given = collection.write()
    asked = {"pictures": 1, "draw": None, "learn_from": None, "negatives": 3, **changes}
    asked.setdefault("captions", ["A {category}, {name}."])
    keys = ("root", "database", "queries", "folders", "how_to_get")
    friends = photo_friends(**{key: given[key] for key in keys}, **asked)
    return {friend.name: friend for friend in friends}


def names_of(pictures: tuple[ImageSource, ...]) -> list[str]:
    assert all(isinstance(picture, FileImage) for picture in pictures)
    return ["/".join(Path(picture.key).parts[-2:]) for picture in pictures]


def shown(friend: Friend) -> list[str]:
    return names_of(tuple(shot.image for shot in friend.shots))


def test_the_first_photos_are_learnt_from_and_the_others_asked_about(
    collection: Collection,
) -> None:
    friends = learn(collection)
    assert list(friends) == ["<bo>", "<mi>", "<lu>", "<jug>", "<pot>"]
    bo = friends["<bo>"]
    assert shown(bo) == ["bo/00.jpg"]
    assert bo.shots[0].captions == ("A dog, <bo>.",)
    assert (bo.category, bo.info) == ("dog", "<bo> is shade 0.")
    assert names_of(bo.lookalikes) == ["mi/00.jpg", "lu/00.jpg"]
    assert names_of(bo.others) == ["jug/00.jpg", "pot/00.jpg"]
    asked = PhotoDataset(**{**collection.write(), "learnt": 1})
    learnt = {name for friend in friends.values() for name in shown(friend)}
    queries = [e.query for e in asked if e.query is not None]
    assert names_of(tuple(queries)) == [f"{n}/01.jpg" for n in ("bo", "mi", "lu", "jug", "pot")]
    assert learnt.isdisjoint(names_of(tuple(queries)))
    assert len(PhotoDataset(**collection.write())) == 10  # RePIC's evaluation asks about all
    with pytest.raises(ValueError, match=r"pictures: <bo> has no photo left .* all 2 are learnt"):
        PhotoDataset(**{**collection.write(), "learnt": 2})


def test_what_is_drawn_to_learn_from_is_not_asked_about(collection: Collection) -> None:
    draws = [learn(collection, draw=seed) for seed in range(4)]
    assert len({str([shown(f) for f in friends.values()]) for friends in draws}) > 1
    for seed, friends in enumerate(draws):
        asked = PhotoDataset(**{**collection.write(), "learnt": 1, "draw": seed})
        photos = [*(s for f in friends.values() for s in shown(f))]
        photos += names_of(tuple(e.query for e in asked if e.query is not None))
        assert len(set(photos)) == len(photos) == 10
    assert len(learn(collection, pictures=9, draw=1)["<bo>"].shots) == 2


def test_a_folder_of_its_own_with_negatives_as_yollava_s(collection: Collection) -> None:
    for number in (10, 2, 1):
        photo(collection.root / f"train/bo/{number}.png", number)
    photo(collection.root / "train/bo/negative_example/x.png", 90)
    (collection.root / "train/bo/negative_example/scores.json").write_text("{}")
    photo(collection.root / "train/mi/0.png", 50)
    friends = learn(collection, learn_from="train", pictures=5)
    assert shown(friends["<bo>"]) == ["bo/1.png", "bo/2.png", "bo/10.png"]
    assert names_of(friends["<bo>"].lookalikes) == ["negative_example/x.png"]
    assert friends["<jug>"].shots == ()
    assert names_of(friends["<mi>"].lookalikes) == ["bo/1.png", "bo/2.png", "bo/10.png"]


def test_captions_beside_the_photos_are_taken_for_what_names_the_friend(
    collection: Collection,
) -> None:
    said = {"00.jpg": ["bo on a sofa", "somebody"], "01.jpg": ["a dog"]}
    (collection.root / "photos/bo/captions.json").write_text(json.dumps(said))
    shots = learn(collection, pictures=2)["<bo>"].shots
    assert [shot.captions for shot in shots] == [("<bo> on a sofa",), ("A dog, <bo>.",)]
    better = {"00.jpg": ["bo asleep", "bo awake"]}
    (collection.root / "photos/bo/captions_augmented.json").write_text(json.dumps(better))
    (shot,) = learn(collection)["<bo>"].shots
    assert shot.captions == ("<bo> asleep", "<bo> awake")
    (collection.root / "photos/bo/captions_augmented.json").write_text("[]")
    with pytest.raises(ValueError, match=r"captions_augmented.json: "):
        learn(collection)


def test_photos_that_are_missing_are_not_learnt_from(collection: Collection) -> None:
    (collection.root / "photos/bo/00.jpg").unlink()
    assert learn(collection)["<bo>"].shots == ()


def test_what_is_to_be_learnt_from_is_missed_before_anybody_learns_less(
    collection: Collection,
) -> None:
    (collection.root / "photos/bo/00.jpg").unlink()
    given = {**collection.write(), "learnt": 1}
    with pytest.raises(ValueError, match=r"\(.*, 1 of 5 photos to learn from\): .*/bo/00.jpg"):
        PhotoDataset(**given)
    assert len(PhotoDataset(**{**given, "missing": "skip"})) == 5
    with pytest.raises(ValueError, match=r"learn_from: there is no folder .*/train\.\nDownload"):
        learn(collection, learn_from="train")


def questions(collection: Collection, **changes: Any) -> list[Any]:
    given = collection.write()
    keys = ("root", "name", "database", "queries", "folders", "missing", "how_to_get")
    asked = {"per_kind": 5, "seed": 0, "question": "Is it {name}?", "learnt": 1, "draw": None}
    found = PhotoQuestions(**{key: given[key] for key in keys}, **{**asked, **changes})
    return [found[i] for i in range(len(found))]


def test_questions_are_about_photos_that_nobody_has_learnt_from(collection: Collection) -> None:
    found = questions(collection)
    kinds = [example.task for example in found]
    assert kinds == [f"recognize/{kind}" for kind in ("positive", "lookalike", "random")
                     for _ in range(5)]  # fmt: skip
    assert len({example.id for example in found}) == 15
    folders = {"<bo>": "dog", "<mi>": "dog", "<lu>": "dog", "<jug>": "vase", "<pot>": "vase"}
    for example in found:
        (asked,) = example.pool
        (photo_of,) = names_of((example.query,))
        who, number = photo_of.split("/")
        assert number == "01.jpg"
        assert example.question == f"Is it {asked}?"
        is_same = f"<{who}>" == asked
        assert example.target == ("yes" if is_same else "no")
        same_category = folders[f"<{who}>"] == folders[asked]
        kind = "positive" if is_same else "lookalike" if same_category else "random"
        assert example.task == f"recognize/{kind}"
    assert {example.pool for example in found[:5]} == {(name,) for name in folders}
    assert questions(collection, seed=1) != found
    for wrong, said in (
        ("Is it?", r"lacks \{name\}"),
        ("Is {name} {there}?", r"may have the fields \{name\}"),
    ):
        with pytest.raises(ValueError, match=rf"questions\.question: '.*' {said}"):
            questions(collection, question=wrong)
    with pytest.raises(ValueError, match=r"data\.friends\.captions: '.*' may have the fields"):
        learn(collection, captions=["A photo of {nmae}."])
