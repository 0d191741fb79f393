import base64
import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from repic.data.images import FileImage
from repic.page.cards import BoxCard, CaptionCard, Fact, Opening, ReferenceCard, SceneCard
from repic.page.charts import Chart, Line
from repic.page.page import DENSE, box_style, write_report
from repic.page.run_page import headline, opening, scene_cards, write_run_report
from repic.tables.runs import read_run
from repic.tables.table import Column, Row, Table
from repic.types import Box, Example, Mention, Prediction, Reference, Scene
from tests.unit.tables.saved import AUTHORS, PHASES, RUN, caption_of, leave

EVIL = "<script>alert('&')</script>"
VOID = {"meta", "img", "br", "line", "circle", "polyline", "input"}


@dataclass(frozen=True)
class Plain:
    """A picture of one colour, or of noise, which compresses badly."""

    size: tuple[int, int] = (200, 100)
    noisy: bool = False
    key: str = "plain"

    def load(self) -> Image.Image:
        if self.noisy:
            return Image.effect_noise(self.size, 80).convert("RGB")
        return Image.new("RGB", self.size, "teal")


@dataclass(frozen=True)
class Gone:
    """A picture that is no longer where it was."""

    key: str

    def load(self) -> Image.Image:
        raise ValueError(f"{self.key}: there is no such image")


