"""Friends come and go; what they and their photos are called never becomes a path."""

import struct
import threading
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from PIL import Image

from repic.data import album_changes
from repic.data.album import read_album
from repic.data.album_changes import add_friend, remove_friend
from tests.unit.data.test_album import about, photo


def everything(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.name != ".lock")


def png_header(width: int, height: int) -> bytes:
    """What is read of a PNG before it is decoded."""
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", size), (b"IDAT", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))
        for kind, data in chunks
    )


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    return photo(tmp_path / "uploads" / "IMG 1.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    photo(tmp_path / "album" / "Mi Mi" / "1.png", "blue")
    about(tmp_path / "album" / "Mi Mi", "aliases: [the cat]")
    return tmp_path / "album"


def test_a_friend_is_a_folder_by_their_name(root: Path, upload: Path) -> None:
    jpeg = photo(upload.with_name("2.jpg"), "green").rename(upload.with_name("2.PNG"))
    bo = add_friend(root, " Bo ", "a  black\ncat", [upload, jpeg], largest=None)
    assert (bo.name, bo.info) == ("<Bo>", "a black cat")
    assert [p.path.name for p in bo.photos] == ["1.png", "2.jpg"]  # by what they are
    assert bo.photos[0].path.read_bytes() == upload.read_bytes()
    assert read_album(root, largest=None).by_name["<Bo>"] == bo


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "..b", "C:\\x", "-rf", ".hidden", "CON", "🐶", "x" * 100, "猫" * 60,
     "O'Hara", "a.", "don't", "{x}", "a: b", "שלום", "true"],
)  # fmt: skip
def test_any_name_stays_inside_the_album(root: Path, upload: Path, name: str) -> None:
    before = {p.name for p in root.parent.iterdir()}
    made = add_friend(root, name, "", [upload], largest=None)
    assert made.name == f"<{name}>"
    assert made.folder.parent == root
    assert made.folder.resolve().parent == root.resolve()
    assert {p.name for p in root.parent.iterdir()} == before
    assert made.photos[0].path.read_bytes() == upload.read_bytes()


@pytest.mark.parametrize(
    ("name", "info", "says"),
    [
        ("a\u202eb", "", "the name: .* holds a character that cannot be seen"),
        ("mi-mi", "", "the name: Mi Mi is in the album already"),
        ("The Cat", "", "the name: Mi Mi is in the album already"),
        ("<script>alert(1)</script>", "", "has an angle bracket.*; take another name$"),
        ("", "", "holds no letter"),
        ("..", "", "holds no letter"),
        ("x" * 101, "", "has 101 characters; 100 are the most"),
        ("image", "", "stands for a picture"),
        ("Bo", "a <image>", "the sentence: <image> stands for a picture in prompts"),
        ("Bo", "x" * 501, "the sentence has 501 characters, and may have 500"),
    ],
)
def test_names_that_cannot_be(root: Path, upload: Path, name: str, info: str, says: str) -> None:
    before = everything(root)
    with pytest.raises(ValueError, match=says):
        add_friend(root, name, info, [upload], largest=None)
    assert everything(root) == before


def test_uploads_that_are_no_photos(
    root: Path, upload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = upload.parent
    (folder / "empty.png").write_bytes(b"")
    (folder / "x.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "half.png").write_bytes(upload.read_bytes()[:-30])
    (folder / "bomb.png").write_bytes(png_header(50_000, 50_000))
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "x.ppm")
    (folder / "large.jpg").write_bytes(bytes(2000))
    says = {
        "empty.png": "is not an image",
        "x.svg": "is not an image",
        "half.png": "cannot be read as an image",
        "bomb.png": "is too large",
        "x.ppm": "is PPM; save it as JPEG or PNG",
        "gone.png": r"cannot be read \(No such file or directory\); choose it again",
        "large.jpg": "and may have 0",
    }
    monkeypatch.setattr(album_changes, "LARGEST_UPLOAD", 1900)
    for name, complaint in says.items():
        with pytest.raises(ValueError, match=f"^(?!/).*{complaint}") as raised:
            add_friend(root, "Bo", "", [upload, folder / name], largest=None)
        assert str(folder) not in str(raised.value)
    with pytest.raises(ValueError, match="51 photos are too many"):
        add_friend(root, "Bo", "", [upload] * 51, largest=None)
    with pytest.raises(ValueError, match="Bo has no photo; add one, or a sentence"):
        add_friend(root, "Bo", " ", [], largest=None)
    assert everything(root) == ["Mi Mi", "Mi Mi/1.png", "Mi Mi/about.yaml"]


def test_a_folder_that_is_no_friend_s_is_left_alone(root: Path, upload: Path) -> None:
    (root / "Bo").write_text("a file")
    with pytest.raises(ValueError, match="there is something called Bo; take another name"):
        add_friend(root, "Bo", "", [upload], largest=None)
    assert (root / "Bo").read_text() == "a file"


def test_two_who_add_the_same_friend_at_once(root: Path, upload: Path) -> None:
    said: list[str] = []

    def add() -> None:
        try:
            said.append(add_friend(root, "Bo", "", [upload], largest=None).name)
        except ValueError as error:
            said.append(str(error)[:12])

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["<Bo>", *["the name: Bo"] * 3]
    assert len(read_album(root, largest=None).friends) == 2


def test_who_is_removed_leaves_nothing(root: Path, upload: Path) -> None:
    add_friend(root, "../Bo", "a cat", [upload], largest=None)
    album = read_album(root, largest=None)
    calls: list[list[str]] = []
    remove_friend(album, album.by_name["<../Bo>"], forget=lambda: calls.append(everything(root)))
    assert len(calls[0]) == 6  # the folder goes last
    assert everything(root) == ["Mi Mi", "Mi Mi/1.png", "Mi Mi/about.yaml"]
    album = read_album(root, largest=None)
    remove_friend(album, album.friends[0], forget=lambda: None)
    assert read_album(root, largest=None, may_be_empty=True).friends == ()


def test_a_linked_folder_is_let_go_and_not_emptied(root: Path, tmp_path: Path) -> None:
    photo(tmp_path / "elsewhere" / "1.png")
    (root / "Bo").symlink_to(tmp_path / "elsewhere")
    album = read_album(root, largest=None)
    remove_friend(album, album.by_name["<Bo>"], forget=lambda: None)
    assert not (root / "Bo").exists()
    assert (tmp_path / "elsewhere" / "1.png").exists()
