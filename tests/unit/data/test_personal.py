import shutil
from collections import Counter

import pytest

from repic.data import inventory
from repic.data.personal import PhotoDataset


def test_a_photo_is_asked_about_with_the_published_reference(collection) -> None:
    example = PhotoDataset(**collection.write())[3]
    assert example.query.key == str(collection.root / "photos/mi/01.jpg")
    (reference,) = example.references
    assert (reference.name, reference.info) == ("<mi>", "<mi> is shade 1.")
    assert reference.image.key == str(collection.root / "real/crops/mi.jpg")
    assert reference.image.load().size == (12, 8)
    assert example.present == example.pool == ("<mi>",)
    assert (example.task, example.num_concepts, example.answers) == ("caption", 1, ())
    assert example.scene is None
    assert example.question == "Who is there?"
    assert example.id == "dreambooth/4/mi/01.jpg"


def test_questions_take_turns_and_every_row_is_there(collection) -> None:
    examples = list(PhotoDataset(**collection.write()))
    assert [e.question for e in examples] == ["What is there?", "Who is there?"] * 5
    assert len({e.id for e in examples}) == 10
    assert Counter(e.present for e in examples) == {(n,): 2 for n in collection.database}


def test_a_photo_of_two_introduces_both(collection) -> None:
    collection.queries["./data/dreambooth/mi/01.jpg"] = ["<mi>", "<jug>"]
    example = PhotoDataset(**collection.write())[3]
    assert example.present == example.pool == ("<mi>", "<jug>")
    assert example.num_concepts == 2


def test_absent_references_are_of_the_same_category_first(collection) -> None:
    arguments = {**collection.write(), "num_absent": 2}
    for example in PhotoDataset(**arguments):
        absent = set(example.pool) - set(example.present)
        assert len(example.references) == len(set(example.pool)) == 3
        assert len(absent) == 2
        assert example.num_concepts == 1
        category = collection.database[example.present[0]]["category"]
        same = [n for n in absent if collection.database[n]["category"] == category]
        assert len(same) == (2 if category == "dog" else 1)


def test_absent_references_follow_from_the_seed_alone(collection) -> None:
    def pools(**changes: object) -> list[tuple[str, ...]]:
        arguments = {**collection.write(), "num_absent": 2, **changes}
        return [example.pool for example in PhotoDataset(**arguments)]

    assert pools() == pools()
    assert pools() != pools(seed=1)
    # Each photo draws for itself: the vases' third reference, a dog, is not always the same one.
    assert len({name for pool in pools()[6:] for name in pool} & {"<bo>", "<mi>", "<lu>"}) > 1
    # A shorter run asks the same of the photos that it takes.
    assert pools(size=5) == pools()[::2]


def test_the_one_who_is_present_stands_anywhere_among_the_references(collection) -> None:
    dataset = PhotoDataset(**{**collection.write(), "num_absent": 2})
    assert {e.pool.index(e.present[0]) for e in dataset} == {0, 1, 2}


def test_a_size_takes_photos_from_all_over_the_file(collection) -> None:
    dataset = PhotoDataset(**{**collection.write(), "size": 3})
    assert [example.id.split("/")[1] for example in dataset] == ["1", "4", "7"]
    with pytest.raises(IndexError):
        dataset[3]


def test_a_size_beyond_the_file_takes_all_of_it(collection) -> None:
    arguments = collection.write()
    every = [example.id for example in PhotoDataset(**arguments)]
    assert [e.id for e in PhotoDataset(**{**arguments, "size": 500})] == every


def test_counts_choose_photos_before_the_size_does(collection) -> None:
    for row in (0, 4, 8):
        path = list(collection.queries)[row]
        collection.queries[path] = ["<bo>", "<jug>"]
    arguments = collection.write()

    def rows(**changes: object) -> list[str]:
        return [e.id.split("/")[1] for e in PhotoDataset(**{**arguments, **changes})]

    assert rows(counts=[2]) == ["1", "5", "9"]
    assert rows(counts=[2], size=2) == ["1", "5"]
    assert len(rows(counts=[1])) == 7
    assert rows(counts=[3], size=2) == []


@pytest.mark.parametrize("root", [None, "", "nowhere"])
def test_a_missing_root_says_what_to_download(collection, root) -> None:
    with pytest.raises(ValueError, match=r"^data\.root: .*Download it from the moon\."):
        PhotoDataset(**{**collection.write(), "root": root})


def lose(collection, *files: str) -> None:
    for file in files:
        (collection.root / file).unlink()


