import errno
import io
import os
import random
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from repic.data.images import FileImage
from repic.types import ImageSource
from tests.campaigns import pictures

ROTATED_RIGHT = 6  # EXIF orientation: turn by 90 degrees clockwise to see it upright


def test_a_photo_is_turned_upright_and_rgb(tmp_path: Path) -> None:
    lying = Image.new("L", (40, 20), 0)
    lying.paste(255, (0, 0, 20, 20))  # the left half becomes the top
    exif = Image.Exif()
    exif[0x0112] = ROTATED_RIGHT
    lying.save(tmp_path / "photo.png", exif=exif)

    upright = FileImage(tmp_path / "photo.png").load()

    assert (upright.mode, upright.size) == ("RGB", (20, 40))
    assert upright.getpixel((10, 5)) == (255, 255, 255)
    assert upright.getpixel((10, 35)) == (0, 0, 0)


def with_exif(path: Path, *fields: bytes) -> Path:
    """Write a lying photo, red where its top is, with EXIF of these fields and an 8-byte value."""
    table = struct.pack("<H", len(fields)) + b"".join(fields) + struct.pack("<I", 0)
    value = struct.pack("<ii", -1, 0)
    lying = Image.new("RGB", (80, 40), "white")
    lying.paste("red", (0, 0, 40, 40))
    lying.save(path, exif=b"Exif\0\0II*\0" + struct.pack("<I", 8) + table + value)
    return path


def test_every_orientation_is_turned_as_pillow_does(tmp_path: Path) -> None:
    picture = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6))
    for orientation in range(10):
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture.save(tmp_path / "photo.png", exif=exif)
        with Image.open(tmp_path / "photo.png") as file:
            upright = ImageOps.exif_transpose(file)
        found = FileImage(tmp_path / "photo.png").load()
        assert np.array_equal(np.asarray(found)[..., 0], np.asarray(upright))


def test_exif_that_can_be_read_and_not_written_does_not_matter(tmp_path: Path) -> None:
    turn = struct.pack("<HHIHH", 0x0112, 3, 1, ROTATED_RIGHT, 0)
    resolution = struct.pack("<HHII", 0x011A, 10, 1, 38)  # a signed fraction, -1/0
    picture = FileImage(with_exif(tmp_path / "photo.jpg", turn, resolution)).load()
    red, green, blue = np.asarray(picture)[5, 5]
    assert picture.size == (40, 80)
    assert (red > 240, green < 10, blue < 10) == (True, True, True)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_file_with_any_bytes_changed_is_a_picture_or_named(data: st.DataObject) -> None:
    suffix = data.draw(st.sampled_from(["jpg", "png", "gif", "tiff", "webp", "bmp"]))
    exif = Image.Exif()
    exif[0x0112] = ROTATED_RIGHT
    buffer = io.BytesIO()
    Image.new("RGB", (20, 12), "teal").save(buffer, {"jpg": "jpeg"}.get(suffix, suffix), exif=exif)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / f"photo.{suffix}"
        path.write_bytes(content)
        try:
            found = FileImage(path).load().mode
        except ValueError as error:
            found = str(error)
        assert found == "RGB" or found.startswith(f"{path}: ")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(tmp_path: Path, mode: str) -> None:
    cutout = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    cutout.paste((0, 0, 0, 255), (0, 0, 4, 8))
    cutout.convert(mode).save(tmp_path / "cutout.png")
    picture = FileImage(tmp_path / "cutout.png").load()
    assert picture.getpixel((1, 1)) == (0, 0, 0)
    assert picture.getpixel((6, 6)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "RGB"])
def test_any_mode_loads_as_rgb(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (6, 4)).save(tmp_path / "photo.tiff")
    assert FileImage(tmp_path / "photo.tiff").load().mode == "RGB"


@pytest.mark.parametrize(
    ("suffix", "kind"), [("png", np.uint16), ("tiff", np.uint16), ("tiff", np.int32)]
)
def test_grey_of_16_bits_keeps_its_shades(tmp_path: Path, suffix: str, kind: Any) -> None:
    ramp = np.linspace(0, 2**16 - 1, 256).astype(kind)[None].repeat(4, axis=0)
    Image.fromarray(ramp).save(tmp_path / f"ramp.{suffix}")
    picture = FileImage(tmp_path / f"ramp.{suffix}").load()
    assert picture.mode == "RGB"
    assert np.array_equal(np.asarray(picture)[0, :, 0], np.arange(256))


def test_levels_that_would_have_to_be_guessed_are_refused(tmp_path: Path) -> None:
    for name, levels in {
        "whole numbers": np.ones((4, 4), np.float32),
        "16 bits": np.full((4, 4), 70_000, np.int32),
    }.items():
        Image.fromarray(levels).save(tmp_path / "wide.tiff")
        with pytest.raises(ValueError, match=rf"wide\.tiff: .*{name}; save it with 8 bits"):
            FileImage(tmp_path / "wide.tiff").load()


def test_the_key_tells_files_apart_and_the_source_fits_the_protocol(tmp_path: Path) -> None:
    one, other = FileImage(tmp_path / "a.png"), FileImage(tmp_path / "b.png")
    assert isinstance(one, ImageSource)
    assert one.key == str(tmp_path / "a.png") != other.key
    assert one == FileImage(tmp_path / "a.png")


