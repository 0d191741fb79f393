import base64
import io
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from repic.page.pictures import ENCODINGS, Album, Encoding, as_uri, fitting_encoding
from tests.properties import at_most


@dataclass(frozen=True)
class Noise:
    """Pixels that compress badly."""

    number: int
    size: tuple[int, int] = (96, 64)

    @property
    def key(self) -> str:
        return f"noise {self.number}"

    def load(self) -> Image.Image:
        noise = Image.effect_noise(self.size, 90)
        return noise.point(lambda value: (value * (self.number + 3)) % 256).convert("RGB")


@dataclass(frozen=True)
class Plain:
    key: str = "plain"

    def load(self) -> Image.Image:
        return Image.new("RGB", (480, 240), "teal")


def decode(uri: str) -> Image.Image:
    assert uri.startswith("data:image/webp;base64,")
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_pictures_are_reduced_and_remember_their_size() -> None:
    album = Album(width=240)
    assert album.add(Plain()) == 0
    (uri,) = album.uris(ENCODINGS[0])
    picture = decode(uri)
    assert picture.size == (240, 120)
    assert album.size(0) == (480, 240)
    assert picture.convert("RGB").getpixel((5, 5)) == pytest.approx((0, 128, 128), abs=3)


def test_small_pictures_are_not_enlarged() -> None:
    album = Album(width=240)
    album.add(Noise(0))
    assert decode(album.uris(ENCODINGS[0])[0]).size == (96, 64)


def test_equal_sources_are_kept_once() -> None:
    album = Album(width=64)
    assert [album.add(Noise(n)) for n in (3, 4, 3, 4)] == [0, 1, 0, 1]
    assert album.add(None) is None
    assert len(album.uris(ENCODINGS[2])) == 2


def test_what_cannot_be_read_is_complained_of_once() -> None:
    class Gone(Plain):
        def load(self) -> Image.Image:
            raise ValueError("gone.jpg: there is no such image")

    album, gone = Album(width=64), Gone()
    assert [album.add(gone), album.add(gone), album.add(Noise(1))] == [None, None, 0]
    assert album.complaints == ["gone.jpg: there is no such image"]


@at_most(15)
@given(st.integers(1, 12), st.integers(1_000, 80_000))
def test_the_chosen_encoding_fits_and_a_better_one_would_not(number: int, room: int) -> None:
    album = Album(width=48)
    for n in range(number):
        album.add(Noise(n))
    chosen = fitting_encoding([album, Album(width=9)], room)
    length = sum(map(len, album.uris(chosen)))
    assert length <= room or chosen == ENCODINGS[-1]
    if chosen != ENCODINGS[0]:
        better = ENCODINGS[ENCODINGS.index(chosen) - 1]
        assert album.estimate(better) > room


def test_an_estimate_from_a_sample_is_close() -> None:
    album = Album(width=48)
    for n in range(150):
        album.add(Noise(n, (48 + n % 7, 40)))
    length = sum(map(len, album.uris(ENCODINGS[4])))
    assert length < album.estimate(ENCODINGS[4]) < 1.15 * length


def test_the_same_picture_is_the_same_text() -> None:
    picture = Noise(1).load()
    assert as_uri(picture, ENCODINGS[4]) == as_uri(picture.copy(), ENCODINGS[4])


def test_fewer_pixels_are_kept_where_there_is_little_room() -> None:
    uri = as_uri(Noise(1).load(), Encoding(25, 0.5))
    assert decode(uri).size == (48, 32)


def test_encodings_go_from_the_best_down() -> None:
    album = Album(width=96)
    for number in range(5):
        album.add(Noise(number))
    sizes = [sum(map(len, album.uris(encoding))) for encoding in ENCODINGS]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 4 * sizes[-1]
