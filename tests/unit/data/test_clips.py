"""Clips in prompts, their controls, and films of every awkward kind."""

import builtins
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from repic.data.clips import CONTROLS, controlled, open_picture, read_clip
from repic.data.prompts import PromptTemplate
from repic.types import Clip, Frame
from tests.fakes import Noise, example

FRAMES = tuple(Frame(second, Noise(i)) for i, second in enumerate((0.5, 1.5, 2.0, 12.0)))
FILM = Clip("film", FRAMES)
CLIP = example("e", [Noise(9)], FILM, "Who?")
WORDS = {"system": None, "reference": "{name}[ {image}][{info}]. ", "query": "[{image}]{question}"}


def test_every_frame_stands_behind_its_time() -> None:
    prompt = PromptTemplate(**WORDS)
    said = "0.5 s:<image> 1.5 s:<image> 2 s:<image> 12 s:<image> Who?"
    assert prompt.text(CLIP) == f"<bo0> <image>. {said}"
    (message,) = prompt.messages(CLIP)
    shown = [item["image"] for item in message["content"] if "image" in item]
    assert shown == [Noise(9), *(frame.image for frame in FRAMES)]
    own = PromptTemplate(**WORDS, frame="({time})[{image}]")
    assert own.text(CLIP).endswith("(0.5)<image>(1.5)<image>(2)<image>(12)<image>Who?")
    with pytest.raises(ValueError, match=r"data\.prompt\.frame: .*\{time\} must appear once"):
        PromptTemplate(**WORDS, frame="[{image}]")


def test_a_clip_is_a_picture_of_all_frames() -> None:
    assert FILM.key == "film#t=0.5,1.5,2,12"
    assert FILM.load().size == (57, 57)  # of 28 pixels each, and a line between
    assert CLIP.images == (Noise(9), FILM)
    moved = Clip("film", (Frame(0.6, FRAMES[0].image), *FRAMES[1:]))
    assert len({clip.content for clip in (FILM, moved, Clip("other", FRAMES))}) == 2
    assert Clip("none", ()).load().size == (1, 1)


def test_controls_show_less_and_leave_what_is_right() -> None:
    shown = {}
    for control in CONTROLS:
        clip = controlled(CLIP, control).query
        assert isinstance(clip, Clip)
        shown[control] = clip.frames
    assert shown["one_frame"] == (FRAMES[2],)
    assert shown["no_frames"] == ()
    assert PromptTemplate(**WORDS).text(controlled(CLIP, "no_frames")) == "<bo0> <image>. Who?"
    shuffled = shown["shuffled"]
    assert [frame.second for frame in shuffled] == [frame.second for frame in FRAMES]
    assert sorted(f.image.seed for f in shuffled) == [0, 1, 2, 3]
    assert shuffled != FRAMES
    assert controlled(CLIP, "shuffled") == controlled(CLIP, "shuffled")
    assert replace(controlled(CLIP, "shuffled"), query=FILM) == CLIP
    with pytest.raises(ValueError, match="e is about no clip"):
        controlled(example("e", query=Noise(1)), "shuffled")


def film(
    path: Path, count: int = 30, size: tuple[int, int] = (64, 32), turn: int = 0, **kind: str
) -> Path:
    """A film of 10 pictures a second: a red corner at the top left, and it grows lighter."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w", format=kind.get("format")) as file:
        stream = file.add_stream(kind.get("codec", "mpeg4"), rate=10)
        stream.width, stream.height = size
        stream.pix_fmt = "rgb8" if kind.get("codec") == "gif" else "yuv420p"
        if turn:
            stream.set_display_rotation(turn)
        for i in range(count):
            pixels = np.full((size[1], size[0], 3), 8 * i, np.uint8)
            pixels[: size[1] // 2, : size[0] // 2] = (255, 0, 0)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        file.start_encoding()
        file.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "mpeg4"), ("a.MOV", "mpeg4"), ("a.avi", "mpeg4"), ("a.webm", "libvpx")],
)
def test_frames_are_evenly_spaced(tmp_path: Path, name: str, codec: str) -> None:
    clip = read_clip(film(tmp_path / name, codec=codec), 3, largest=None)
    assert clip.key == f"{tmp_path / name}#t=0.5,1.5,2.5"
    grey = [frame.image.load().getpixel((60, 28))[0] for frame in clip.frames]
    assert grey == pytest.approx([8 * 5, 8 * 15, 8 * 25], abs=6)


@pytest.mark.parametrize(
    ("turn", "corner"),
    [(0, (2, 2)), (90, (2, 61)), (180, (61, 29)), (-90, (29, 2)), (270, (29, 2))],
)
def test_a_film_is_upright(tmp_path: Path, turn: int, corner: tuple[int, int]) -> None:
    """Turned against the clock, the red corner goes down, to the right, and up."""
    (frame,) = read_clip(film(tmp_path / "a.mp4", turn=turn), 1, largest=None).frames
    picture = frame.image.load()
    assert picture.size == ((64, 32) if turn in (0, 180) else (32, 64))
    red, green, _ = picture.getpixel(corner)
    assert red > 200 > 90 > green


def test_few_frames_and_large_ones(tmp_path: Path) -> None:
    few = read_clip(film(tmp_path / "few.mp4", count=3), 8, largest=None)
    assert [frame.second for frame in few.frames] == [0, 0.1, 0.2]
    assert len(read_clip(film(tmp_path / "one.mp4", count=1), 8, largest=None).frames) == 1
    large = film(tmp_path / "large.mp4", count=1, size=(1000, 500))
    assert read_clip(large, 1, largest=100).frames[0].image.load().size == (100, 50)
    contents = {open_picture(large, largest=100, frames=n).content for n in (4, 4, 8)}
    assert len(contents) == 2


def sound(path: Path) -> None:
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=44100)
        samples = av.AudioFrame.from_ndarray(
            np.zeros((2, 2048), np.float32), format="fltp", layout="stereo"
        )
        samples.rate = 44100
        file.mux(stream.encode(samples))
        file.mux(stream.encode())


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: None, "there is no such film"),
        (lambda path: path.write_bytes(b""), "is empty; copy it again"),
        (lambda path: path.write_text("hello" * 99), "cannot be read as a film"),
        (lambda path: path.mkdir(), "cannot be read as a film"),
        (sound, "holds sound alone; name a film"),
        (lambda path: film(path, count=0, format="mp4"), "holds no picture"),
        (lambda path: film(path, codec="gif", format="gif"), "cannot be read as a film"),
        (lambda path: path.write_text("ffconcat version 1.0\nfile a.mp4\n"), "cannot be read"),
        (
            lambda path: path.write_bytes(film(path).read_bytes()[:600]),
            "cannot be read as a film .*; it may be incomplete: copy it again",
        ),
    ],
)
def test_what_is_no_film_is_told(tmp_path: Path, make, problem: str) -> None:
    pytest.importorskip("av")
    path = tmp_path / "a.mp4"
    make(path)
    with pytest.raises(ValueError, match=f"a.mp4: {problem}"):
        read_clip(path, 4, largest=1600)


def test_what_is_too_large_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film(tmp_path / "a.mp4", count=1)
    monkeypatch.setattr("repic.data.clips._MOST_PIXELS", 2047)
    with pytest.raises(ValueError, match=r"a\.mp4: is too large \(64 × 32 pixels\); scale it down"):
        read_clip(path, 4, largest=1600)


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *more, **options):
        if name == "av":
            raise ImportError(name)
        return original(name, *more, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"a\.mp4: is a film.*pip install 'repic\[video\]'"):
        read_clip(Path("a.mp4"), 4, largest=None)
