"""What was said of a photo and what is right: kept whole, read as a data set, forgotten at will."""

import json
from pathlib import Path
from typing import Any

import pytest

from repic.data.album import read_album
from repic.data.album_changes import remove_friend
from repic.data.corrections import CORRECTIONS, PHOTOS, put_right, read_corrections, save_correction
from repic.data.folder import FolderDataset
from repic.metrics.names import Lexicon
from tests.unit.data.test_album import about, photo, three_friends
from tests.unit.data.test_folder import make


@pytest.fixture
def root(tmp_path: Path) -> Path:
    three_friends(tmp_path / "album")
    about(tmp_path / "album" / "Kim", "info: a mug\naliases: [the mug]")
    return tmp_path


def save(root: Path, name: str = "a.png", **said: Any) -> Any:
    path = root / "uploads" / name
    if not path.exists():
        photo(path, f"rgb(9,9,{len(list(path.parent.glob('*'))) if path.parent.exists() else 0})")
    settings = {
        "question": "Who?",
        "introduced": ["<Bo>", "<Kim>"],
        "said": "A cat, <Bo>.",
        "largest": None,
    }
    return save_correction(root / "album", path, **{**settings, **said})


def data(root: Path, **changes: object) -> FolderDataset:
    return make(root, photos=root / "album" / CORRECTIONS, **changes)


def test_a_click_is_a_line_and_a_photo(root: Path) -> None:
    made = save(root, wrong=["<Bo>"], right=["<Mi Mi>"])
    assert (made.caption, made.names) == ("A cat, <Mi Mi>.", ("<Mi Mi>",))
    assert made.photo.startswith(f"{PHOTOS}/")
    kept = root / "album" / made.photo
    assert kept.read_bytes() == (root / "uploads" / "a.png").read_bytes()
    (line,) = (root / "album" / CORRECTIONS).read_text().splitlines()
    assert json.loads(line) == {
        "photo": made.photo,
        "question": "Who?",
        "introduced": ["<Bo>", "<Kim>"],
        "said": "A cat, <Bo>.",
        "caption": "A cat, <Mi Mi>.",
        "names": ["<Mi Mi>"],
    }
    assert len(read_album(root / "album", largest=None).friends) == 3  # they are no friend


def test_own_words_may_name_in_any_spelling(root: Path) -> None:
    made = save(root, words=" MiMi by\nThe Mug ")
    assert (made.caption, made.names) == ("<Mi Mi> by <Kim>", ("<Mi Mi>", "<Kim>"))


@pytest.mark.parametrize(
    ("said", "wrong", "right", "caption"),
    [
        ("<Bo> and Bo's hat", ["<Bo>"], ["<Li>"], "<Li> and <Li>'s hat"),
        ("<Bo> and <Mi>", ["<Bo>", "<Mi>"], ["<Li>"], "<Li> and somebody"),
        ("Here. <Bo> sits", ["<Bo>"], [], "Here. Somebody sits"),
        ("A cat, <Bo>, sits.", ["<Bo>"], [], "A cat, sits."),
        ("A cat, <Bo>", ["<Bo>"], [], "A cat"),
        ("<Bo> and <Mi>.", ["<Bo>"], ["<Mi>"], "Somebody and <Mi>."),  # who is named already
        ("A cat.", [], ["<Li>", "<Mi>"], "A cat. <Li> is here. <Mi> is here."),
        ("", [], ["<Li>"], "<Li> is here."),
        ("Nobody", ["<Bo>"], [], "Nobody"),
    ],
)
def test_captions_are_put_right(
    said: str, wrong: list[str], right: list[str], caption: str
) -> None:
    assert put_right(said, Lexicon(["<Bo>", "<Li>", "<Mi>"]), wrong=wrong, right=right) == caption


def test_the_last_word_about_a_photo_counts(root: Path) -> None:
    save(root, wrong=["<Bo>"])
    last = save(root, wrong=["<Bo>"], right=["<Kim>"])
    other = save(root, "b.png", words="Bo")
    file = root / "album" / CORRECTIONS
    assert [one for _, one in read_corrections(file)] == [last, other]
    assert len(file.read_text().splitlines()) == 3


