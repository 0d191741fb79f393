"""Photos are captioned once, and again when something that decides the caption has changed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from repic import files
from repic.captioners.captioner import Caption, Cost, Labels
from repic.captioners.photos import KEPT, Captioned, PassedOver, PhotoCaptioner, forget_captions
from repic.data.album import read_album
from repic.data.prompts import PromptTemplate
from repic.models.engine.sampling import TooLongError
from repic.retrieval.retriever import Found
from repic.types import Box, Clip, Example, Frame
from tests.fakes import Noise
from tests.unit.data.test_album import about, photo

PROMPT = PromptTemplate(
    system=None, reference="[{image}][{info}]{name}. ", query="[{image}]{question}"
)


class NamesAll:
    """Names everybody who is introduced, and a stranger."""

    labels = Labels("all", "all", is_shared=False, has_model=False)
    key, decoding = "", None

    def __init__(self) -> None:
        self.asked: list[str] = []

    def cost(self) -> Cost:
        return Cost()

    def write(self, examples: Sequence[Example]) -> list[Caption]:
        for example in examples:
            assert example.query is not None
            if example.query.load().size[0] > 50:
                raise ValueError(f"{example.query.key}: is 50 times as long as wide")
            self.asked.append(Path(example.id).name)
        return [Caption(f"{' '.join(e.pool)} and <zaza>.", True) for e in examples]


class FindsFirst:
    """Finds the first of the album in every photo, and the second, for whom there is no room."""

    class Embedder:
        version = "1"

    embedder = Embedder()

    def find(self, scenes, *, folder: Path):
        first, second = (reference.name for reference in scenes.database[:2])
        found = [Found(first, 0.5, Box(2, 3, 4, 9)), Found(second, 0.25, Box(0, 0, 8, 6), False)]
        return [found for _ in range(len(scenes))]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    photo(tmp_path / "album" / "Bo" / "1.png", "blue")
    about(tmp_path / "album" / "Kim", "info: a mug\naliases: [the mug]")
    for number in range(5):
        photo(tmp_path / "photos" / f"{number}.png", f"rgb({number},2,3)")
    return tmp_path


def caption(
    root: Path, writer: NamesAll, retriever: FindsFirst | None = None, **changes: object
) -> list[Captioned | PassedOver]:
    settings = {
        "album": read_album(root / "album", largest=None),
        "captioner": lambda: writer,
        "key": "model",
        "prompt": PROMPT,
        "question": "Who?",
        "clip_question": "Who is there when?",
        "frames": 3,
        "retriever": (lambda: retriever) if retriever else None,
        "most": 6,
        "largest": None,
        "folder": root,
        "portion": 2,
    }
    made = PhotoCaptioner(**{**settings, **changes})
    return list(made.caption(sorted((root / "photos").iterdir())))


def test_a_caption_says_names_as_people_write_them(root: Path) -> None:
    first, *_ = caption(root, NamesAll())
    assert isinstance(first, Captioned)
    assert first.said == "<Bo> <Kim> and <zaza>."
    assert first.caption == "Bo Kim and <zaza>."  # whom nobody knows keeps the brackets
    assert first.names == ("Bo", "Kim")
    assert first.introduced == {"Bo": None, "Kim": None}


def test_the_second_time_nothing_is_written(root: Path) -> None:
    first = caption(root, NamesAll())
    writer = NamesAll()
    assert caption(root, writer, captioner=lambda: pytest.fail("asked for")) == first
    assert writer.asked == []


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        (lambda root: photo(root / "photos" / "3.png", "white"), ["3.png"]),
        (lambda root: photo(root / "photos" / "9.png", "white"), ["9.png"]),
        (lambda root: (root / "photos" / "3.png").rename(root / "photos" / "7.png"), []),
        (
            lambda root: photo(root / "album" / "Bo" / "1.png", "white"),
            [f"{i}.png" for i in range(5)],
        ),
        (lambda root: about(root / "album" / "Kim", "info: a cup"), [f"{i}.png" for i in range(5)]),
        (lambda root: photo(root / "album" / "Bo" / "2.png"), []),  # the first one is shown
    ],
)
def test_contents_decide_what_is_captioned_again(root: Path, change, asked: list[str]) -> None:
    caption(root, NamesAll())
    change(root)
    writer = NamesAll()
    caption(root, writer)
    assert writer.asked == asked


@pytest.mark.parametrize("changes", [{"key": "other"}, {"question": "What?"}])
def test_another_model_or_question_is_another_caption(root: Path, changes: dict) -> None:
    caption(root, NamesAll())
    writer = NamesAll()
    caption(root, writer, **changes)
    assert len(writer.asked) == 5


def test_an_interrupted_line_is_written_again(root: Path) -> None:
    caption(root, NamesAll())
    kept = root / KEPT
    kept.write_bytes(kept.read_bytes()[:-20])
    writer = NamesAll()
    assert len(caption(root, writer)) == 5
    assert len(writer.asked) <= 1
    assert all(row["key"] for row in files.read_lines(kept))


def test_a_retriever_chooses_whom_the_prompt_introduces(root: Path) -> None:
    for number in range(9):
        photo(root / "album" / f"friend {number}" / "1.png", f"rgb(9,9,{number})")
    with pytest.raises(ValueError, match=r"album: 11 friends are more .*most=6.*retrieval="):
        caption(root, NamesAll())
    first, *_ = caption(root, NamesAll(), FindsFirst())
    assert isinstance(first, Captioned)
    assert first.introduced == {"Bo": 0.5}
    assert first.left_out == {"friend 0": 0.25}
    assert first.names == ("Bo",)
    crop = {"Bo": (0.25, 0.5, 0.5, 1.0)}  # of 8 x 6 pixels
    assert first.boxes == crop
    # A box of the model's own goes before it, if it is one.
    for said, boxes in (("[0, 0, 4, 3]", {"Bo": (0, 0, 0.5, 0.5)}), ("[4, 3, 2, 6]", crop)):
        first, *_ = caption(root, Says(f"<Bo> {said}"), FindsFirst(), key=said)
        assert isinstance(first, Captioned)
        assert first.boxes == boxes
    # Somebody new whom the retriever does not find changes no prompt.
    photo(root / "album" / "Zoe" / "1.png", "rgb(1,1,99)")
    writer = NamesAll()
    caption(root, writer, FindsFirst())
    assert writer.asked == []


class Says(NamesAll):
    """Says always the same, or what is too long for it."""

    def __init__(self, said: str, most: int = 99) -> None:
        super().__init__()
        self.said, self.most = said, most

    def write(self, examples: Sequence[Example]) -> list[Caption]:
        if any(len(example.references) > self.most for example in examples):
            raise TooLongError("a prompt of 9 tokens is too long")
        return [Caption(self.said, True) for _ in examples]


@pytest.mark.parametrize(
    ("said", "boxes"),
    [
        ("<Bo> [2, 3, 4, 6] sits by <Kim>.", {"Bo": (0.25, 0.5, 0.5, 1.0)}),
        ('[{"bbox_2d": [0, 0, 80, 3], "label": "<Kim>"}]', {"Kim": (0, 0, 1, 0.5)}),
        ("<Bo> [4, 3, 2, 6], <zaza> [1, 2, 3, 4].", {}),  # has no width; is nobody
    ],
)
def test_boxes_that_a_model_gives(root: Path, said: str, boxes: dict) -> None:
    for _ in range(2):  # and that are kept
        first, *_ = caption(root, Says(said))
        assert isinstance(first, Captioned)
        assert first.boxes == boxes


class FindsTwo(FindsFirst):
    def find(self, scenes, *, folder: Path):
        return [
            [one._replace(fits=True) for one in some]
            for some in super().find(scenes, folder=folder)
        ]


def test_whom_a_prompt_has_no_room_for_is_left_out_and_told(root: Path) -> None:
    photo(root / "album" / "Zoe" / "1.png", "rgb(1,1,99)")
    first, *_ = caption(root, Says("<Bo>", most=1), FindsTwo())
    assert isinstance(first, Captioned)
    assert (first.introduced, first.left_out) == ({"Bo": 0.5}, {"Zoe": 0.25})
    first, *_ = caption(root, Says("<Bo>", most=-1), FindsTwo(), key="smaller")
    assert first == PassedOver(first.photo, "a prompt of 9 tokens is too long")


def test_who_has_no_photo_cannot_be_found(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    photo(root / "album" / "Zoe" / "1.png", "rgb(1,1,99)")
    caption(root, NamesAll(), FindsFirst())
    assert "without a photo nobody finds Kim; add one" in caplog.text


def test_whoever_is_forgotten_is_in_no_file(root: Path) -> None:
    photo(root / "album" / "Zoe" / "1.png", "rgb(1,1,99)")
    album = read_album(root / "album", largest=None)
    caption(root, NamesAll())
    caption(root, NamesAll(), FindsFirst(), most=1)  # Zoe is found as well, and left out
    only = replace(album, friends=tuple(f for f in album.friends if f.name != "<Zoe>"))
    caption(root, NamesAll(), album=only)
    for name in ("captions.csv", "captions.json", "captions.html"):
        (root / name).write_text("Zoe")
    for key, names in (("1", ["<Bo>", "<Zoe>"]), ("2", ["<Bo>"])):
        files.write_json(root / "retrieval" / key / "entries.json", {"names": names})
        (root / "retrieval" / key / "index.faiss").write_bytes(b"Zoe")
    rows = len(files.read_lines(root / KEPT))
    forget_captions(root, album, album.by_name["<Zoe>"])
    kept = [path for path in root.iterdir() if path.name not in ("album", "photos")]
    assert sorted(path.name for path in kept) == [KEPT, "retrieval"]
    assert [path.name for path in (root / "retrieval").iterdir()] == ["2"]
    assert b"Zoe" not in (root / KEPT).read_bytes()
    assert 0 < len(files.read_lines(root / KEPT)) < rows
    writer = NamesAll()
    caption(root, writer, album=only)  # what names others alone is there
    assert writer.asked == []


def test_what_cannot_be_read_is_passed_over_and_named(root: Path) -> None:
    (root / "photos" / "0.png").write_bytes(b"no picture")
    (root / "photos" / "1.png").write_bytes(b"")
    (root / "photos" / "2.jpg").write_bytes((root / "photos" / "2.png").read_bytes()[:-30])
    Image.new("RGB", (60, 1)).save(root / "photos" / "5.png")
    results = {Path(r.photo).name: r for r in caption(root, NamesAll())}
    problems = {k: r.problem for k, r in results.items() if isinstance(r, PassedOver)}
    assert sorted(problems) == ["0.png", "1.png", "2.jpg", "5.png"]
    assert "is not an image" in problems["0.png"]
    assert "cannot be read as an image" in problems["2.jpg"]
    assert problems["5.png"] == "is 50 times as long as wide"
    assert isinstance(results["2.png"], Captioned)


def test_for_files_that_cannot_be_read_no_model_is_loaded(root: Path) -> None:
    first = caption(root, NamesAll())
    (root / "photos" / "6.png").write_bytes(b"no picture")
    again = caption(root, NamesAll(), captioner=lambda: pytest.fail("asked for"))
    assert again[:-1] == first
    assert isinstance(again[-1], PassedOver)
    assert again[-1].problem.startswith("is not an image")


def test_a_friend_s_broken_photo_is_no_photo_s_fault(root: Path) -> None:
    (root / "album" / "Bo" / "1.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"album/Bo/1.png: is not an image"):
        caption(root, NamesAll())


def read(path: Path, count: int, *, largest: int | None) -> Clip:
    """In place of a film's frames."""
    if not path.read_bytes():
        raise ValueError(f"{path}: holds no frame")
    return Clip(str(path), tuple(Frame(1.5 * i, Noise(i)) for i in range(count)))