class Checker(HTMLParser):
    """Collects tags and text, and refuses elements that are not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)


def check(path: Path) -> tuple[list[tuple[str, dict[str, str | None]]], str]:
    checker = Checker()
    checker.feed(path.read_text(encoding="utf-8"))
    checker.close()
    assert checker.open == []
    return checker.tags, " ".join("".join(checker.text).split())


SCENE = SceneCard(
    id="toybox/7",
    num_concepts=2,
    image=Plain(),
    boxes=(BoxCard(Box(20, 10, 60, 90), "<momi>"), BoxCard(Box(100, 10, 140, 90), None)),
    references=(
        ReferenceCard("<momi>", "a red bear", Plain((64, 64)), is_present=True),
        ReferenceCard("<tavo>", None, None, is_present=True),
        ReferenceCard("<lidu>", EVIL, Plain(), is_present=False),
    ),
    captions=(
        CaptionCard("before RL", f"<momi> and <lidu>, {EVIL}", {"recognition": -0.25}),
        CaptionCard("after RL", "Momi's hat, tavo", {"recognition": 1.0, "box": None}, False),
    ),
    answer="<momi> sits by <tavo>.",
)


def write(path: Path, **changes: object) -> Path:
    parts = {
        "title": f"T {EVIL}",
        "subtitle": EVIL,
        "summary": [Fact("accuracy", "42.0 → 65.0", EVIL)],
        "tables": [],
        "curves": [Chart("KL", "iteration", (Line("kl", [1.0, 2.0], [0.0, 1.0]),))],
        "scenes": [SCENE],
        "about": {"seed": EVIL},
    }
    write_report(path, **{**parts, **changes})
    return path


def test_the_page_is_whole_self_contained_and_escaped(tmp_path: Path) -> None:
    path = write(tmp_path / "report.html")
    tags, text = check(path)
    names = [tag for tag, _ in tags]
    page = path.read_text(encoding="utf-8")
    assert "link" not in names
    assert all(a["src"].startswith("data:image/webp;base64,") for tag, a in tags if tag == "img")
    assert set(re.findall(r"url\(([^)]{,16})", page)) == {"data:image/webp;"}
    assert not re.search(r"https?://|@import|\bfetch\b", page)
    assert text.count(EVIL) == 6  # title twice; the caption's is cut up by marks
    assert "42.0 → 65.0" in text
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_no_script_but_the_page_s_own_may_run(tmp_path: Path) -> None:
    path = write(tmp_path / "report.html")
    (policy,) = [a["content"] for tag, a in check(path)[0] if a.get("http-equiv") and tag == "meta"]
    (script,) = re.findall(r"<script>(.*?)</script>", path.read_text("utf-8"), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy is not None
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
    ]


def test_scenes_say_what_they_can_be_found_by(tmp_path: Path) -> None:
    alone = replace(SCENE, captions=SCENE.captions[1:])
    tags, _ = check(write(tmp_path / "report.html", scenes=[SCENE, alone], layout=DENSE))
    articles = [a for tag, a in tags if tag == "article"]
    assert [a["data-outcomes"] for a in articles] == ["wm rc", "- rc"]
    assert {a["data-n"] for a in articles} == {"2"}
    assert {a["data-names"] for a in articles} == {"<momi> <tavo> <lidu> "}
    inputs = [(a["name"], a.get("value")) for tag, a in tags if tag == "input"]
    assert inputs == [("method", "before RL"), ("method", "after RL"), ("q", None)]
    (form,) = [a for tag, a in tags if tag == "form"]
    assert "hidden" in form  # the script shows it
    assert [a["aria-live"] for tag, a in tags if tag == "output"] == ["polite"]


def test_columns_of_a_model_can_be_hidden(tmp_path: Path) -> None:
    path = write(tmp_path / "report.html")
    (classes,) = {
        tuple(a["class"] for tag, a in check(path)[0] if (a.get("class") or "") in ("m0", "m1"))
    }
    assert classes == ("m0", "m1")
    flat = " ".join(path.read_text("utf-8").split())
    assert ".no0 .m0, .no1 .m1 { display: none; }" in flat


def test_an_author_of_evil_name_is_escaped_everywhere(tmp_path: Path) -> None:
    author = f'"><img src="scene:0">{EVIL}'
    scene = replace(SCENE, captions=(CaptionCard(author, "momi", {"aim": 1.0}),))
    tags, text = check(write(tmp_path / "report.html", scenes=[scene]))
    assert text.count(author) == 3  # the filter, the caption, the table of rewards
    assert [a["value"] for tag, a in tags if tag == "input" and a["name"] == "method"] == [author]
    assert [tag for tag, _ in tags].count("img") == 1


def test_a_prompt_that_introduces_others_is_read_by_its_own_names(tmp_path: Path) -> None:
    caption = CaptionCard("after RL", "momi and lidu, tavo", introduced=("<momi>",))
    _, text = check(write(tmp_path / "report.html", scenes=[replace(SCENE, captions=(caption,))]))
    # <tavo> is present though not introduced; "lidu" is a word like any other here.
    assert "✓ all names right ✓ momi and lidu, ✓ tavo" in text
    assert "Its own prompt introduces <momi>." in text


def test_the_same_input_gives_the_same_page(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, layout=DENSE) for name in ("a.html", "b.html"))
    assert first.read_bytes() == second.read_bytes()


def test_pictures_that_cannot_be_read_are_left_out_and_said_once(tmp_path: Path) -> None:
    scenes = [replace(SCENE, image=Gone(name)) for name in ("<a>.jpg", "b.jpg")]
    tags, text = check(write(tmp_path / "report.html", scenes=scenes))
    assert "img" not in [tag for tag, _ in tags]
    assert text.count("cannot be shown") == 1
    assert "2 pictures cannot be shown. The first: <a>.jpg: there is no such image." in text
    assert text.count("✓ all names right") == 2


def test_names_are_marked_with_symbols(tmp_path: Path) -> None:
    tags, text = check(write(tmp_path / "report.html"))
    text = text.split("Show all")[1]  # below the filters
    before, after = text.split("after RL", maxsplit=1)
    before = before.split("before RL")[1]
    # <lidu> is absent; the brackets around "script" and "/script" make them invented names.
    assert before.startswith(" 1 right, 3 wrong, 1 missed ✓ <momi> and ✗ <lidu>, ✗ <script>")
    assert "Left out: ○ <tavo>" in before
    assert after.startswith(" ✓ all names right ✓ Momi's hat, ✓ tavo … cut off")
    assert "Left out" not in after
    kinds = [a["class"] for tag, a in tags if tag == "mark"]
    assert kinds[3:] == ["right", "wrong", "wrong", "wrong", "missed", "right", "right"]


def test_boxes_and_references_and_rewards_are_shown(tmp_path: Path) -> None:
    tags, text = check(write(tmp_path / "report.html"))
    boxes = {a["class"]: a["style"] for _, a in tags if (a.get("class") or "").startswith("box")}
    assert boxes["box"] == "left:10.0%;top:10.0%;width:20.0%;height:80.0%"
    assert boxes["box stranger"] == "left:50.0%;top:10.0%;width:20.0%;height:80.0%"
    assert "<tavo>" in text
    assert "no picture" in text
    assert text.count("not in the picture") == 1
    assert "recognition -0.250 1.000 box – –" in text
    assert "<momi> sits by <tavo>." in text


def test_scenes_are_grouped_by_number_of_concepts(tmp_path: Path) -> None:
    scenes = [replace(SCENE, id="three", num_concepts=3), replace(SCENE, num_concepts=1), SCENE]
    _, text = check(write(tmp_path / "report.html", scenes=scenes))
    places = [text.index(word) for word in ("1 concept ", "2 concepts", "3 concepts")]
    assert places == sorted(places)


def test_a_page_of_nothing_is_a_page(tmp_path: Path) -> None:
    empty = {"summary": [], "curves": [], "scenes": [], "about": {}}
    _, text = check(write(tmp_path / "report.html", **empty))
    assert "Scenes" not in text


def test_a_page_may_begin_with_one_of_its_scenes(tmp_path: Path) -> None:
    table = Table("Results here", [Column("acc")], [Row("a", (1.0,))])
    scene = replace(SCENE, captions=SCENE.captions[:1])
    first = Opening(f"What changed {EVIL}", scene, "The first.")
    tags, text = check(write(tmp_path / "report.html", tables=[table], opening=first))
    places = [text.index(word) for word in ("42.0 → 65.0", "What changed", "Results here")]
    assert places == sorted(places)
    assert [tag for tag, _ in tags].count("article") == 2  # there, and among the scenes
    lazy = [attributes.get("loading") for tag, attributes in tags if tag == "img"]
    assert lazy == [None, "lazy"]


def test_boxes_are_cut_at_the_edges() -> None:
    style = box_style(Box(-10, 50, 300, 120), (200, 100))
    assert style == "left:0.0%;top:50.0%;width:100.0%;height:50.0%"


# The page of a run's folder.


def make_example(number: int, count: int) -> Example:
    return Example(
        id=f"toybox/{number}",  # counted anew for every number of concepts
        task="caption",
        references=(Reference("<momi>", f"bear {number} of {count}", Plain((64, 64))),),
        query=Plain(),
        question="Who?",
        answers=("<momi> sits.",),
        present=("<momi>",),
        num_concepts=count,
        scene=Scene((Mention({}, "<momi>", Box(0, 0, 50, 50)), Mention({}))),
    )


def predictions(examples: list[Example]) -> Iterator[Prediction]:
    for phase in ("base", "name_everybody", "sft", "grpo"):
        for example in examples:
            yield caption_of(example, phase, f"{phase} says {example.id}")


EXAMPLES = [make_example(number, count) for count in (1, 3) for number in range(3)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cell = {"accuracy": 40.0, "accuracy_ci": [35, 45], "cider": 80.0, "num_examples": 3}
    cells = {count: cell for count in ("1", "3", "all")}
    better = {count: {**cell, "accuracy": 62.5} for count in ("1", "3", "all")}
    leave(
        tmp_path,
        {"base": cells, "sft": cells, "grpo": better},
        list(predictions(EXAMPLES)),
        [{"phase": "grpo", "iteration": i, "grpo/reward/total": i / 9} for i in range(9)],
        name="multi_concept_3",
        overrides=["reward=combined"],
        git_commit="abc123",
        time_s=90,
        phases=[asdict(phase) for phase in PHASES],
        captioners={name: asdict(author) for name, author in AUTHORS.items()},
    )
    return tmp_path


def test_a_run_becomes_a_page(folder: Path) -> None:
    path = write_run_report(folder, examples=EXAMPLES, scenes_per_count=2)
    assert path == folder / "report.html"
    tags, text = check(path)
    assert "Multi concept 3" in text
    assert "40.0 → 62.5" in text
    assert "62.5 [" not in text  # the made-up better cell keeps the interval of the other
    assert [tag for tag, _ in tags].count("article") == 4
    assert "bear 1 of 3" in text
    assert "bear 2 of 3" not in text
    assert "name_everybody says" not in text
    assert "abc123" in text
    assert "1.5 minutes" in text


def test_a_run_becomes_a_page_without_pictures_too(folder: Path) -> None:
    (folder / "metrics.jsonl").unlink()
    tags, text = check(write_run_report(folder))
    assert "img" not in [tag for tag, _ in tags]
    assert "grpo says toybox/0" in text
    assert "How it learned" not in text


def test_a_run_s_page_begins_with_the_first_scene_that_its_last_phase_changed(
    folder: Path,
) -> None:
    """For better or for worse; who came before the last two models does not count."""

    def said(*names: tuple[str, str, str]) -> Opening | None:
        texts = dict(zip([e.id for e in EXAMPLES[:3]], names, strict=True))
        made = [
            replace(p, caption=texts[p.id][["base", "sft", "grpo"].index(p.phase)])
            for p in predictions(EXAMPLES[:3])
            if p.phase != "name_everybody"
        ]
        return opening(read_run(folder), scene_cards(RUN, made, EXAMPLES, per_count=9))

    same = ("", "<momi> sits.", "There sits <momi>.")
    worse, better = ("<momi>", "<momi>", "nobody"), ("", "nobody", "<momi>")
    found = said(same, worse, better)
    assert found is not None
    assert found.title == "What changed from SFT to RL"
    assert found.scene.id == EXAMPLES[1].id
    assert [c.text for c in found.scene.captions] == ["<momi>", "nobody"]
    assert said(same, same, same) is None


def test_scenes_of_the_same_number_are_kept_apart_by_count() -> None:
    cards = scene_cards(RUN, list(predictions(EXAMPLES)), EXAMPLES, per_count=9)
    assert [(c.id, c.num_concepts) for c in cards] == [(e.id, e.num_concepts) for e in EXAMPLES]
    for card in cards:
        assert card.references[0].info == f"bear {card.id[-1]} of {card.num_concepts}"
        assert [c.author for c in card.captions] == ["base model", "SFT only", "+ RL"]
        assert [box.name for box in card.boxes] == ["<momi>"]  # the other has no box


def test_headline_compares_the_last_two_models(folder: Path) -> None:
    facts = headline(read_run(folder))
    assert [(f.label, f.value, f.detail) for f in facts] == [
        ("Recognition, %, 1 concept", "40.0 → 62.5", "from SFT to RL"),
        ("Recognition, %, 3 concepts", "40.0 → 62.5", "from SFT to RL"),
        ("CIDEr, all scenes", "80.0 → 80.0", "from SFT to RL"),
    ]
    alone = replace(read_run(folder), metrics={"base": read_run(folder).metrics["base"]})
    assert [(f.value, f.detail) for f in headline(alone)][:1] == [("40.0", "base model")]
    assert headline(replace(alone, metrics={})) == []


def test_a_headline_s_number_is_that_of_the_model_that_has_it(folder: Path) -> None:
    run = read_run(folder)
    after = {"all": {"cider": math.nan}, "1": {"accuracy": 62.5}}
    facts = headline(replace(run, metrics={**run.metrics, "grpo": after}))
    assert [(f.value, f.detail) for f in facts] == [
        ("40.0 → 62.5", "from SFT to RL"),
        ("40.0", "SFT"),
        ("80.0", "SFT"),
    ]


def test_a_page_says_what_it_holds_of_a_person(tmp_path: Path) -> None:
    _, text = check(write(tmp_path / "report.html"))
    assert "Of people this page holds what its pictures show, the names, infos and captions" in text
    bare = replace(SCENE, image=None, references=())
    _, text = check(write(tmp_path / "bare.html", scenes=[bare]))
    assert "Of people this page holds no picture, the names, infos and captions in its text" in text


def test_of_a_photo_s_file_nothing_but_pixels_is_in_a_page(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "MY STREET"
    photo = tmp_path / "photo.jpg"
    Image.new("RGB", (40, 30)).save(photo, exif=exif, comment=b"MY STREET")
    assert b"MY STREET" in photo.read_bytes()
    path = write(tmp_path / "report.html", scenes=[replace(SCENE, image=FileImage(photo))])
    found = re.findall(r"data:image/webp;base64,([^\")]*)", path.read_text(encoding="utf-8"))
    assert found
    assert not any(b"MY STREET" in base64.b64decode(uri) for uri in found)
