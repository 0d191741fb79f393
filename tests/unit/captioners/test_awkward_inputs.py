"""What lies in people's folders is captioned, or passed over with a sentence that says why."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image

from repic.captioners.photos import Captioned, PassedOver, displayed
from repic.data.album import pictures_in, read_album
from repic.data.images import FileImage
from repic.page.photos_page import write_photos_page
from tests.unit.captioners.test_photos import NamesAll, caption
from tests.unit.data.test_album import about, photo
from tests.unit.page.test_page import check

Make = Callable[[Path], object]
CAPTIONED = None


def saved(
    kind: str, mode: str = "RGB", size: tuple[int, int] = (20, 10), **options: object
) -> Make:
    return lambda path: Image.new(mode, size).save(path, kind, **options)


def encoded(kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((40, 40), 90).save(stream, kind)
    return stream.getvalue()


def bomb(path: Path) -> None:
    """A PNG that says it has 2,500 million pixels."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 1, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    data = struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data + struct.pack(">I", 0) + b"IDAT" + b"\0" * 4)


def heic(path: Path) -> None:
    pillow_heif.from_pillow(Image.new("RGB", (48, 40), "red")).save(path)


def animated(path: Path) -> None:
    frames = [Image.new("P", (20, 10), shade) for shade in (1, 2)]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])


# What the file is called, what makes it, and what has to be said: None for a caption.
PHOTOS: list[tuple[str, Make, str | None]] = [
    ("empty.jpg", lambda p: p.write_bytes(b""), "is not an image in a format"),
    ("letter.jpg", lambda p: p.write_text("Dear all"), "is not an image in a format"),
    ("page.png", lambda p: p.write_text("<html>"), "is not an image in a format"),
    ("half.png", lambda p: p.write_bytes(encoded()[:-300]), "cannot be read as an image"),
    ("half.jpg", lambda p: p.write_bytes(encoded("JPEG")[:-300]), "cannot be read as an image"),
    ("half.webp", lambda p: p.write_bytes(encoded("WEBP")[:-300]), "is not an image|cannot be"),
    ("broken.heic", lambda p: p.write_bytes(b"ftypheic"), "is not an image in a format"),
    ("drawn.svg", lambda p: p.write_text("<svg/>"), "is not an image in a format"),
    ("drawn.png", lambda p: p.write_text("<svg/>"), "is not an image in a format"),
    ("program.png", lambda p: p.write_text("%!PS-Adobe EPSF"), "is not an image in a format"),
    ("bomb.png", bomb, "is too large"),
    ("long.png", saved("PNG", "L", (50_000, 1)), "50 times as long as wide"),
    ("folder.png", lambda p: p.mkdir(), "cannot be opened"),
    ("gone.png", lambda p: p.symlink_to("nowhere"), "there is no such image"),
    ("loop.png", lambda p: p.symlink_to(p.name), "cannot be opened"),
    ("pipe.png", os.mkfifo, "is no file; mend the path"),
    ("levels.tif", saved("TIFF", "F"), "levels are no whole numbers"),
    ("phone.heic", heic, CAPTIONED),
    ("moves.gif", animated, CAPTIONED),
    ("other.avif", saved("AVIF"), CAPTIONED),
    ("scan.tiff", saved("TIFF", "I;16"), CAPTIONED),
    ("print.jpg", saved("JPEG", "CMYK"), CAPTIONED),
    ("clear.png", saved("PNG", "RGBA"), CAPTIONED),
    ("bits.bmp", saved("BMP", "1"), CAPTIONED),
    ("called wrongly.png", saved("JPEG"), CAPTIONED),
    ("dot.png", saved("PNG", size=(1, 1)), CAPTIONED),
    ('\'; "quoted" $HOME `x`.png', saved("PNG"), CAPTIONED),
    ("two\nlines.png", saved("PNG"), CAPTIONED),
    ("<script>alert(1)<script>.png", saved("PNG"), CAPTIONED),
    ("%s {0} ${x}.png", saved("PNG"), CAPTIONED),
    ("🐶 שלום 小白.png", saved("PNG"), CAPTIONED),
    ("..png", saved("PNG"), CAPTIONED),
    ("-rf.png", saved("PNG"), CAPTIONED),
    (f"{'x' * 200}.png", saved("PNG"), CAPTIONED),
    (os.fsdecode(b"caf\xe9.png"), saved("PNG"), "its name is not UTF-8 text; rename it"),
]


