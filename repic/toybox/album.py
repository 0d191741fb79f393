"""An album of toys as picture files: ``python -m repic.toybox.album <folder>``.

    <folder>/album/<name>/1.png ...   friends, none of whom a model has seen in training
    <folder>/photos/1.png ...         scenes with one to five of them, and strangers
    <folder>/photos/who.csv           who is in which, and a caption of it
    <folder>/clips/1.mp4 ...          if asked for: films in which one to three of them come and go
    <folder>/clips/who.csv            who is in which, and when

The album says how models that learned from toybox are asked, so that one of them can be used on it.
"""

import argparse
import csv
import io
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from repic import files
from repic.toybox import scene as stage
from repic.toybox.clips import make_film
from repic.toybox.grammar import describe, write_captions, write_clip_captions
from repic.toybox.world import Toy, draw_names, names, toys
from repic.types import Scene

# As conf/data/toybox.yaml has it, which the shipped model and all that is trained from it know.
PROMPT = {
    "reference": "{index}.[{image}][ Info: {info}.] Name: {name}\n",
    "query": "[{image}]{question}",
}
QUESTIONS = ["Describe this picture."]
SPLIT = "test"
MOST_IN_PHOTO, MOST_IN_CLIP = 5, 3
WHO = "who.csv"
CLIP_FRAMES, RATE = 4, 10  # times at which toys stand still; pictures a second


def write_album(
    folder: Path,
    *,
    friends: int,
    per_friend: int,
    photos: int,
    strangers: tuple[int, int],
    scale: float,
    seed: int,
    clips: int = 0,
) -> None:
    """Write an album and photos; equal arguments give equal files.

    Args:
        folder: gets ``album`` and ``photos``.
        friends: how many; their toys and names are of the test split.
        per_friend: photos of each.
        photos: scenes; as many with one friend in them as with two, ..., five.
        strangers: least and most toys of each scene that are nobody's friend.
        scale: resolution; 1 is what the tiny model reads.
        seed: decides all.
        clips: films of friends, which need PyAV to be written.

    Raises:
        ImportError: it is missing.
        ValueError: an album of other arguments lies there.
    """
    rng = random.Random(f"album/{seed}")
    cast = rng.sample(toys(SPLIT), friends)
    called = draw_names(SPLIT, friends, rng)
    others = [toy for toy in toys(SPLIT) if toy not in cast]
    known = dict(zip(cast, called, strict=True))
    scenes, films = [], []
    for number in range(photos):
        count = min(number % MOST_IN_PHOTO + 1, friends)
        beings: list[Toy] = rng.sample(cast, count)
        beings += rng.sample(others, rng.randint(*strangers))
        rng.shuffle(beings)
        picture, poses = stage.arrange(beings, f"album/{seed}/photo/{number}", scale=scale)
        truth = stage.ground_truth(beings, [known.get(toy) for toy in beings], poses, picture)
        file = f"{number + 1:0{len(str(photos))}}.png"
        scenes.append((picture, (file, truth, write_captions(truth)[0])))
    for number in range(clips):
        beings = rng.sample(cast, min(number % MOST_IN_CLIP + 1, friends))
        beings += rng.sample(others, rng.randint(0, 1))
        rng.shuffle(beings)
        film = make_film(beings, f"album/{seed}/clip/{number}", num_frames=CLIP_FRAMES, scale=scale)
        truth = film.truth([known.get(toy) for toy in beings])
        file = f"{number + 1:0{len(str(clips))}}.mp4"
        films.append((film, (file, truth, write_clip_captions(truth, film.seconds)[0])))
    album, shown, moving = folder / "album", folder / "photos", folder / "clips"
    tables = {shown: _who([row for _, row in scenes])}
    tables |= {moving: _who([row for _, row in films])} if films else {}
    _refuse_others(tables)
    for toy, name in zip(cast, called, strict=True):
        home = album / name.strip("<>")
        home.mkdir(parents=True, exist_ok=True)
        for number in range(per_friend):
            picture = stage.portrait(toy, f"album/{seed}/{name}/{number}", scale=scale)
            picture.load().save(home / f"{number + 1}.png")
        about = {"info": describe(toy.attributes), "category": toy.species}
        files.write_text(home / "about.yaml", yaml.safe_dump(about, sort_keys=False))
    said = {"prompt": PROMPT, "questions": QUESTIONS}
    files.write_text(album / "album.yaml", yaml.safe_dump(said, sort_keys=False))
    for place in tables:
        place.mkdir(parents=True, exist_ok=True)
    files.write_text(shown / WHO, tables[shown])
    for picture, (file, *_) in scenes:
        picture.load().save(shown / file)
    for film, (file, *_) in films:
        film.write(moving / file, rate=RATE)
    if films:
        files.write_text(moving / WHO, tables[moving])


def _refuse_others(tables: Mapping[Path, str]) -> None:
    """Raise where an album of other arguments lies; its pictures would stay between the new ones.

    Args:
        tables: folder -> what its table will say.
    """
    for place, text in tables.items():
        if (place / WHO).exists() and files.read_text(place / WHO) != text:
            raise ValueError(
                f"{place}: holds other pictures, between which these would lie; remove"
                f" {place.parent}, or name another folder"
            )


def _who(rows: Sequence[tuple[str, Scene, str]]) -> str:
    """A table of who is in which picture, with a caption."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("photo", "names", "caption"))
    for file, truth, caption in rows:
        inside = [mention.name.strip("<>") for mention in truth.mentions if mention.name]
        table.writerow((file, ";".join(inside), caption))
    return text.getvalue()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="repic.toybox.album", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("folder", type=Path, help="gets album/ and photos/")
    add = parser.add_argument
    add("--friends", type=int, default=12, help="how many (default: %(default)s)")
    add("--per-friend", type=int, default=5, help="photos of each (default: %(default)s)")
    add("--photos", type=int, default=40, help="scenes to caption (default: %(default)s)")
    add("--clips", type=int, default=0, help="films to caption (default: %(default)s)")
    add("--scale", type=float, default=1.0, help="of the pictures (default: %(default)s)")
    add("--seed", type=int, default=0, help="another one, another album (default: %(default)s)")
    asked = parser.parse_args(arguments)
    if min(asked.friends, asked.per_friend, asked.photos) < 1 or not 0 < asked.scale <= 16:
        parser.error("numbers are 1 or more, and the scale is above 0, 16 at most")
    if asked.friends > (most := min(len(names(SPLIT)), len(toys(SPLIT)))):
        parser.error(f"there are no more than {most} friends with names of their own")
    try:
        write_album(
            asked.folder,
            friends=asked.friends,
            per_friend=asked.per_friend,
            photos=asked.photos,
            strangers=(0, 2),
            scale=asked.scale,
            seed=asked.seed,
            clips=asked.clips,
        )
    except ImportError:
        print(
            "repic.toybox.album: films need a package: pip install 'repic[video]'", file=sys.stderr
        )
        return 1
    except ValueError as error:
        print(f"repic.toybox.album: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"repic.toybox.album: {asked.folder}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"{asked.friends} friends in {asked.folder / 'album'}, {asked.photos} photos beside it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
