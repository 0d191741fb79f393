"""Clips of toys that walk in and out, with exact truth for every frame.

A film lasts two seconds a frame, and its frames are taken at 1 s, 3 s, 5 s, ...: the middles of as
many equal parts. Whoever is there at such a time stands in the picture as a whole; between two of
them toys walk, and before their first and after their last one they come in and go out.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Ge, Le

from repic.toybox import scene as stage
from repic.toybox.dataset import (
    CaptionDataset,
    SceneRules,
    imperfect_target,
    make_references,
    sample_identities,
)
from repic.toybox.draw import Pose
from repic.toybox.grammar import clip_time, write_clip_captions
from repic.toybox.world import BACKGROUNDS, Toy, draw_names
from repic.types import Clip, Example, Frame, Mention, Scene

SIZE = (192, 64)  # of a frame, in pixels at scale 1
MOST_AT_ONCE = 3
PART = 2.0  # seconds
WALK = 0.45  # of a part, that coming in takes, and going out
OUTSIDE = 34.0  # pixels beyond the edge, where nothing of a toy is seen

FrameCount = Annotated[int, Ge(2), Le(16)]


@dataclass(frozen=True)
class FilmFrame(stage.ToyboxImage):
    """One picture of a film; those of one film have background and light in common."""

    second: float

    @property
    def key(self) -> str:
        return f"{super().key}#t={self.second:g}"


@dataclass(frozen=True)
class Walk:
    """Where a toy stands in those frames, one after another from ``first`` on, that show it.

    Attributes:
        places: horizontal centres in pixels.
        entry, exit: where it comes from, and where it goes.
        pose: all else; its centre is not used.
    """

    toy: Toy
    first: int
    places: tuple[float, ...]
    entry: float
    exit: float
    pose: Pose

    @property
    def frames(self) -> range:
        return range(self.first, self.first + len(self.places))

    def at(self, part: float) -> Pose | None:
        """How it is seen at a time, counted in parts from the first frame; None: not at all."""
        stops = [self.first - WALK, *self.frames, self.frames[-1] + WALK]
        places = [self.entry, *self.places, self.exit]
        for (start, end), (x0, x1) in zip(pairwise(stops), pairwise(places), strict=True):
            if start <= part <= end:
                x = x0 + (x1 - x0) * (part - start) / (end - start)
                pose = self.pose
                return Pose((x, pose.centre[1]), pose.height, pose.tilt, pose.mirrored)
        return None


@dataclass(frozen=True)
class Film:
    """Toys on their ways; any picture of it can be drawn."""

    seed: str
    background: str
    walks: tuple[Walk, ...]
    num_frames: int
    scale: float

    @property
    def seconds(self) -> list[float]:
        """When the frames are taken."""
        return [PART * (i + 0.5) for i in range(self.num_frames)]

    def at(self, second: float) -> FilmFrame:
        """The picture at a time."""
        seen = [(walk.toy, walk.at(second / PART - 0.5)) for walk in self.walks]
        beings = tuple((toy, pose) for toy, pose in seen if pose is not None)
        return FilmFrame(SIZE, beings, self.background, self.seed, self.scale, second)

    @property
    def clip(self) -> Clip:
        """The frames, as a prompt shows them."""
        frames = tuple(Frame(second, self.at(second)) for second in self.seconds)
        return Clip(f"toybox:{self.seed}@{self.scale:g}", frames)

    def truth(self, names: Sequence[str | None]) -> Scene:
        """Who is there and when, in the order in which they come; ``names`` are the walks'."""
        mentions = []
        for walk, name in sorted(zip(self.walks, names, strict=True), key=lambda w: w[0].first):
            time = clip_time([self.seconds[i] for i in walk.frames])
            mentions.append(Mention({**walk.toy.attributes, "time": time}, name))
        return Scene(tuple(mentions))

    def write(self, path: Path, *, rate: int) -> None:
        """Write it as a film with so many pictures a second; its ending says in which format."""
        import av

        with av.open(str(path), "w") as file:
            stream = file.add_stream("gif" if path.suffix == ".gif" else "mpeg4", rate=rate)
            stream.width, stream.height = (round(side * self.scale) for side in SIZE)
            stream.pix_fmt = "rgb8" if path.suffix == ".gif" else "yuv420p"
            stream.bit_rate = 8_000_000  # blocks would hide what the pictures show
            for i in range(round(self.num_frames * PART * rate)):
                picture = av.VideoFrame.from_image(self.at(i / rate).load())
                file.mux(stream.encode(picture))
            file.mux(stream.encode())


