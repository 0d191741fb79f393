"""Albums as people make them, and as they should not."""

import os
from pathlib import Path

import pytest
from PIL import Image

from repic.data.album import bracketed, pictures_in, read_album


def photo(path: Path, colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), colour).save(path)
    return path


def three_friends(album: Path) -> None:
    """Bo, Mi Mi and Kim, with two photos each."""
    for number, name in enumerate(("Bo", "Mi Mi", "Kim")):
        for i in range(2):
            photo(album / name / f"{i}.png", f"rgb({40 * number},{90 * i},7)")


def about(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "about.yaml").write_text(text, encoding="utf-8")


def test_a_folder_of_photos_is_a_friend_by_its_name(tmp_path: Path) -> None:
    photo(tmp_path / "Mi Mi" / "b.png")
    first = photo(tmp_path / "Mi Mi" / "a.JPG")
    photo(tmp_path / "小白" / "1.webp")
    (tmp_path / "Mi Mi" / "notes.txt").write_text("no picture")
    (tmp_path / "Mi Mi" / ".DS_Store").write_text("")
    photo(tmp_path / ".trash" / "x.png")
    (tmp_path / "readme.txt").write_text("no friend")
    mimi, white = read_album(tmp_path, largest=None).friends
    assert (mimi.name, mimi.info, mimi.aliases) == ("<Mi Mi>", None, ())
    assert [image.path.name for image in mimi.photos] == ["a.JPG", "b.png"]
    assert mimi.reference.image == mimi.photos[0]
    assert mimi.photos[0].path == first
    assert white.name == "<小白>"


def test_about_yaml_says_more(tmp_path: Path) -> None:
    about(
        tmp_path / "cat1",
        "name: <Bo>\ninfo: >\n  a black cat\n  with one ear\n"
        "aliases: [Bobo, <the boss>, '']\ncategory: cat",
    )
    album = read_album(tmp_path, largest=None)
    (bo,) = album.friends
    assert (bo.name, bo.category, bo.photos) == ("<Bo>", "cat", ())
    assert bo.info == "a black cat with one ear"
    assert bo.aliases == ("Bobo", "the boss")
    for name in ("Bo", "<bo>", " BO ", "bobo", "The Boss", "cat1"):
        assert album.find(name) is bo
    assert album.find("boa") is None


