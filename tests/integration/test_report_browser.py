"""The page in a browser: a thousand scenes open, and the filters do what they say."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from repic.captioners.photos import Captioned
from repic.data.album import read_album
from repic.page.photos_page import write_photos_page
from repic.report import main
from tests.integration.test_report_page import toys, write_run
from tests.unit.data.test_album import photo

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
MANY, FEW = 1000, 50

# What a reader sees, told in the title.
PROBE = """<script>addEventListener("load", () => setTimeout(() => {
  const seen = (selector) => [...document.querySelectorAll(selector)]
    .filter((element) => element.getClientRects().length).length;
  document.title = "PROBE" + JSON.stringify({
    articles: seen("article"), captions: seen("#gallery .m0, #gallery .m1"),
    first: seen("#gallery .m0"), form: seen("form"),
    shown: document.getElementById("shown").textContent,
    ms: performance.getEntriesByType("navigation")[0].loadEventEnd,
    wide: document.documentElement.scrollWidth > innerWidth,
    faded: [...document.querySelectorAll(".thumb.none")]
      .filter((element) => getComputedStyle(element).opacity < 1).length,
    about: document.querySelector("#about tr").clientHeight,
    unreachable: [...document.querySelectorAll(".scroll")].filter((e) => e.tabIndex < 0).length,
  }) + "END";
}))</script>"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs Chromium (Debian: chromium)"),
]


def write_page(folder: Path, num_scenes: int) -> Path:
    examples = {count: toys(count, num_scenes // 5) for count in range(1, 6)}
    run = write_run(folder / ("reward-combined+" * 6), examples, skill=4)
    out = folder / "page.html"
    assert main([str(run), "--out", str(out), "--items", str(num_scenes)]) == 0
    return out


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(tmp_path_factory.mktemp("page"), FEW)


def browse(page: Path, place: str = "", *, width: int = 1280) -> tuple[str, str]:
    """Open a page; return its document after loading, and what the console said."""
    assert BROWSER is not None
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--enable-logging=stderr",
        f"--user-data-dir={page.parent / 'profile'}",
        f"--window-size={width},900",
        "--timeout=60000",
        "--dump-dom",
        f"file://{page}{place}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
    said = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    return done.stdout, said


def probe(page: Path, place: str = "", *, width: int = 1280, draw_all: bool = True) -> dict:
    """Open a copy that looks at itself, which the page's own policy would forbid."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", text)
    if draw_all:  # otherwise what is far below the window has no place yet
        text = text.replace("content-visibility: auto", "")
    copy = page.with_name("probed.html")
    copy.write_text(text.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    dom, _ = browse(copy, place, width=width)
    found = re.search(r"PROBE(.*?)END", dom)
    assert found is not None
    return json.loads(found[1].replace("&amp;", "&"))


def test_a_thousand_scenes_fit_and_open(tmp_path: Path) -> None:
    page = write_page(tmp_path, MANY)
    assert page.stat().st_size < 10_000_000
    dom, said = browse(page)
    assert said == ""  # no error, and nothing that the page's own policy had to stop
    assert dom.count("<article") == MANY
    # The policy lets the page's script run: it shows the filters and counts.
    assert re.search(r'<form id="filters">', dom)
    assert f"{MANY} of {MANY} scenes shown" in dom
    # Two seconds on a core of its own; this is for machines that are busy.
    assert probe(page, draw_all=False)["ms"] < 30_000


def test_two_thousand_photos_are_listed(tmp_path: Path) -> None:
    shades = [f"rgb({n % 256},{n // 256},9)" for n in range(50)]
    for number, shade in enumerate(shades):
        photo(tmp_path / "album" / f"friend {number}" / "1.png", shade)
    album = read_album(tmp_path / "album", largest=1600)
    said = "On the left sits friend 7. " * 5
    results = [
        Captioned(str(friend.photos[0].path), said, said, ("friend 7",), {}, {}, {}, 1.0, True)
        for friend in album.friends * (2000 // len(album.friends))
    ]
    page = tmp_path / "captions.html"
    write_photos_page(page, album, results)
    dom, said = browse(page)
    assert said == ""
    assert dom.count("<figure") == 2000
    looked_at = '<p id="shown"></p><table id="about"><tr></tr></table>'  # on the other page
    page.write_text(page.read_text().replace("</body>", f"{looked_at}</body>"))
    # One second on a core of its own; this is for machines that are busy.
    assert probe(page, draw_all=False)["ms"] < 30_000


def test_filters_hide_scenes_and_captions(page: Path) -> None:
    everything = probe(page)
    assert (everything["articles"], everything["captions"]) == (FEW, 2 * FEW)
    assert everything["form"] == 1

    cut = probe(page, "#errors=cut&count=3&method=%2B+RL")
    # Of ten scenes captions 0, 4 and 8 of the second model are cut off.
    assert (cut["articles"], cut["captions"], cut["first"]) == (3, 3, 0)
    assert cut["shown"] == f"3 of {FEW} scenes shown"

    differ = probe(page, "#errors=differ")
    assert 0 < differ["articles"] < FEW
    assert differ["captions"] == 2 * differ["articles"]


def test_it_can_be_searched_for_a_name(page: Path) -> None:
    names = re.findall(r'data-names="([^"]*)"', page.read_text(encoding="utf-8"))
    name = names[-1].split("&gt;")[0].removeprefix("&lt;")
    found = probe(page, f"#q={name.upper()}")
    assert found["articles"] == sum(name in others for others in names) < FEW


def test_nothing_is_found_and_nonsense_is_not_obeyed(page: Path) -> None:
    assert probe(page, "#q=zzzz")["shown"] == f"0 of {FEW} scenes shown"
    assert probe(page, "#errors=nonsense&count=9")["articles"] == FEW


@pytest.mark.parametrize("width", [500, 1280])
def test_a_long_setting_breaks_in_its_box(page: Path, tmp_path: Path, width: int) -> None:
    label = 'class="note">reward.rubric.weights.recognition'
    text = page.read_text(encoding="utf-8")
    assert text.count('class="note">') >= 5
    copy = tmp_path / "page.html"
    copy.write_text(text.replace('class="note">', label * 2), encoding="utf-8")
    assert not probe(copy, width=width)["wide"]


def test_it_fits_a_phone(page: Path) -> None:
    found = probe(page, "#count=5", width=500)  # Chromium's narrowest window
    assert not found["wide"]
    # A long path leaves room for what is said of the run, and keys scroll what is wider.
    assert found["about"] < 400
    assert found["unreachable"] == 0
    assert found["faded"] == 0  # what is written there must be legible
