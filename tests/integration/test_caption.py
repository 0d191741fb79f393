"""Photos of one's own from the command line, on a model with random weights."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from repic import __main__ as command
from repic import ask, files
from repic.assembly import make
from repic.caption import arguments, caption, main, write
from repic.captioners.photos import Captioned
from repic.data.album import read_album
from repic.toybox.album import write_album
from tests.unit.data.test_album import photo

SHORT = ("sampling.max_new_tokens=4", "batch_size=2", "data.largest=256")


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toys")
    sizes = {"friends": 3, "per_friend": 1, "photos": 3, "strangers": (0, 1), "scale": 1.0}
    write_album(folder, **sizes, seed=0)
    return folder


def start(*words: str) -> Path:
    with initialize_config_module("repic.conf", version_base="1.3"):
        overrides = [*arguments(words), *SHORT]
        return caption(compose("caption", overrides=overrides))


def test_captions_are_a_table_a_file_for_programs_and_a_page(
    toys: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = (str(toys / "album"), str(toys / "photos"), f"model.path={model}")
    folder = start(*asked, f"outputs={tmp_path}")
    assert folder == tmp_path / "captions" / "album"
    shown = capsys.readouterr().out
    assert all(f"{toys}/photos/{n}.png: " in shown for n in (1, 2, 3))
    assert f"3 captions: captions.csv, captions.json, captions.html in {folder}" in shown
    with (folder / "captions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["photo"]).name for row in rows] == ["1.png", "2.png", "3.png"]
    assert all(len(row["introduced"].split("; ")) == 3 for row in rows)
    told = json.loads((folder / "captions.json").read_text())
    assert [row["caption"] for row in told] == [row["caption"] for row in rows]
    page = (folder / "captions.html").stat().st_mtime_ns
    assert start(*asked, f"outputs={tmp_path}") == folder
    assert (folder / "captions.html").stat().st_mtime_ns == page  # it shows the same


def test_the_page_is_of_the_table_beside_it(tmp_path: Path) -> None:
    paths = [photo(tmp_path / "album" / "Bo" / f"{n}.png") for n in (1, 2)]
    album = read_album(tmp_path / "album", largest=None)
    said = [Captioned(str(p), f"Bé {p.stem}", "", (), {}, {}, {}, 0.1, True) for p in paths]
    table, page = tmp_path / "captions.csv", tmp_path / "captions.html"

    def shown(results: list[Captioned], *, with_page: bool) -> str:
        write(tmp_path, album, results, OmegaConf.create({"page": with_page}))
        return page.read_text(encoding="utf-8") if page.exists() else ""

    assert "Bé 2" not in shown(said[:1], with_page=True)
    assert shown(said, with_page=False) == ""  # and not that of one photo
    assert "Bé 2" in shown(said, with_page=True)
    text = table.read_text(encoding="utf-8")
    table.write_text(text, encoding="cp1252")  # a spreadsheet has saved it
    assert "Bé 2" in shown(said, with_page=True)
    assert table.read_text(encoding="utf-8") == text


def test_the_toybox_s_retriever_introduces_whom_it_sees(toys: Path, tmp_path: Path) -> None:
    """With the model that comes with the package, which knows toys by sight."""
    asked = (str(toys / "album"), str(toys / "photos"), "retrieval=toybox", "page=false")
    folder = start(*asked, f"outputs={tmp_path}", "name=seen")
    with (toys / "photos" / "who.csv").open(newline="") as file:
        truth = {row["photo"]: set(row["names"].split(";")) for row in csv.DictReader(file)}
    for row in json.loads((folder / "captions.json").read_text()):
        assert truth[Path(row["photo"]).name] <= row["introduced"].keys()
        assert all(0.6 <= cosine <= 1 for cosine in row["introduced"].values())
    assert not (folder / "captions.html").exists()


def test_a_question_is_asked_by_the_names_that_a_model_knows(
    toys: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    name = next(path.name for path in (toys / "album").iterdir() if path.is_dir())
    photos = str(toys / "photos" / "1.png")
    asked = ["repic.ask", str(toys / "album"), photos, f"Is {name} in this picture?"]
    asked += [f"model.path={model}", f"outputs={tmp_path}", *SHORT]
    for _ in range(2):  # the second time it is known
        monkeypatch.setattr(sys, "argv", list(asked))
        GlobalHydra.instance().clear()
        ask.main()
    first, second = (line for line in capsys.readouterr().out.splitlines() if photos in line)
    assert first == second
    assert first.startswith(f"{photos}: ")
    assert "passed over" not in first
    assert not (tmp_path / "captions" / "album" / "captions.csv").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([""], "question: '' is not text that is not empty, or null"),
        (
            ["Is Bo here?", "--watch"],
            "watch: photos are asked about once; repic.caption waits for others",
        ),
    ],
)
def test_what_cannot_be_asked_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, words: list[str], says: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["repic.ask", "album", "photo.jpg", *words])
    GlobalHydra.instance().clear()
    with pytest.raises(SystemExit):
        ask.main()
    assert capsys.readouterr().err == f"repic.ask: {says}\n"


@pytest.mark.parametrize(
    ("words", "photos", "question"),
    [
        (["a.png", "b.png", "question=Is Bo here?"], ["a.png", "b.png"], "Is Bo here?"),
        (["question=Is Bo here?", "a.png", "b.png"], ["a.png", "b.png"], "Is Bo here?"),
        (["a.png", "there"], ["a.png", "there"], "null"),  # a folder: the question was forgotten
        (["a.png", "b.png", "Is Bo here?"], ["a.png", "b.png"], "Is Bo here?"),
    ],
)
def test_a_photo_is_not_taken_for_the_question(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    words: list[str],
    photos: list[str],
    question: str,
) -> None:
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["repic.ask", "album", *words, "--cfg", "job"])
    GlobalHydra.instance().clear()
    ask.main()
    said = capsys.readouterr().out
    assert "\n- ".join(["photos:", *photos, ""]).removesuffix("- ") in said
    assert f"\nquestion: {question}\n" in said


def test_what_stands_behind_an_option_is_no_question(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    words = ["album", "photo.jpg", "Is Bo here?", "--cfg", "job", "batch_size=3"]
    monkeypatch.setattr(sys, "argv", ["repic.ask", *words])
    GlobalHydra.instance().clear()
    ask.main()
    said = capsys.readouterr().out
    assert "question: Is Bo here?\n" in said
    assert "batch_size: 3\n" in said


def test_who_asks_about_an_empty_folder_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    photo(tmp_path / "album" / "Bo" / "1.png")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["repic.ask", "album", "empty", "Is Bo here?"])
    GlobalHydra.instance().clear()
    with pytest.raises(SystemExit):
        ask.main()
    assert capsys.readouterr().err == "repic.ask: empty: holds no photos; put some there\n"


def test_a_setting_may_be_longer_than_a_file_s_name() -> None:
    question = f"question={'Is Bo here? ' * 30}"
    assert arguments(["album", question]) == ["album='album'", question]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name an album and photos"),
        (["album"], "name an album and photos"),
        (["nowhere", "photos"], "nowhere: there is no such folder; an album is"),
        (["album", "gone.png"], "gone.png: there is no such photo or folder; mend the path"),
        (["album", "empty"], "empty: holds no photos"),
        (["album", "bad"], "none of 1 photos could be captioned; see above"),
        (["album", "photos", "modl=tiny"], "modl"),
        (
            ["album", "photos", "name=others"],
            "captions/others has the captions of /another/others",
        ),
        (["album", "photos", "outputs=album/out"], "lies in the album, where each folder is a"),
        (["album", "photos", "model.path=nowhere"], "model.path: there is no directory nowhere"),
    ],
)
def test_mistakes_are_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, words: list[str], says: str
) -> None:
    photo(tmp_path / "album" / "Bo" / "1.png")
    photo(tmp_path / "photos" / "1.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "1.png").write_bytes(b"no picture")
    files.write_text(tmp_path / "outputs/captions/others/album.txt", "/another/others")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["repic.caption", *words])
    GlobalHydra.instance().clear()
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("repic.caption: ")
    assert says in said.splitlines()[-1]
    assert "Traceback" not in said


def test_watching_takes_what_is_dropped_and_what_was_not_whole(
    toys: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, folder = tmp_path / "photos", tmp_path / "captions" / "album"
    photos.mkdir()
    picture = (toys / "photos" / "1.png").read_bytes()
    (photos / "1.png").write_bytes(picture[:-100])  # is still being copied
    told = []

    def sleep(seconds: float) -> None:
        told.append(
            json.loads(file.read_text()) if (file := folder / "captions.json").exists() else []
        )
        if len(told) == 1:
            (photos / "1.png").write_bytes(picture)
            (photos / "2.png").write_bytes((toys / "photos" / "2.png").read_bytes())
        elif len(told) == 2:
            page = (folder / "captions.json").stat().st_mtime_ns
            told.append(page)
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    asked = (str(toys / "album"), str(photos), f"model.path={model}", "--watch")
    with pytest.raises(KeyboardInterrupt):
        start(*asked, f"outputs={tmp_path}")
    nothing, both, written, _ = told
    assert nothing == []
    assert [Path(row["photo"]).name for row in both] == ["1.png", "2.png"]
    assert (folder / "captions.json").stat().st_mtime_ns == written  # nothing new, nothing written


@pytest.mark.slow
def test_where_nothing_is_new_the_model_s_code_is_not_even_imported(
    toys: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which takes most of the seconds of a command that has nothing to do."""
    asked = [str(toys / "album"), str(toys / "photos"), f"model.path={model}", *SHORT]
    asked.append(f"outputs={tmp_path}")
    monkeypatch.setattr(sys, "argv", ["repic.caption", *asked])
    GlobalHydra.instance().clear()
    main()
    program = (
        f"asked = {asked}\nimport sys\nfrom hydra.core.global_hydra import GlobalHydra\n"
        "from repic.caption import main\n"
        "for more in ([], ['question=Who'], ['batch_size=0']):\n"
        "    sys.argv = ['repic.caption', *asked, *more]\n"
        "    GlobalHydra.instance().clear()\n"
        "    main()\n"
        "    print('peft' in sys.modules)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ends = [line for line in done.stdout.splitlines() if line in ("True", "False")]
    assert ends == ["False", "True"], done.stderr
    assert "batch_size: 0 is not a whole number of 1 or more" in done.stderr


def test_words_that_hydra_would_read_otherwise(tmp_path: Path) -> None:
    odd = photo(tmp_path / "a=b, [c] 'd'.png")
    words = [str(odd), r"C:\photos\1.png", r"it\'s", "ends with \\"]
    with initialize_config_module("repic.conf", version_base="1.3"):
        cfg = compose("caption", overrides=arguments(["my album\\", *words, "watch=1"]))
    assert cfg.album == "my album\\"
    assert cfg.photos == words


def test_one_command_has_all(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Module:
        @staticmethod
        def main() -> int:
            seen.append(sys.argv[1:])
            return 0

    monkeypatch.setattr(command, "import_module", lambda name: seen.append(name) or Module)
    for words in (
        ["caption", "a"],
        ["+experiment=x"],
        ["table", "b"],
        ["bench"],
        ["app", "d"],
        ["run", "c=d"],
    ):
        monkeypatch.setattr(sys, "argv", ["repic", *words])
        with pytest.raises(SystemExit):
            command.main()
    assert seen == [
        *("repic.caption", ["a"], "repic.run", ["+experiment=x"], "repic.table", ["b"]),
        *("repic.bench.__main__", [], "repic.app.__main__", ["d"], "repic.run", ["c=d"]),
    ]


def test_the_folder_of_published_sets_is_no_album(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dreambooth").mkdir()
    monkeypatch.setenv("REPIC_DATA", str(tmp_path))
    with initialize_config_module("repic.conf", version_base="1.3"):
        for config in ("caption", "app"):
            cfg = compose(config, overrides=arguments(["album", "photos"]))
            make(cfg.data.prompt)  # refuses a folder that is no album
