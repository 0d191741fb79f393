"""Photos of one's own as a data set."""

from pathlib import Path

import pytest

from repic.data.folder import FolderCorpus, FolderDataset, prompt_of
from repic.data.inventory import tell_other_counts, tell_shared_photos
from tests.unit.data.test_album import about, photo, three_friends


@pytest.fixture
def root(tmp_path: Path) -> Path:
    three_friends(tmp_path / "album")
    about(tmp_path / "album" / "Kim", "info: a mug\naliases: [the mug]\ncategory: mug")
    for number in range(4):
        photo(tmp_path / "photos" / "trip" / f"{number}.png", f"rgb(200,{number},9)")
    return tmp_path


def who(root: Path, text: str) -> None:
    (root / "photos" / "who.csv").write_text(text, encoding="utf-8")


def make(root: Path, **changes: object) -> FolderDataset:
    settings = {
        "photos": root / "photos",
        "questions": ["Who?", "What?"],
        "num_absent": 0,
        "largest": None,
        "repeat": False,
        "counts": [0, 1, 2, 3],
        "size": None,
        "seed": 0,
    }
    return FolderDataset(root / "album", **{**settings, **changes})


TABLE = (
    "photo,names,caption\n"
    'trip/0.png,bo;THE MUG,"Bo, by the mug, waits."\n'
    "trip\\1.png,<Mi Mi>,\n"
    "trip/2.png,,Nobody.\n"
)


def test_a_table_says_who_is_where_and_what_to_say(root: Path) -> None:
    who(root, TABLE)
    two, one, none = make(root)
    assert two.present == ("<Bo>", "<Kim>")
    assert two.target == "<Bo>, by <Kim>, waits."
    assert two.answers == (two.target,)
    assert sorted(r.name for r in two.references) == ["<Bo>", "<Kim>"]
    assert {r.name: r.info for r in two.references}["<Kim>"] == "a mug"
    assert (one.present, one.target, one.answers) == (("<Mi Mi>",), "", ())
    assert (none.present, none.num_concepts) == ((), 0)
    assert [e.question for e in (two, one, none)] == ["Who?", "What?", "Who?"]
    assert [e.id for e in make(root, counts=[1])] == ["folder/trip/1.png"]


def test_folders_say_it_too(root: Path) -> None:
    photo(root / "photos" / "mi-mi" / "x.png")
    photo(root / "photos" / "y.png")
    (only,) = make(root)
    assert (only.id, only.present) == ("folder/mi-mi/x.png", ("<Mi Mi>",))


def test_absent_friends_are_introduced_and_everybody_can_be_looked_up(root: Path) -> None:
    who(root, TABLE)
    data = make(root, num_absent=9)
    for example in data:
        assert sorted(example.pool) == ["<Bo>", "<Kim>", "<Mi Mi>"]
    orders = {make(root, num_absent=9, seed=seed)[0].pool for seed in range(9)}
    assert len(orders) > 1
    assert [r.name for r in data.database] == ["<Bo>", "<Kim>", "<Mi Mi>"]
    assert data.kinds == ["mug"]


def test_training_draws_photos_again_and_again(root: Path) -> None:
    who(root, TABLE)
    data = make(root, repeat=True, size=40, counts=[1, 2])
    assert len(data) == 40
    assert len({example.id for example in data}) == 40
    assert {example.present for example in data} == {("<Bo>", "<Kim>"), ("<Mi Mi>",)}
    shown = {r.image.path.name for e in data for r in e.references if r.name == "<Bo>"}
    assert shown == {"0.png", "1.png"}
    assert [e.id for e in data] == [e.id for e in make(root, repeat=True, size=40, counts=[1, 2])]


def test_a_photo_is_not_its_own_reference(root: Path) -> None:
    again = root / "photos" / "again.png"
    again.write_bytes((root / "album" / "Bo" / "0.png").read_bytes())
    who(root, "photo,names\nagain.png,Bo\n")
    (example,) = make(root)
    assert example.references[0].image.path.name == "1.png"
    assert make(root).database[0].image == example.references[0].image  # a retriever's, too
    (root / "album" / "Bo" / "1.png").unlink()
    for use in (lambda data: data[0], lambda data: data.database):
        with pytest.raises(ValueError, match=r"again.png: is also the only photo of <Bo>"):
            use(make(root))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("photo,who\na.png,Bo\n", "who.csv: has no column 'names'; need photo and names"),
        ("photo,names\ntrip/0.png,Zaza\n", "line 2: nobody in the album is called 'Zaza', only"),
        ("photo,names\ntrip/0.png,Bo\ntrip/0.png,Bo\n", "line 3: 'trip/0.png' stands there twice"),
        ("photo,names\ntrip/0.png\n", "line 2: has not 2 columns; put texts into quotes"),
        ("photo,names\ntrip/0.png,Bo,Kim\n", "line 2: has not 2 columns"),
        ("photo,names\n../x.png,Bo\n", "line 2, .* leads out of .*data.leave_root=true"),
        ("photo;names\na.png;Bo\n", "has no column 'photo'.*; the columns are 'photo;names'"),
        ("photo,names,names\n0.png,Bo,Kim\n", "who.csv: has the column 'names' twice; remove one"),
        ("photo,names\n,Bo\n", "line 2, column 'photo': is empty, need a path"),
        ('photo,names\n0.png,"Bo, Kim"\n', "line 2: .* called 'Bo, Kim', only Bo; Kim; Mi Mi"),
        ('photo,names\n\n0.png,"Bo"x\n1.png,\n', "line 3: ',' expected"),
        ("photo,names\n", "says nothing of any photo"),
        ("photo,names,Captions\n", "who.csv: nothing reads the column 'Captions'; call it caption"),
        ("", "has no column 'photo'"),
        ('photo,names\n"trip/0.png,Bo\n', r"line \d: unexpected end of data; mend the line"),
        ('photo,names\n1.png,"Bo\n2.png,\n', "line 2: unexpected end of data"),
        ("photo,names\ngone.png,Bo\n", r"files are missing .*gone.png"),
    ],
)
def test_tables_that_are_refused(root: Path, text: str, says: str) -> None:
    who(root, text)
    with pytest.raises(ValueError, match=says):
        make(root)


