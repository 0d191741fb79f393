import base64
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from repic.data.images import FileImage
from repic.judges.pictures import PictureEncoder
from tests.fakes import Noise


def decode(url: str) -> Image.Image:
    head, _, data = url.partition(",")
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert head == f"data:image/{str(image.format).lower()};base64"
    return image


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 64))
def test_a_picture_shrinks_to_the_longest_side_and_never_grows(
    width: int, height: int, most: int
) -> None:
    picture = Image.new("RGB", (width, height))
    size = decode(PictureEncoder(max_side=most, format="png").data_url(picture)).size
    assert max(size) == min(max(width, height), most)
    assert picture.size == (width, height)


def test_png_holds_the_very_pixels() -> None:
    picture = Noise(0)
    encoder = PictureEncoder(max_side=28, format="png")
    assert decode(encoder.data_url(picture)).tobytes() == picture.load().tobytes()
    assert encoder.data_url(picture) == encoder.data_url(picture.load())
    assert encoder.data_url(picture) != encoder.data_url(Noise(1))


def test_jpeg_is_close() -> None:
    grey = Image.new("L", (20, 30), 77)
    image = decode(PictureEncoder(max_side=100, format="jpeg").data_url(grey))
    assert image.size == (20, 30)
    assert image.getpixel((3, 4)) == pytest.approx((77, 77, 77), abs=2)


@pytest.mark.parametrize("format", ["png", "jpeg"])
def test_an_endpoint_is_sent_pixels_and_nothing_that_a_file_says_beside_them(
    tmp_path: Path, format: str
) -> None:
    exif = Image.Exif()
    exif[0x010E] = "MY STREET"
    Image.new("RGB", (40, 30)).save(tmp_path / "photo.jpg", exif=exif, comment=b"MY STREET")
    encoder = PictureEncoder(max_side=64, format=format)
    with Image.open(tmp_path / "photo.jpg") as opened:
        for picture in (opened, FileImage(tmp_path / "photo.jpg")):
            sent = base64.b64decode(encoder.data_url(picture).partition(",")[2])
            assert b"MY STREET" not in sent