def test_missing_files_are_counted_and_refused_together(collection) -> None:
    arguments = collection.write()
    shutil.rmtree(collection.root / "photos")
    lose(collection, "real/crops/mi.jpg")
    with pytest.raises(ValueError, match=r"Download it from the moon") as raised:
        PhotoDataset(**arguments)
    told = str(raised.value)
    assert "(1 of 5 database pictures, 10 of 10 query photos)" in told
    assert "real/crops/mi.jpg, " in told
    assert "photos/bo/01.jpg and 8 more" in told
    assert "data.missing=skip" in told


def test_prompts_without_their_photo_or_a_reference_are_skipped_aloud(collection, caplog) -> None:
    inventory.tell_left_out.cache_clear()
    collection.queries["./data/dreambooth/jug/01.jpg"] = ["<jug>", "<mi>"]
    arguments = {**collection.write(), "missing": "skip", "num_absent": 3}
    lose(collection, "real/crops/mi.jpg", "photos/bo/00.jpg")
    for _ in range(2):
        dataset = PhotoDataset(**arguments)
    ids = [example.id.split("/")[1] for example in dataset]
    assert ids == ["2", "5", "6", "7", "9", "10"]
    assert [reference.name for reference in dataset.database] == ["<bo>", "<lu>", "<jug>", "<pot>"]
    assert all("<mi>" not in example.pool for example in dataset)
    # The question stays that of the photo's row in the file.
    assert dataset[1].question == "What is there?"
    assert caplog.text.count("4 of 10 prompts of dreambooth are left out") == 1
    assert len(dataset.inventory.targets) == 10
    assert {role: len(paths) for role, paths in dataset.inventory.missing().items()} == {
        "database pictures": 1,
        "query photos": 1,
    }


def test_a_folder_is_no_photo(collection) -> None:
    arguments = collection.write()
    lose(collection, "photos/mi/01.jpg")
    (collection.root / "photos/mi/01.jpg").mkdir()
    with pytest.raises(ValueError, match="1 of 10 query photos"):
        PhotoDataset(**arguments)


def test_the_database_has_every_concept_in_the_files_order(collection) -> None:
    collection.queries = {"./data/dreambooth/mi/01.jpg": ["<mi>"]}
    dataset = PhotoDataset(**collection.write())
    assert [reference.name for reference in dataset.database] == list(collection.database)
    assert dataset.database[1] == dataset[0].references[0]


def test_several_prompts_about_a_photo_have_ids_and_questions_of_their_own(collection) -> None:
    trio = [["<mi>", "<bo>"], ["<mi>", "<lu>"], ["<mi>", "<jug>"]]
    collection.queries = {
        "./data/dreambooth/mi/01.jpg": trio,
        "./data/dreambooth/bo/01.jpg": [["<bo>"]],
    }
    arguments = {**collection.write(), "name": "repic_4"}
    examples = list(PhotoDataset(**arguments))
    assert [e.id for e in examples] == [
        *(f"repic_4/1.{i}/mi/01.jpg" for i in (1, 2, 3)),
        "repic_4/2.1/bo/01.jpg",
    ]
    assert [list(e.present) for e in examples] == [*trio, ["<bo>"]]
    # Introduced in the database's order, as by the released script.
    assert [list(e.pool) for e in examples][:2] == [["<bo>", "<mi>"], ["<mi>", "<lu>"]]
    assert [e.question for e in examples] == ["What is there?", "Who is there?"] * 2
    assert len(PhotoDataset(**{**arguments, "counts": [2]})) == 3


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"num_absent": 5}, "num_absent: 5 is not possible: the database has 4 concepts besides"),
    ],
)
def test_an_impossible_setting_is_refused(collection, change, complaint) -> None:
    with pytest.raises(ValueError, match=complaint):
        PhotoDataset(**{**collection.write(), **change})


def test_more_than_five_concepts_are_refused(collection) -> None:
    collection.database["<extra>"] = collection.database["<bo>"]
    collection.queries["./data/dreambooth/mi/01.jpg"] = list(collection.database)
    with pytest.raises(ValueError, match=r"queries\.json: row 4: names 6 concepts; .* 1 to 5"):
        PhotoDataset(**collection.write())


def test_the_query_is_never_its_own_reference(collection) -> None:
    collection.database["<mi>"]["image"] = "./data/dreambooth/mi/01.jpg"
    with pytest.raises(ValueError, match=r"row 4: .*01\.jpg is also the reference picture of <mi>"):
        PhotoDataset(**collection.write())


def test_a_corrupt_photo_is_named_when_it_is_loaded(collection) -> None:
    (collection.root / "photos/mi/01.jpg").write_bytes(b"not a photo")
    example = PhotoDataset(**collection.write())[3]
    with pytest.raises(ValueError, match=r"photos/mi/01\.jpg: is not an image"):
        example.query.load()
