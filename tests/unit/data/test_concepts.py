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
    assert [query.number for query in queries] == list(range(1, 11))
    assert [query.label for query in queries] == [str(row) for row in range(1, 11)]
    assert queries[3].names == ("<mi>",)
    assert queries[3].image.path == collection.root / "photos/mi/01.jpg"


def test_a_photo_with_several_prompts_has_them_numbered(collection) -> None:
    first, second = list(collection.queries)[:2]
    collection.queries[first] = [["<bo>", "<mi>"], ["<bo>", "<lu>"]]
    collection.queries[second] = [["<mi>"]]
    queries = read(collection)[1]
    assert [q.label for q in queries[:4]] == ["1.1", "1.2", "2.1", "3"]
    assert [q.number for q in queries] == list(range(1, 12))
    assert [q.names for q in queries[:3]] == [("<bo>", "<mi>"), ("<bo>", "<lu>"), ("<mi>",)]
    assert queries[0].image == queries[1].image != queries[2].image


def test_names_have_spaces_and_upper_and_lower_case(collection) -> None:
    for name in ("<black widow>", "<Bo>"):
        collection.database[name] = collection.database["<bo>"]
        collection.queries["./data/dreambooth/mi/01.jpg"] = [name]
        assert read(collection)[1][3].names == (name,)
    collection.queries["./data/dreambooth/mi/01.jpg"] = ["<BO>"]
    with pytest.raises(ValueError, match="'<BO>' is not in the concept database"):
        read(collection)


def test_where_photos_lie_is_told_without_looking(collection) -> None:
    (collection.root / "photos/mi/01.jpg").unlink()
    (collection.root / "real/crops/mi.jpg").unlink()
    concepts, queries = read(collection)
    assert not concepts["<mi>"].image.path.exists()
    assert not queries[3].image.path.exists()


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


def image_is_a_name(collection) -> None:
    collection.database["<image>"] = collection.database.pop("<mi>")


def record_is_text(collection) -> None:
    collection.database["<mi>"] = "a dog"


def names(value: object):
    def change(collection) -> None:
        collection.queries["./data/dreambooth/mi/01.jpg"] = value

    return change


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (drop_info, ["database.json: row 2 (<mi>): the key 'info' is missing"]),
        (change_concept("category", 3), ["row 2 (<mi>), key 'category'", "is 3, need text"]),
        (change_concept("image", "x.jpg"), ["row 2 (<mi>), key 'image'", "none of the folders"]),
        (record_is_text, ["row 2 (<mi>)", 'is "a dog", need a JSON object']),
        (empty_name, ["row 5 (<>)", "written in brackets"]),
        (image_is_a_name, ["row 5 (<image>)", "stands for a picture", "take another name"]),
        (bare_name, ["row 5 (mi)", "written in brackets: <mi>"]),
        (
            names(["<mu>"]),
            [
                "queries.json: row 4, key './data/dreambooth/mi/01.jpg': '<mu>' is not in",
                "(5 concepts); did you mean <mi>?",
            ],
        ),
        (names("<mi>"), ["queries.json: row 4", "need a list of names"]),
        (names([]), ["queries.json: row 4", "need a list of names"]),
        (names(["zzz"]), ["queries.json: row 4", "mend the name or add the concept"]),
        (
            names([["<mi>"], "<bo>"]),
            ["queries.json: row 4", "key '1': is \"<bo>\", need a list"],
        ),
        (
            names(["<mi>", ["<bo>"]]),
            ["queries.json: row 4", "key '0': is \"<mi>\", need a list"],
        ),
        (names([[["<mi>"]]]), ["queries.json: row 4", "key '0.0': is [\"<mi>\"]"]),
        (names([["<mi>"], []]), ["queries.json: row 4", "holds [], need"]),
        (names({"<mi>": 1}), ["queries.json: row 4", "or a list of such lists"]),
        (
            names([["<mi>", "<bo>"], ["<lu>"], ["<bo>", "<mi>"]]),
            ["row 4", "prompts 1 and 3 ask for the same names; remove one"],
        ),
        (names([["<mi>"], ["<mo>"]]), ["row 4", "prompt 2: '<mo>' is not in", "mean <mi>?"]),
        (names([["<bo>"], ["<mi>", "<mi>"]]), ["row 4", "prompt 2: a name stands there twice"]),
        (names(["<mi>", "<mi>"]), ["queries.json: row 4", "stands there twice"]),
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
        (b'{"a.jpg": ["<bo>"], "a.jpg": ["<mi>"]}', "the key 'a.jpg' stands there twice"),
        (b'["a.jpg"]', "need a JSON object"),
        (b"{}", "holds no queries"),
        (b"", "is empty, need JSON"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    file = tmp_path / "queries.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=complaint) as raised:
        read_queries(file, FOLDERS, {})
    assert str(raised.value).startswith(str(file))


def test_a_missing_or_empty_database_is_named(tmp_path: Path) -> None:
    file = tmp_path / "database.json"
    with pytest.raises(ValueError, match=r"database\.json: no such file"):
        read_concepts(file, FOLDERS)
    with pytest.raises(ValueError, match=r": cannot be read \(Is a directory\)"):
        read_concepts(tmp_path, FOLDERS)
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
        ({"<bo>": 1}, r"row 1 \(<bo>\): is 1, need a JSON object"),
        ({"<bo>": {"name": 1}}, r"row 1 \(<bo>\), key 'name': is 1, need text"),
        ({"<bo>": {"aliases": "Bob"}}, "key 'aliases': is .* need a list"),
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