@pytest.mark.parametrize(("name", "make", "says"), PHOTOS, ids=range(len(PHOTOS)))
def test_photos(tmp_path: Path, name: str, make: Make, says: str | None) -> None:
    photo(tmp_path / "album" / "Bo" / "1.png", "blue")
    (tmp_path / "photos").mkdir()
    make(tmp_path / "photos" / name)
    album = read_album(tmp_path / "album", largest=64)
    (result,) = caption(tmp_path, NamesAll(), album=album, largest=None)
    result.photo.encode()  # can be written down
    if says is None:
        assert isinstance(result, Captioned)
        assert result.names == ("Bo",)
        write_photos_page(tmp_path / "page.html", album, [result])
        tags, text = check(tmp_path / "page.html")
        assert "script" not in [tag for tag, _ in tags]
        assert "cannot be shown" not in text
    else:
        assert isinstance(result, PassedOver)
        assert any(words in result.problem for words in says.split("|")), result.problem
        assert displayed(tmp_path) not in result.problem  # the line begins with it


def test_a_large_photo_is_shrunk_while_it_is_read(tmp_path: Path) -> None:
    saved("JPEG", size=(3000, 2000))(tmp_path / "large.jpg")
    assert FileImage(tmp_path / "large.jpg", 800).load().size == (800, 533)


def test_a_photo_of_two_friends_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("Bo", "Kim"):
        photo(tmp_path / "album" / name / "1.png", "blue")
    photo(tmp_path / "photos" / "1.png")
    (result,) = caption(tmp_path, NamesAll())
    assert isinstance(result, Captioned)
    assert "Bo and Kim have the same first photo; give one of them another" in caplog.text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: 007", "about.yaml, key 'name': is 7, need text"),
        ("name: no", "about.yaml, key 'name': is false, need text"),
        ("name: ''\ninfo: x", None),
        ("name: ../../etc\ninfo: x", None),
        ("name: \u202ebo\ninfo: x", "holds a character that cannot be seen"),
        ("info: [a, b]", "about.yaml, key 'info': is "),
        ("a: &x [*x]", "about.yaml"),
        ("name: !!python/object/apply:os.system [ls]", "about.yaml"),
        ("info: caf\xe9", None),
        ("\0", "about.yaml"),
    ],
)
def test_what_about_yaml_may_hold(tmp_path: Path, text: str, says: str | None) -> None:
    about(tmp_path / "album" / "Bo", text)
    if says is None:
        assert len(read_album(tmp_path / "album", largest=None).friends) == 1
    else:
        with pytest.raises(ValueError, match=says) as refused:
            read_album(tmp_path / "album", largest=None)
        assert str(tmp_path) in str(refused.value)


def test_a_folder_that_is_called_as_a_file_of_the_album(tmp_path: Path) -> None:
    photo(tmp_path / "album" / "Bo" / "1.png")
    (tmp_path / "album" / "Bo" / "about.yaml").mkdir()
    with pytest.raises(ValueError, match=r"about.yaml: cannot be read \(Is a directory\)"):
        read_album(tmp_path / "album", largest=None)


def test_folders_that_lead_in_circles_come_to_an_end(tmp_path: Path) -> None:
    photo(tmp_path / "photos" / "1.png")
    (tmp_path / "photos" / "again").symlink_to(tmp_path / "photos")
    assert [path.name for path in pictures_in([tmp_path / "photos"])] == ["1.png"]


def test_photos_in_folders_that_are_links_are_found_once(tmp_path: Path) -> None:
    for place in ("far/trip/1.png", "photos/b/2.png", "far/.hidden/3.png"):
        photo(tmp_path / place)
    photos = tmp_path / "photos"
    for name, place in (("c", "far"), (".d", "far"), ("a", "photos/b"), ("e", "gone")):
        (photos / name).symlink_to(tmp_path / place)
    assert list(pictures_in([photos])) == [photos / "b" / "2.png", photos / "c" / "trip" / "1.png"]
