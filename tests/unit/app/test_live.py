"""An album that several people work on at once, and that no restart loses anything of."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from repic import files
from repic.app.live import LiveAlbum
from repic.captioners.photos import Captioned, PassedOver
from tests.live_album import Spells, live, make_album
from tests.unit.data.test_album import about, photo


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_album(tmp_path)


def caption(album: LiveAlbum, root: Path, number: int = 0) -> list[str | Captioned | PassedOver]:
    return list(album.caption("model", root / "uploads" / f"{number}.png"))


def test_a_caption_grows_word_by_word(root: Path) -> None:
    *parts, last = caption(live(root, Spells()), root)
    assert parts == ["<Bo>", "<Bo> <Zoe>", "<Bo> <Zoe> and", "<Bo> <Zoe> and <zaza>."]
    assert isinstance(last, Captioned)
    assert last.caption == "Bo Zoe and <zaza>."


def test_one_that_is_kept_is_there_at_once_after_a_restart_too(root: Path) -> None:
    *_, first = caption(live(root, Spells()), root)
    writer = Spells()
    assert caption(live(root, writer), root) == [first]
    assert writer.asked == []


def test_what_changes_in_the_folder_is_seen(root: Path) -> None:
    writer = Spells()
    album = live(root, writer)
    assert album.album() is album.album()
    caption(album, root)
    album.add("Kim", "a mug", [])
    *_, last = caption(album, root)
    assert isinstance(last, Captioned)
    assert last.names == ("Bo", "Kim", "Zoe")
    about(root / "album" / "Kim", "name: Jug\ninfo: a jug")  # by hand
    assert [f.name for f in album.album().friends] == ["<Bo>", "<Jug>", "<Zoe>"]
    photo(root / "album" / "Bo" / "1.png", "green")
    asked = len(writer.asked)
    caption(album, root)
    assert len(writer.asked) == asked + 1


def test_a_new_album_is_empty(tmp_path: Path) -> None:
    album = live(tmp_path, Spells())
    assert (tmp_path / "album").is_dir()
    assert album.album().friends == ()
    with pytest.raises(ValueError, match="nobody is in the album yet; add a friend first"):
        caption(album, tmp_path)
    album.add("Kim", "a mug", [])
    photo(tmp_path / "uploads" / "0.png")
    *_, last = caption(album, tmp_path)
    assert isinstance(last, Captioned)


def test_problems_are_raised_where_the_caption_is_waited_for(root: Path) -> None:
    album = live(root, Spells())
    (root / "uploads" / "0.png").write_bytes(b"no picture")
    (only,) = caption(album, root)
    assert isinstance(only, PassedOver)
    (root / "album" / "Bo" / "1.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"Bo/1.png: is not an image"):
        caption(album, root, 1)


def test_two_people_at_once(root: Path) -> None:
    """On two servers they add friends and correct; nobody loses anything."""
    one, other = live(root, Spells()), live(root, Spells())
    *_, told = caption(one, root)
    assert isinstance(told, Captioned)
    failed: list[BaseException] = []

    def work(task: Callable[[int], object]) -> None:
        try:
            for number in range(6):
                task(number)
        except BaseException as error:  # to be told in the test's own thread
            failed.append(error)

    tasks = [
        lambda n: one.add(f"Friend{n}", "a mug", []),
        lambda n: other.add(f"Other{n}", "", [root / "uploads" / "1.png"]),
        lambda n: one.correct(root / "uploads" / "0.png", told, words=f"one {n}"),
        lambda n: other.correct(root / "uploads" / "0.png", told, words=f"other {n}"),
    ]
    threads = [threading.Thread(target=work, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(one.album().friends) == 14
    said = [row["caption"] for row in files.read_lines(root / "album" / "corrections.jsonl")]
    assert sorted(said) == sorted(f"{who} {n}" for who in ("one", "other") for n in range(6))


def test_captions_take_turns(root: Path) -> None:
    writer = Spells()
    both = [live(root, writer), live(root, writer)]
    threads = [
        threading.Thread(target=caption, args=(album, root, number))
        for album in both
        for number in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.most_at_once == 1
    assert sorted(writer.asked) == ["0.png", "1.png", "2.png"]  # the others found them kept


def test_whoever_is_deleted_leaves_no_byte(root: Path) -> None:
    forgotten: list[int] = []
    photo(root / "album" / "Zuri" / "1.png", "red")
    album = live(root, Spells(), forget=lambda: forgotten.append(1))
    found = live(root, Spells(), retriever=True)
    *_, told = caption(album, root)
    caption(found, root)
    caption(found, root, 1)
    assert isinstance(told, Captioned)
    album.correct(root / "uploads" / "0.png", told, wrong=["<Bo>"])
    for name in ("captions.csv", "captions.json", "captions.html"):
        (root / "out" / name).write_text("Zoe")
    shown = (root / "album" / "Zoe" / "1.png").read_bytes()
    album.remove("<Zoe>")
    assert forgotten == [1]
    places = [root / "album", root / "out"]
    every = [p for place in places for p in place.rglob("*") if p.is_file()]
    assert not [p for p in every if b"zoe" in p.read_bytes().lower() or shown == p.read_bytes()]
    assert not [p for place in places for p in place.rglob("*") if "zoe" in p.name.lower()]
    with pytest.raises(ValueError, match="Zoe is not in the album; perhaps they are gone"):
        album.remove("<Zoe>")
    with pytest.raises(ValueError, match="Zoe is no longer in the album; caption the photo again"):
        album.correct(root / "uploads" / "0.png", told, wrong=["<Bo>"])
    *_, last = caption(live(root, Spells(), retriever=True), root)
    assert isinstance(last, Captioned)
    assert (last.introduced, last.left_out) == ({"Bo": 0.5}, {"Zuri": 0.25})


def test_who_is_deleted_meanwhile_is_in_no_later_caption(root: Path) -> None:
    album = live(root, Spells())
    growing = album.caption("model", root / "uploads" / "0.png")
    assert next(growing) == "<Bo>"
    album.remove("<Zoe>")  # waits for the caption
    assert isinstance(list(growing)[-1], Captioned)
    assert b"Zoe" not in (root / "out" / "kept.jsonl").read_bytes()
