"""The page of somebody's own photos."""

from pathlib import Path

import pytest

from repic.captioners.photos import Captioned
from repic.data.album import read_album
from repic.page import photos_page
from repic.page.photos_page import write_photos_page
from tests.unit.data.test_album import about, photo
from tests.unit.page.test_page import check


def test_every_photo_has_its_caption_with_the_names_marked(tmp_path: Path) -> None:
    photo(tmp_path / "album" / "Bo" / "1.png", "red")
    about(tmp_path / "album" / "Kim", "info: <b>a mug</b> & more")
    shown = photo(tmp_path / "<i>.png", "blue")
    said = "<script>alert(1)</script> Bo sits by Kim."
    similar, boxes = {"Bo": 0.913, "Kim": None}, {"Bo": (0.25, 0.5, 0.75, 1.0)}
    names, room = ("Bo", "Kim"), {"Zoe": 0.5}
    results = [
        Captioned(str(shown), said, said, names, boxes, similar, room, 1.0, finished=True),
        Captioned(str(tmp_path / "gone.png"), "Long", "Long", (), {}, {}, {}, 1.0, finished=False),
    ]
    page = tmp_path / "captions.html"
    write_photos_page(page, read_album(tmp_path / "album", largest=None), results)
    tags, text = check(page)
    names = [tag for tag, _ in tags]
    assert "script" not in names
    assert names.count("img") == 1  # what is gone is told, once
    assert "1 picture cannot be shown" in text
    assert "<script>alert(1)</script> Bo sits by Kim." in text.replace("\n", "")
    assert names.count("mark") == 2
    assert "Bo (0.91), Kim" in " ".join(text.split())
    assert "no room for Zoe (0.50)" in " ".join(text.split())
    styles = [attributes["style"] for _, attributes in tags if "style" in attributes]
    assert styles == ["left:25.0%;top:50.0%;width:50.0%;height:50.0%"]
    assert "cut off" in text
    assert "<b>a mug</b> & more" in text
    assert "2 photos" in text
    assert "Of people this page holds what its pictures show" in text


@pytest.mark.parametrize(("count", "width"), [(1, 640), (100, 640), (400, 320), (9000, 128)])
def test_the_more_photos_there_are_the_smaller_each_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, width: int
) -> None:
    """So that a page of thousands neither fills the memory nor takes minutes."""
    photo(tmp_path / "album" / "Bo" / "1.png")
    seen = []
    monkeypatch.setattr(photos_page, "open_picture", lambda path, **rest: seen.append(rest))
    shown = Captioned("1.png", "Bo", "Bo", (), {}, {}, {}, 1.0, finished=True)
    album = read_album(tmp_path / "album", largest=1600)
    write_photos_page(tmp_path / "page.html", album, [shown] * count)
    assert {one["largest"] for one in seen} == {width}