def test_album_yaml_says_how_a_model_is_asked(tmp_path: Path) -> None:
    photo(tmp_path / "bo" / "1.png")
    album = read_album(tmp_path, largest=None)
    assert (album.prompt, album.questions) == (None, ())
    (tmp_path / "album.yaml").write_text(
        'prompt: {reference: "[{image}][{info}]{name}. ", query: "[{image}]{question}"}\n'
        "questions: [Who is it?]"
    )
    album = read_album(tmp_path, largest=None)
    assert album.questions == ("Who is it?",)
    assert album.prompt is not None


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("<script>alert(1)</script>", "an angle bracket"),
        ("a < b", "an angle bracket"),
        ("/bo", "begins with a slash"),
        ("a; b", "a semicolon"),
        ("\u202ebo", "cannot be seen"),
        ("!?", "no letter"),
        ("x" * 101, "101 characters; 100 are the most"),
        ("image", "stands for a picture"),
        ("b\x07o", "cannot be seen"),
        ("\u3164", "no letter"),
        ("＜bo＞", "an angle bracket"),
        ("s", "a text's end, in many prompts"),
        ("|bo|", "a text's end, in many prompts"),
    ],
)
def test_names_that_cannot_be_one(name: str, problem: str) -> None:
    with pytest.raises(ValueError, match=rf"^here: .*{problem}.*; take another name in about.yaml"):
        bracketed(name, "here")


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("script", "<script>"),
        ("O'Brien", "<O'Brien>"),
        ('the "boss"', '<the "boss">'),
        ("a/b..", "<a/b..>"),
        ("שלום", "<שלום>"),
        ("🐶", "<🐶>"),
        ("Zoe\u0308", "<Zoë>"),
        ("x" * 100, f"<{'x' * 100}>"),
    ],
)
def test_names_of_every_kind(name: str, kept: str) -> None:
    assert bracketed(name, "here") == kept


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda root: None, "nobody is in it; an album is a folder with a folder of photos"),
        (lambda root: (root / "Bo").mkdir(), "Bo: has no photo that can be read .* and no about"),
        (
            lambda root: [photo(root / n / "1.png") for n in ("Bo", "bo")],
            "bo: 'bo' is a name of Bo as well .*; say another in its about.yaml",
        ),
        (
            lambda root: [photo(root / n / "1.png") for n in ("Iron Man", "iron-man")],
            "is a name of Iron Man as well",
        ),
        (
            lambda root: (photo(root / "a" / "1.png"), about(root / "b", "info: x\naliases: [A]")),
            "b: 'A' is a name of a as well",
        ),
        (
            lambda root: about(root / "a", "nick: x"),
            "about.yaml: unknown key 'nick'; the keys are name, ",
        ),
        (lambda root: about(root / "a", "info: 7"), "about.yaml, key 'info': is 7, need"),
        (lambda root: about(root / "a", "aliases: bo"), "about.yaml, key 'aliases': is \"bo\""),
        (lambda root: about(root / "a", "[1, 2]"), "about.yaml.*: is "),
        (lambda root: about(root / "a", "a: [b"), "about.yaml: not YAML"),
        (
            lambda root: (
                about(root / "a", "info: x"),
                (root / "a" / "about.yaml").rename(root / "a" / "about.yml"),
            ),
            "about.yml: is not read under this name; call it about.yaml",
        ),
        (
            lambda root: (about(root / "a", "info: x"), (root / "album.yml").touch()),
            "album.yml: is not read under this name; call it album.yaml",
        ),
        (
            lambda root: (
                photo(root / "a" / "1.png"),
                (root / "a" / "about.yaml.txt").write_text("name: Bo"),
            ),
            "about.yaml.txt: is not read under this name; call it about.yaml",
        ),
        (lambda root: about(root / "a", "name: <a<b>\ninfo: x"), "about.yaml, key 'name'"),
        (
            lambda root: about(root / "a", f"info: x\naliases: [b, {'y' * 101}]"),
            "about.yaml, key 'aliases.1': 'y+' has 101 characters; 100 are the most",
        ),
        (
            lambda root: about(root / "a", "info: x\naliases: ['!?']"),
            "about.yaml, key 'aliases.0': '!\\?' holds no letter",
        ),
        (
            lambda root: about(root / "a", "info: x <image> y"),
            "about.yaml, key 'info': <image> stands for a picture in prompts; write it without",
        ),
        (
            lambda root: about(root / "a", "info: x\ninfo: y"),
            "about.yaml: not YAML .the key 'info' stands there twice.; mend the file",
        ),
        (
            lambda root: (
                about(root / "a", "info: x"),
                (root / "album.yaml").write_text("questions: [Who?, ' ']"),
            ),
            "album.yaml, key 'questions.1': is empty; write a question, or take it out",
        ),
    ],
)
def test_albums_that_are_refused(tmp_path: Path, make, says: str) -> None:
    make(tmp_path)
    if len({path.name for path in tmp_path.iterdir()}) < 2 and "of Bo as well" in says:
        pytest.skip("capitals make no difference to this disk either")
    with pytest.raises(ValueError, match=says):
        read_album(tmp_path, largest=None)


def test_pictures_that_are_nobody_s_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    three_friends(tmp_path)
    (tmp_path / ".thumbs.png").touch()
    assert len(read_album(tmp_path, largest=None).friends) == 3
    assert not caplog.messages
    photo(tmp_path / "Kim" / "summer" / "1.png")
    photo(tmp_path / "me.JPG")
    (tmp_path / "Bo" / "gone.png").symlink_to("nowhere.png")
    assert read_album(tmp_path, largest=None) == read_album(tmp_path, largest=None)
    (said,) = caplog.messages
    assert "passes over 3 pictures, Bo/gone.png first; a friend's photos lie in" in said


def test_an_album_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere: there is no such folder; an album is"):
        read_album(tmp_path / "nowhere", largest=None)
    file = photo(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a.png: is no folder"):
        read_album(file, largest=None)


def test_pictures_are_found_below_folders_each_once(tmp_path: Path) -> None:
    one, two = photo(tmp_path / "a" / "b" / "1.png"), photo(tmp_path / "a" / "2.gif")
    (tmp_path / "a" / "3.svg").write_text("<svg/>")
    photo(tmp_path / "a" / ".thumbs" / "x.png")
    (tmp_path / "a" / "folder.png").mkdir()
    assert list(pictures_in([tmp_path / "a", one])) == [two, one]
    # What is named is taken as it is: whether it can be read is told when it is.
    assert list(pictures_in([tmp_path / "a" / "3.svg"])) == [tmp_path / "a" / "3.svg"]
    with pytest.raises(ValueError, match=r"gone.png: there is no such photo or folder"):
        list(pictures_in([tmp_path / "gone.png"]))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_album_that_may_not_be_read(tmp_path: Path) -> None:
    photo(tmp_path / "Bo" / "1.png")
    (tmp_path / "Bo").chmod(0)
    try:
        with pytest.raises((ValueError, OSError), match="Bo"):
            read_album(tmp_path, largest=None)
    finally:
        (tmp_path / "Bo").chmod(0o755)