class SaysWhen(NamesAll):
    def write(self, examples: Sequence[Example]) -> list[Caption]:
        self.asked += [example.question for example in examples]
        return [Caption("<Bo> from 0 s to 1.5 s, the mug at 3 s.", True) for _ in examples]


def test_a_film_is_asked_who_is_there_when(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repic.data.clips.read_clip", read)
    film, broken = root / "photos" / "film.mp4", root / "photos" / "none.MOV"
    film.write_bytes(b"1")
    broken.write_bytes(b"")
    for expected in (["Who is there when?", *["Who?"] * 5], []):  # kept the second time
        writer = SaysWhen()
        results = {Path(r.photo).name: r for r in caption(root, writer)}
        assert sorted(writer.asked, key=len, reverse=True) == expected
        assert results["none.MOV"] == PassedOver(str(broken), "holds no frame")
        found = results["film.mp4"]
        assert isinstance(found, Captioned)
        assert found.caption == "Bo from 0 s to 1.5 s, Kim at 3 s."
        assert found.when == {"Bo": (0, 1.5), "Kim": (3,)}
        still = results["1.png"]
        assert isinstance(still, Captioned)
        assert still.when == {}
    # More frames are another clip, and the same photos.
    writer = SaysWhen()
    caption(root, writer, frames=2)
    assert writer.asked == ["Who is there when?"]