def test_what_a_kill_cut_short_takes_nothing_with_it(root: Path) -> None:
    first = save(root)
    file = root / "album" / CORRECTIONS
    with file.open("a") as out:
        out.write('{"photo": "caf\u00e9')
    file.write_bytes(file.read_bytes()[:-1])  # within a letter
    second = save(root, "b.png")
    assert [one for _, one in read_corrections(file)] == [first, second]
    assert file.read_bytes().endswith(b"}\n")


def test_who_has_gone_meanwhile_cannot_be_said_to_be_there(root: Path) -> None:
    for said in ({"right": ["<Zoe>"]}, {"introduced": ["<Zoe>"]}):
        with pytest.raises(ValueError, match="Zoe is no longer in the album; caption the photo ag"):
            save(root, **said)
    assert not (root / "album" / CORRECTIONS).exists()
    assert not (root / "album" / PHOTOS).exists()
    with pytest.raises(ValueError, match="the photo is no longer there; choose it again"):
        save_correction(
            root / "album",
            root / "gone.png",
            question="",
            introduced=[],
            said="",
            largest=None,
        )


def test_corrections_are_examples_with_a_better_and_a_worse_answer(root: Path) -> None:
    save(root, wrong=["<Bo>"], right=["<Mi Mi>"])
    save(root, "b.png", said="<Kim>.", words="Kim.")  # it was right
    for absent in (0, 1):
        first, second = data(root, num_absent=absent)
        assert (first.target, first.rejected) == ("A cat, <Mi Mi>.", "A cat, <Bo>.")
        assert (first.present, first.question) == (("<Mi Mi>",), "Who?")
        assert sorted(first.pool) == ["<Bo>", "<Mi Mi>"]  # whom it was taken for is introduced
        assert (second.target, second.rejected) == ("<Kim>.", "")
        assert len(second.pool) == 1 + absent
    assert len(set(data(root)[0].pool)) == 2
    assert {e.target for e in data(root, repeat=True, size=20)} == {"A cat, <Mi Mi>.", "<Kim>."}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"names": ["<Zoe>"]}, r"line 1: nobody in the album is called '<Zoe>', only"),
        ({"photo": "../../x.png"}, "line 1: .* leads out of .*data.leave_root=true"),
        ({"photo": ".corrections/gone.png"}, "files are missing"),
        ({"said": 3}, r"line 1, key 'said': is 3, need text"),
    ],
)
def test_lines_that_are_refused(root: Path, change: dict[str, object], says: str) -> None:
    save(root)
    file = root / "album" / CORRECTIONS
    file.write_text(json.dumps(json.loads(file.read_text()) | change) + "\n")
    with pytest.raises(ValueError, match=says):
        data(root)


def test_nothing_is_corrected_yet(root: Path) -> None:
    (root / "album" / CORRECTIONS).write_text("")
    with pytest.raises(ValueError, match=r"holds no correction yet; .* repic.app"):
        data(root)


def test_who_is_removed_is_in_no_correction(root: Path) -> None:
    gone = [
        save(root, "a.png", wrong=["<Bo>"], right=["<Mi Mi>"]),  # was called so
        save(root, "b.png", said="<Kim>", words="Bo"),
        save(root, "c.png", said="<Kim>", words="bo's mug and <bo>"),
    ]
    save(root, "d.png", said="<Bo>", words="Kim")
    save(root, "d.png", said="<Kim>", words="Kim")  # another line says that they are in the photo
    stays = save(root, "e.png", said="<Kim>", words="the mug")
    (root / "album" / PHOTOS / "left.png").write_bytes(b"by a kill")
    album = read_album(root / "album", largest=None)
    remove_friend(album, album.by_name["<Bo>"], forget=lambda: None)
    ((_, only),) = read_corrections(root / "album" / CORRECTIONS)
    assert (only.photo, only.caption, only.introduced) == (stays.photo, "<Kim>", ("<Kim>",))
    assert [p.name for p in (root / "album" / PHOTOS).iterdir()] == [Path(stays.photo).name]
    assert not any((root / "album" / one.photo).exists() for one in gone)
    everything = b"".join(p.read_bytes() for p in (root / "album").rglob("*") if p.is_file())
    assert b"bo" not in everything.lower()