def test_tables_as_spreadsheets_and_people_write_them(root: Path) -> None:
    text = "Bo, <Zaza>\u2028and\x0b<the MUG>."
    who(root, f'photo,names,caption,,\ntrip/0.png,Bo,"{text}",,\n,,,,\ntrip/1.png,,{text[4:]},,\n')
    one, none = make(root)
    assert one.target == "<Bo>, <Zaza>\u2028and\x0b<Kim>."
    assert none.target == one.target[6:]


def test_photos_may_lie_elsewhere_if_that_is_said(root: Path) -> None:
    new, photos = photo(root / "new.png"), root / "photos"
    who(root, f"photo,names\n{new},Bo\ntrip/0.png,Bo\n")
    found = make(root, leave_root=True)
    assert [e.id for e in found] == ["folder/../new.png", "folder/trip/0.png"]
    assert found[0].query is not None
    assert found[0].query.path.samefile(photos / "../new.png")


def test_nobody_says_who_is_where(root: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing says who is in which photo; write who.csv"):
        make(root)
    with pytest.raises(ValueError, match=r"data.photos: nothing is no folder. An album is"):
        make(root, photos=None)


def test_a_table_under_another_name_is_not_passed_over(root: Path) -> None:
    who(root, "photo,names\ntrip/0.png,Bo\n")
    (root / "photos" / "who.csv").rename(root / "photos" / "Who.CSV")
    if (root / "photos" / "who.csv").exists():
        pytest.skip("capitals make no difference to this disk")
    with pytest.raises(ValueError, match=r"Who.CSV: is not read under this name; call it who.csv"):
        make(root)


def corpus(root: Path, *photos: Path | None) -> FolderCorpus:
    return FolderCorpus(root / "album", photos=photos, leave_root=False)


def test_the_corpus_is_the_captions_that_there_are(root: Path) -> None:
    who(root, TABLE)
    captions = [["<Bo>, by <Kim>, waits."], ["Nobody."]]
    assert list(corpus(root, None, root / "photos")) == captions
    photo(root / "others" / "Bo" / "1.png")  # of which nobody has written any
    assert list(corpus(root, root / "others", root / "photos")) == captions
    who(root, "photo,names\ntrip/0.png,bo\n")
    with pytest.raises(ValueError, match=r"photos/who.csv: CIDEr .* two captions or more"):
        list(corpus(root, root / "photos"))


def test_photos_of_other_numbers_of_friends_are_left_out_aloud(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    who(root, TABLE)  # two friends, one, nobody
    tell_other_counts(make(root, counts=[0, 1, 2]), "metrics.counts", [0, 1, 2])
    assert caplog.text == ""
    data = make(root, counts=[1])
    assert len(data) == 1
    tell_other_counts(data, "metrics.counts", [1, 1])
    said = (
        "metrics.counts: 2 of 3 photos are left out, as the number of those in them (0, 2) is not 1"
    )
    assert said in caplog.text


def test_photos_to_learn_from_that_are_scored_as_well_are_told(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    who(root, TABLE)
    (root / "mine").mkdir()
    (root / "mine" / "who.csv").write_text("photo,names\nnew.png,Bo\n")
    photo(root / "mine" / "new.png")
    asked = make(root)
    tell_shared_photos(make(root, photos=root / "mine", repeat=True), asked)
    assert caplog.text == ""
    tell_shared_photos(make(root, photos=root / "album" / ".." / "photos", repeat=True), asked)
    assert "data.train and data.test have 3 of 3 photos in common, as " in caplog.text


def test_what_is_imitated_has_a_caption(root: Path) -> None:
    who(root, TABLE)
    assert [e.target for e in make(root, captioned=True)] == ["<Bo>, by <Kim>, waits.", "Nobody."]
    who(root, "photo,names\ntrip/0.png,bo\n")
    with pytest.raises(ValueError, match=r"no photo has a caption, which SFT learns from; write"):
        make(root, captioned=True)


def test_the_album_words_the_prompts_if_it_says_so(root: Path) -> None:
    words = {"system": None, "reference": "[{image}][{info}]{name}", "query": "[{image}]{question}"}
    who(root, TABLE)
    example = make(root)[0]
    plain = prompt_of(None, **words).messages(example)
    assert prompt_of(root / "album", **words).messages(example) == plain
    (root / "album" / "album.yaml").write_text(
        'prompt: {reference: "[{image}][{info}]{name}! ", query: "[{image}]{question}"}'
    )
    assert "<Kim>! " in prompt_of(root / "album", **words).text(example)
    assert prompt_of(root / "gone", **words).messages(example) == plain
