import json
from pathlib import Path

import pytest

from repic.data.concepts import Folders, read_concepts, read_known_names, read_queries

FOLDERS = Folders(Path("root"), {"dreambooth": "photos", "crops": "real/crops"})


@pytest.mark.parametrize(
    ("published", "place"),
    [
        ("./data/dreambooth/dog/00.jpg", "root/photos/dog/00.jpg"),
        ("dreambooth/dog/00.jpg", "root/photos/dog/00.jpg"),
        ("/home/them/crops/a b.jpg", "root/real/crops/a b.jpg"),
        # A subject that is called like a folder does not confuse it.
        ("./dreambooth/crops/00.jpg", "root/photos/crops/00.jpg"),
    ],
)
def test_a_published_path_is_found_under_the_root(published: str, place: str) -> None:
    assert FOLDERS.locate(published) == Path(place)


def test_a_path_outside_every_folder_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'\./elsewhere/00\.jpg' has none of the folders dream"):
        FOLDERS.locate("./elsewhere/00.jpg")


def read(collection):
    arguments = collection.write()
    folders = Folders(collection.root, arguments["folders"])
    concepts = read_concepts(collection.root / arguments["database"], folders)
    return concepts, read_queries(collection.root / arguments["queries"], folders, concepts)


def test_concepts_and_queries_keep_the_order_of_their_files(collection) -> None:
    concepts, queries = read(collection)
    assert list(concepts) == ["<bo>", "<mi>", "<lu>", "<jug>", "<pot>"]
    assert concepts["<mi>"].info == "<mi> is shade 1."
    assert concepts["<mi>"].category == "dog"
    assert concepts["<mi>"].image.path == collection.root / "real/crops/mi.jpg"
    assert [query.row for query in queries] == list(range(1, 11))
    assert queries[3].names == ("<mi>",)
    assert queries[3].image.path == collection.root / "photos/mi/01.jpg"


def test_an_empty_info_is_no_info(collection) -> None:
    collection.database["<bo>"]["info"] = "  "
    assert read(collection)[0]["<bo>"].info is None


def change_concept(key: str, value: object):
    def change(collection) -> None:
        collection.database["<mi>"][key] = value

    return change


def drop_info(collection) -> None:
    del collection.database["<mi>"]["info"]


def bare_name(collection) -> None:
    collection.database["mi"] = collection.database.pop("<mi>")


def empty_name(collection) -> None:
    collection.database["<>"] = collection.database.pop("<mi>")


def record_is_text(collection) -> None:
    collection.database["<mi>"] = "a dog"


def lose_photo(collection) -> None:
    (collection.root / "photos/mi/01.jpg").unlink()


def names(value: object):
    def change(collection) -> None:
        collection.queries["./data/dreambooth/mi/01.jpg"] = value

    return change


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (drop_info, ["database.json: row 2 (<mi>), key 'info'", "needs text, found nothing"]),
        (change_concept("category", 3), ["row 2 (<mi>), key 'category'", "needs text, found 3"]),
        (change_concept("image", "x.jpg"), ["row 2 (<mi>), key 'image'", "none of the folders"]),
        (
            change_concept("image", "./dreambooth/no.jpg"),
            ["row 2 (<mi>), key 'image'", "photos/no.jpg; put the photo there"],
        ),
        (record_is_text, ["row 2 (<mi>)", "needs an object with image, info and category"]),
        (empty_name, ["row 5 (<>)", "written in brackets"]),
        (bare_name, ["row 5 (mi)", "written in brackets: <mi>"]),
        (
            names(["<mu>"]),
            [
                "queries.json: row 4, key './data/dreambooth/mi/01.jpg': '<mu>' is not in",
                "(5 concepts); mend the name or add the concept",
            ],
        ),
        (names("<mi>"), ["queries.json: row 4", "needs a list of names"]),
        (names([]), ["queries.json: row 4", "needs a list of names"]),
        (names([["<mi>"]]), ["queries.json: row 4", "needs a list of names"]),
        (names(["<mi>", "<mi>"]), ["queries.json: row 4", "stands there twice"]),
        (lose_photo, ["queries.json: row 4", "photos/mi/01.jpg; put the photo there"]),
    ],
)
def test_a_bad_row_is_named_by_file_row_and_key(collection, change, parts) -> None:
    change(collection)
    with pytest.raises(ValueError, match=r"\.json") as raised:
        read(collection)
    for part in parts:
        assert part in str(raised.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{\n "a.jpg": ["<bo>"],\n "b.jpg": ["<bo>"\n}', "line 4, column 1: is not JSON"),
        (b'{"a.jpg": ["<bo>"], "a.jpg": ["<mi>"]}', "key 'a.jpg' stands there twice"),
        (b'["a.jpg"]', "must hold a JSON object, not list"),
        (b'{"a.jpg": "\xff"}', "is not UTF-8 text"),
        (b"{}", "holds no queries"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    file = tmp_path / "queries.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=complaint) as raised:
        read_queries(file, FOLDERS, {})
    assert str(raised.value).startswith(f"{file}: ")


def test_a_missing_or_empty_database_is_named(tmp_path: Path) -> None:
    file = tmp_path / "database.json"
    with pytest.raises(ValueError, match=r"database\.json: there is no such file"):
        read_concepts(file, FOLDERS)
    file.write_text('{"concepts": {}}')
    with pytest.raises(ValueError, match=r"database\.json: key 'concept_dict' must hold"):
        read_concepts(file, FOLDERS)


def test_a_database_knows_aliases_and_ordinary_words_without_its_photos(tmp_path: Path) -> None:
    concepts = {
        "<ironman>": {"name": "Iron Man", "info": "<dog> has an Iron suit.", "category": "human"},
        "<dog>": {"name": "dog", "info": "", "category": "plush toy", "aliases": ["Rex"]},
    }
    file = tmp_path / "database.json"
    file.write_text(json.dumps({"concept_dict": concepts}))
    known = read_known_names(file)
    assert dict(known.aliases) == {"<ironman>": ("Iron Man",), "<dog>": ("dog", "Rex")}
    assert known.ordinary == {"has", "an", "suit", "human", "plushtoy"}


@pytest.mark.parametrize(
    ("concepts", "said"),
    [
        ({}, "must hold an object with a concept or more"),
        ({"<bo>": 1}, r"row 1 \(<bo>\): needs an object"),
        ({"<bo>": {"name": 1}}, r"row 1 \(<bo>\): name, info and category need text"),
        ({"<bo>": {"aliases": "Bob"}}, "aliases a list of texts"),
        (
            {"<bo>": {"name": "Mi"}, "<mi>": {"name": "Mi"}},
            "'Mi' is an alias .* take the alias out",
        ),
    ],
)
def test_a_database_whose_names_cannot_be_read_is_refused(
    tmp_path: Path, concepts: object, said: str
) -> None:
    file = tmp_path / "database.json"
    file.write_text(json.dumps({"concept_dict": concepts}))
    with pytest.raises(ValueError, match=rf"database\.json.*{said}"):
        read_known_names(file)