def make_film(toys: Sequence[Toy], seed: str, *, num_frames: int, scale: float) -> Film:
    """Let toys walk in and out, at most three at once; equal seeds give equal films.

    Raises:
        ValueError: there are more toys than have room.
    """
    longest = min(num_frames, MOST_AT_ONCE * num_frames // max(len(toys), 1))
    if longest < 1:
        raise ValueError(f"{len(toys)} toys are too many for a clip of {num_frames} frames")
    rng = random.Random(f"film:{seed}")
    spans = _spans(len(toys), num_frames, longest, rng)
    places: list[list[float]] = [[] for _ in toys]
    for frame in range(num_frames):
        there = [i for i, span in enumerate(spans) if frame in span]
        for i, x in zip(there, stage.columns(len(there), SIZE[0], rng), strict=True):
            places[i].append(x)
    edges = (-OUTSIDE, SIZE[0] + OUTSIDE)
    walks = tuple(
        Walk(
            toy,
            span.start,
            tuple(xs),
            rng.choice(edges),
            rng.choice(edges),
            stage.random_pose((0, SIZE[1] / 2 + rng.uniform(-3, 3)), rng),
        )
        for toy, span, xs in zip(toys, spans, places, strict=True)
    )
    return Film(seed, rng.choice(BACKGROUNDS), walks, num_frames, scale)


def _spans(count: int, num_frames: int, longest: int, rng: random.Random) -> list[range]:
    """Draw the frames in which each of some toys is there, in none more than have room."""
    every = [
        range(first, last + 1)
        for first in range(num_frames)
        for last in range(first, min(first + longest, num_frames))
    ]
    spans: list[range] = []
    while len(spans) < count:
        taken = [sum(frame in span for span in spans) for frame in range(num_frames)]
        free = [span for span in every if all(taken[frame] < MOST_AT_ONCE for frame in span)]
        spans = [*spans, rng.choice(free)] if free else []  # begin anew
    return spans


@dataclass(eq=False, kw_only=True)
class ClipDataset(CaptionDataset):
    """Personalized captions of clips, which say who is there and when.

    Attributes:
        frames: of a clip.
        others: see ``CaptionDataset``; the counts are of named toys in a clip.
    """

    kind: ClassVar = "clip"

    frames: FrameCount

    def make(self, key: str, count: int, rng: random.Random, rules: SceneRules) -> Example:
        named, strangers, absent = sample_identities(self.split, count, rng, rules)
        names = draw_names(self.split, count + len(absent), rng)
        cast = [*zip(named, names, strict=False), *((toy, None) for toy in strangers)]
        rng.shuffle(cast)
        film = make_film(
            [toy for toy, _ in cast], f"{key}/film", num_frames=self.frames, scale=self.scale
        )
        scene = film.truth([name for _, name in cast])
        concepts = list(zip([*named, *absent], names, strict=True))
        write = partial(write_clip_captions, seconds=film.seconds)
        return Example(
            id=f"toybox/{key}",
            task="caption",
            references=make_references(concepts, key, rng, rules, self.scale),
            query=film.clip,
            question=rng.choice(list(self.questions)),
            # Toy by toy: the shorter way to say it.
            target=imperfect_target(scene, names, rng, rules, lambda s: write(s)[:1]),
            answers=write(scene),
            present=tuple(m.name for m in scene.mentions if m.name),
            num_concepts=count,
            scene=scene,
        )