def broken_files(folder: Path) -> dict[str, Path]:
    Image.effect_noise((64, 64), 50).save(folder / "whole.jpg")
    Image.effect_noise((64, 64), 50).save(folder / "whole.png")
    jpeg, png = (folder / "whole.jpg").read_bytes(), (folder / "whole.png").read_bytes()
    contents = {
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "truncated.png": png[: len(png) // 2],
        # A wrong length of the second chunk leads the reader astray.
        "corrupt.png": png[:33] + b"\x00\x00\x00\x01" + png[37:],
        "page.jpg": b"<html>404</html>",
        "empty.jpg": b"",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "folder.jpg").mkdir()
    return {name: folder / name for name in [*contents, "folder.jpg", "missing.jpg"]}


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("missing.jpg", "no such image; put it there"),
        ("page.jpg", "not an image in a format that is read"),
        ("empty.jpg", "not an image in a format that is read"),
        ("truncated.jpg", "may be incomplete: copy or download it again"),
        ("truncated.png", "may be incomplete: copy or download it again"),
        ("corrupt.png", "may be incomplete: copy or download it again"),
        ("folder.jpg", r"cannot be opened \(Is a directory\)"),
    ],
)
def test_a_bad_file_is_named_with_its_mend(tmp_path: Path, name: str, mend: str) -> None:
    path = broken_files(tmp_path)[name]
    with pytest.raises(ValueError, match=mend) as raised:
        FileImage(path).load()
    assert str(path) in str(raised.value)


def test_a_huge_picture_is_not_called_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (64, 64)).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"huge\.png: is too large .*; scale it down$"):
        FileImage(tmp_path / "huge.png").load()


def test_a_file_that_may_not_be_read_is_not_called_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, **options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(ValueError, match=r"photo\.png: cannot be opened \(Permission denied\)"):
        FileImage(tmp_path / "photo.png").load()


@pytest.mark.parametrize("make", [pictures.with_exif, pictures.damaged])
def test_random_headers_and_damage_are_a_picture_or_a_sentence(
    tmp_path: Path, make: Callable[[random.Random], tuple[str, bytes]]
) -> None:
    rng = random.Random(7)
    for number in range(50):
        kind, content = make(rng)
        path = tmp_path / f"{number}.{kind}"
        path.write_bytes(content)
        end, said = pictures.attempt_picture(path)
        assert end in ("taken", "told"), (number, kind, said)


def test_what_is_small_and_opens_large_or_runs_is_refused(tmp_path: Path) -> None:
    for kind, content in pictures.special():
        if "gif" not in kind:  # 65535 pixels wide it is still below the limit, and whole
            (tmp_path / "photo.jpg").write_bytes(content)
            end, said = pictures.attempt_picture(tmp_path / "photo.jpg")
            assert end == "told", (kind, said)
    assert "format that is read" in said  # an EPS is a program


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "photo.jpg")
    with pytest.raises(ValueError, match=r"photo\.jpg: is no file"):
        FileImage(tmp_path / "photo.jpg").load()


@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_a_large_photo_is_shrunk_while_it_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"large.{kind}"
    wide = Image.new("RGB", (800, 401), "white")
    wide.paste("red", (0, 0, 400, 401))
    exif = Image.Exif()
    exif[0x0112] = ROTATED_RIGHT
    wide.save(path, exif=exif)
    shrunk = FileImage(path, largest=100).load()
    assert shrunk.size == (50, 100)
    assert np.allclose(shrunk.getpixel((25, 10)), (255, 0, 0), atol=6)
    assert np.allclose(shrunk.getpixel((25, 90)), (255, 255, 255), atol=6)
    assert FileImage(path, largest=800).load().size == FileImage(path).load().size == (401, 800)
    assert FileImage(path, largest=100).content != FileImage(path).content


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_what_is_shrunk_is_mixed_whatever_its_mode(tmp_path: Path, mode: str) -> None:
    stripes = np.tile(np.array([[0, 255]], np.uint8), (64, 32))
    Image.fromarray(stripes).convert(mode).save(tmp_path / "a.png")
    shrunk = np.asarray(FileImage(tmp_path / "a.png", largest=16).load())
    assert np.allclose(shrunk[:, 1:-1], 127, atol=3)


def test_a_strip_keeps_a_pixel_of_its_height(tmp_path: Path) -> None:
    Image.new("RGB", (50_000, 1), "red").save(tmp_path / "strip.png")
    assert FileImage(tmp_path / "strip.png", largest=1600).load().size == (1600, 1)


def test_heic_is_read_where_its_package_is_there(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    picture = Image.new("RGB", (64, 48), "red")
    pillow_heif.from_pillow(picture).save(tmp_path / "photo.HEIC", quality=90)
    read = FileImage(tmp_path / "photo.HEIC").load()
    assert read.size == (64, 48)
    assert np.allclose(read.getpixel((30, 20)), (255, 0, 0), atol=8)


def test_heic_without_its_package_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repic.data.images._add_heif", lambda: False)
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypmif1 of another kind")
    with pytest.raises(ValueError, match=r"photo.heic: is HEIC, .*pip install 'repic\[heic\]'"):
        FileImage(tmp_path / "photo.heic").load()
