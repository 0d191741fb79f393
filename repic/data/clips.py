"""Clips: read from a film's file, and shown with less than there is, to see what a model uses."""

import random
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from repic.data.images import FileImage
from repic.pixels import UnreadableError
from repic.types import Clip, Example, Frame

FILMS = frozenset(".mp4 .m4v .mov .3gp .mkv .webm .avi .mpg .mpeg .mts".split())
# What such files may be inside. FFmpeg knows lists of addresses and of files, too.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts"
_MOST_PIXELS = 2**26  # of a picture, before it is shrunk: twice those of 8K

ONE_FRAME, SHUFFLED, NO_FRAMES = "one_frame", "shuffled", "no_frames"
# What a clip is shown as, to see what a caption owes to the frames, and to their order.
CONTROLS: Mapping[str, str] = {
    ONE_FRAME: "one frame",
    SHUFFLED: "frames shuffled",
    NO_FRAMES: "no frames",
}


def controlled(example: Example, control: str) -> Example:
    """Return an example of which a model is shown less; what is right of it stays.

    Args:
        example: about a clip.
        control: ``one_frame`` leaves the middle one with its time; ``shuffled`` exchanges the
            pictures, and the times stay in their order; ``no_frames`` leaves the question alone.

    Raises:
        ValueError: it is not about a clip.
    """
    clip = example.query
    if not isinstance(clip, Clip):
        raise ValueError(f"phase.evaluate.controls: {example.id} is about no clip; leave it empty")
    frames = clip.frames
    if control == ONE_FRAME:
        middle = len(frames) // 2
        shown = frames[middle : middle + 1]
    elif control == SHUFFLED:
        rng, order = random.Random(f"shuffled/{example.id}"), list(range(len(frames)))
        while len(order) > 1 and order == sorted(order):
            rng.shuffle(order)
        shown = tuple(Frame(f.second, frames[i].image) for f, i in zip(frames, order, strict=True))
    else:
        shown = ()
    return replace(example, query=Clip(clip.name, shown))


@dataclass(frozen=True)
class FilmPicture:
    """A picture out of a film; see ``repic.types.ImageSource``."""

    path: Path
    second: float
    content: str
    picture: Image.Image = field(repr=False, compare=False)

    @property
    def key(self) -> str:
        return f"{self.path}#t={self.second:g}"

    def load(self) -> Image.Image:
        return self.picture.copy()


@dataclass(frozen=True)
class FilmFile:
    """A film that is read when it is needed; see ``read_clip`` and ``repic.types.ImageSource``."""

    path: Path
    largest: int | None
    count: int

    @property
    def key(self) -> str:
        return str(self.path)

    @cached_property
    def content(self) -> str:
        """A hash of the file, and of what is taken from it."""
        return f"{FileImage(self.path, self.largest).content}, {self.count} frames"

    def clip(self) -> Clip:
        """Return its frames."""
        return read_clip(self.path, self.count, largest=self.largest)

    def load(self) -> Image.Image:
        return self.clip().load()


def open_picture(path: Path, *, largest: int | None, frames: int) -> FileImage | FilmFile:
    """A photo, or by its name a film of which so many frames are looked at."""
    is_film = path.suffix.lower() in FILMS
    return FilmFile(path, largest, frames) if is_film else FileImage(path, largest)


def read_clip(path: Path, count: int, *, largest: int | None) -> Clip:
    """Read evenly spaced frames of a film, upright: the middles of as many equal parts.

    Args:
        path: the file.
        count: of frames; a film that has fewer gives all.
        largest: see ``FileImage``.

    Raises:
        ValueError: the file cannot be read as a film, or holds no frame; or PyAV is missing.
    """
    try:
        import av
    except ImportError:
        mend = "pip install 'repic[video]'"
        raise ValueError(f"{path}: is a film, which needs a package: {mend}") from None
    try:
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": ""}
        if path.is_file() and not path.stat().st_size:
            raise UnreadableError("is empty; copy it again")
        with path.open("rb") as file, av.open(file, options=options) as film:
            shown = _pictures(film, count, largest)
    except FileNotFoundError:
        problem = "there is no such film; put it there or mend the path"
    except UnreadableError as error:
        problem = str(error)
    except Exception as error:  # a decoder that a broken file leads astray may raise anything
        said = getattr(error, "strerror", None) or str(error)
        problem = f"cannot be read as a film ({said}); it may be incomplete: copy it again"
    else:
        whole = FileImage(path, largest).content
        return Clip(
            str(path),
            tuple(
                Frame(second, FilmPicture(path, second, f"{whole}, at {second} s", picture))
                for second, picture in shown
            ),
        )
    raise ValueError(f"{path}: {problem}")


def _pictures(film: Any, count: int, largest: int | None) -> list[tuple[float, Image.Image]]:
    """Choose frames by when the file says they are shown, then decode those alone."""
    from av.stream import Disposition

    # The cover of a song is a film of one picture.
    streams = [s for s in film.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        what = "sound alone; name a film" if film.streams.audio else "no picture; copy it again"
        raise UnreadableError(f"holds {what}")
    stream = streams[0]
    if stream.width * stream.height > _MOST_PIXELS:
        size = f"{stream.width} × {stream.height}"
        raise UnreadableError(f"is too large ({size} pixels); scale it down")
    packets = (packet for packet in film.demux(stream) if packet.size)
    shown = (packet.dts if packet.pts is None else packet.pts for packet in packets)
    times = sorted({time for time in shown if time is not None})
    if not times:
        raise UnreadableError("holds no frame; record it, or copy it, again")
    unit = float(stream.time_base)
    digits = 1 if (times[-1] - times[0]) * unit > count / 2 else 3
    found = []
    for time in _spread(times, count):
        picture = _upright(_decode(film, stream, time), stream, largest)
        found.append((round((time - times[0]) * unit, digits), picture))
    return found


def _spread(times: Sequence[int], count: int) -> list[int]:
    """The frames that are shown at the middles of equal parts.

    Example:
        >>> _spread([0, 1, 2, 3, 4, 5], 3), _spread([4, 8], 3)
        ([1, 3, 5], [4, 8])
    """
    if len(times) <= count:
        return list(times)
    length = (times[-1] - times[0]) * len(times) / (len(times) - 1)  # the last one is shown, too
    middles = (times[0] + length * (i + 0.5) / count for i in range(count))
    return list(dict.fromkeys(times[bisect(times, middle) - 1] for middle in middles))


def _decode(film: Any, stream: Any, time: int) -> Any:
    film.seek(time, stream=stream)  # to the last frame before it that stands by itself
    for frame in film.decode(stream):
        if frame.pts is not None and frame.pts >= time:
            return frame
    raise UnreadableError("breaks off before its end; copy it again")


def _upright(frame: Any, stream: Any, largest: int | None) -> Image.Image:
    sides = frame.width * float(stream.sample_aspect_ratio or 1), frame.height
    shrink = min(1.0, (largest or max(sides)) / max(sides))
    width, height = (max(round(side * shrink), 1) for side in sides)
    picture = frame.reformat(width=width, height=height, format="rgb24").to_image()
    return picture.rotate(frame.rotation, expand=True) if frame.rotation else picture
