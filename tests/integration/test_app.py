"""The page over HTTP, as a browser uses it; and who may use it."""

import contextlib
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from gradio_client import Client, handle_file
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from repic.app import __main__ as command
from repic.app.blocks import album_page
from repic.app.server import Door, address, serving
from repic.captioners.photos import Captioned
from repic.data.corrections import read_corrections
from tests.live_album import Spells, live, make_album
from tests.unit.data.test_album import photo


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_album(tmp_path)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """A server of an album whose model names everybody; stopped at the end, as Ctrl-C does."""
    album = live(folder, Spells())
    door = command.bind("127.0.0.1", 0)
    app = serving(album_page(album, Path(os.environ["GRADIO_TEMP_DIR"])), album, is_public=False)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{door.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(autouse=True)
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "out" / "uploads" / "1"))
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    return tmp_path / "out" / "uploads" / "1"


def client(url: str) -> Client:
    return Client(url, verbose=False, analytics_enabled=False)


def words(answer: Any) -> str:
    """What is to be read in an answer's parts."""
    parts = answer if isinstance(answer, tuple | list) else [answer]
    return " ".join(re.sub(r"<[^>]*>", "", p) for p in parts if isinstance(p, str)).strip()


def test_a_whole_session(root: Path) -> None:
    picture = str(photo(root / "my photo; rm -rf.png", "green"))
    with served(root) as url:
        one, other = client(url), client(url)
        assert "Zoe" in words(one.predict(api_name="/friends"))
        files = [handle_file(picture)]
        told = words(one.predict("a<script>b", "", files, api_name="/add"))
        assert "has an angle bracket" in told
        told = one.predict("Mi/../Mi", "<img src=x onerror=alert(1)>", files, api_name="/add")
        assert "Mi/../Mi is in the album." in words(told)
        assert "&lt;img src=x onerror=alert(1)&gt;" in told[0]
        assert "Mi/../Mi" in words(other.predict(api_name="/friends"))  # another sees them
        job = one.submit(handle_file(str(root / "uploads" / "0.png")), api_name="/upload")
        *_, last = job.outputs() if job.result() else []
        seen = [words(output[1:2]) for output in job.outputs()]
        assert "Bo Zoe" in seen[-2]  # as it was written
        assert seen[-1].startswith("Bo Zoe Mi/../Mi and &lt;zaza&gt;.")
        assert last[1].count("<mark>") == 3
        told = one.predict(["<Zoe>"], [], [], api_name="/wrong")
        assert "Saved: this photo shows Bo, Mi/../Mi." in words(told)
        told = one.predict("Only Bo", api_name="/words")
        assert "Saved: this photo shows Bo." in words(told)
        assert "Caption a photo first." in words(other.predict([], [], [], api_name="/right"))
    ((_, kept),) = read_corrections(root / "album" / "corrections.jsonl")
    assert (kept.caption, kept.names) == ("Only <Bo>", ("<Bo>",))
    with served(root) as url:  # started again
        one = client(url)
        assert "Mi/../Mi" in words(one.predict(api_name="/friends"))
        job = one.submit(handle_file(str(root / "uploads" / "0.png")), api_name="/upload")
        job.result()
        assert len(job.outputs()) == 3  # emptied, shown, and the caption that was kept
        assert "Delete Zoe, with all photos" in words(one.predict("<Zoe>", api_name="/ask"))
        told = words(one.predict("<Zoe>", api_name="/delete"))
        assert "Zoe is deleted, and nothing of them is kept." in told
    for file in (*(root / "album").rglob("*"), *(root / "out").rglob("*")):
        assert "zoe" not in file.name.lower()
        assert not file.is_file() or b"zoe" not in file.read_bytes().lower()


def test_uploads_that_are_no_photos(root: Path) -> None:
    (root / "empty.png").write_bytes(b"")
    (root / "fake.jpg").write_bytes(b"hello")
    with served(root) as url:
        one = client(url)
        for name in ("empty.png", "fake.jpg"):
            told = one.predict(handle_file(str(root / name)), api_name="/upload")
            assert f"{name}: is not an image" in words(told)
        # A path on the server's disk is no upload, and is not served.
        taken = root / "album" / "Bo" / "1.png"
        sent = {"path": str(taken), "meta": {"_type": "gradio.FileData"}}
        for name, data in (("upload", [sent]), ("add", ["Kim", "", [sent]])):
            called = httpx.post(f"{url}gradio_api/call/{name}", json={"data": data}).json()
            said = httpx.get(f"{url}gradio_api/call/{name}/{called['event_id']}").text
            assert "event: error" in said or "this photo was not sent here" in said
        assert taken.exists()
        assert not (root / "album" / "Kim").exists()
        assert httpx.get(f"{url}gradio_api/file={taken}").status_code == 403
        assert httpx.get(f"{url}gradio_api/file=/etc/hostname").status_code == 403


def test_no_address_is_fetched(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    async def fetch(url: str, cache_dir: str) -> str:
        fetched.append(url)
        return str(root / "uploads" / "0.png")

    monkeypatch.setattr("gradio.processing_utils.async_ssrf_protected_download", fetch)
    with served(root) as url:
        sent = {"path": "http://example.org/x.png", "meta": {"_type": "gradio.FileData"}}
        called = httpx.post(f"{url}gradio_api/call/upload", json={"data": [sent]}).json()
        said = httpx.get(f"{url}gradio_api/call/upload/{called['event_id']}").text
    assert said.startswith("event: error")
    assert fetched == []


def test_nothing_is_loaded_from_elsewhere(root: Path) -> None:
    album = live(root, Spells())
    with served(root) as url:
        page = httpx.get(url)
        assert "default-src 'self'" in page.headers["content-security-policy"]
        for kind, address_ in re.findall(r'(src|href)="(https?://[^"]*)"', page.text):
            pytest.fail(f"{kind}={address_}")
        theme = httpx.get(f"{url}theme.css")
        assert theme.status_code == 200
        assert "http" not in theme.text.replace("http://www.w3.org", "")
        friend = album.album().friends[0]
        small = httpx.get(url + address(friend))
        assert (small.status_code, small.headers["content-type"]) == (200, "image/webp")
        assert small.headers["cache-control"] == "no-store"
        for path in ("friend/..%2F..%2Fuploads", "friend/.corrections", "friend/nobody"):
            assert httpx.get(url + path).status_code == 404
        config = httpx.get(f"{url}config").json()
        assert config["analytics_enabled"] is False
        assert httpx.get(url, headers={"host": "evil.example"}).status_code == 403
        headers = {"origin": "https://evil.example"}
        assert httpx.post(f"{url}gradio_api/upload", headers=headers).status_code == 403


def test_two_models_of_the_command_line_side_by_side(
    root: Path,
    model: Path,
    tmp_path: Path,
) -> None:
    second = tmp_path / "second"
    shutil.copytree(model, second)
    words = [str(root / "album"), f"model.path={model}", f"other={second}", "most=6"]
    words += [f"outputs={tmp_path / 'out'}", "sampling.max_new_tokens=4", "data.largest=64"]
    with initialize_config_module("repic.conf", version_base="1.3"):
        cfg = compose("app", overrides=command.arguments(words))
    album = command.live_album(cfg)
    assert list(album.models) == [str(model), str(second)]
    for number, name in enumerate(album.models):
        *grown, last = album.caption(name, root / "uploads" / "0.png")
        assert isinstance(last, Captioned)
        # Of equal models the second finds what the first has written; it is heard growing once.
        assert bool(grown) == (number == 0)
        assert len(grown) <= 4
    album.remove("<Zoe>")
    assert all(maker.retriever is None for maker in album.models.values())
    *grown, last = album.caption(str(second), root / "uploads" / "0.png")
    assert isinstance(last, Captioned)
    assert last.introduced == {"Bo": None}
    words[0] = str(tmp_path / "elsewhere" / "album")  # another album, whose uploads these are not
    with initialize_config_module("repic.conf", version_base="1.3"):
        cfg = compose("app", overrides=command.arguments(words))
    with pytest.raises(ValueError, match=r"name: .*/captions/album has the captions of .*; take"):
        command.live_album(cfg)


@pytest.mark.parametrize(
    ("sent", "is_public", "says"),
    [
        ({"host": "127.0.0.1:7860"}, False, None),
        ({"host": "localhost:7860", "origin": "http://localhost:7860"}, False, None),
        ({"host": "[::1]:7860"}, False, None),
        ({"host": "evil.example"}, False, "for this machine alone"),
        ({}, False, "for this machine alone"),
        ({"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:8000"}, False, "answers no other"),
        ({"host": "127.0.0.1:7860", "origin": "null"}, False, "answers no other"),
        ({"host": "studio.example"}, True, None),
        ({"host": "studio.example", "origin": "https://evil.example"}, True, "answers no other"),
    ],
)
def test_who_is_let_in(sent: dict[str, str], is_public: bool, says: str | None) -> None:
    why = Door(lambda *_: None, is_public=is_public).refusal(sent)  # pyright: ignore
    assert why is None if says is None else says in (why or "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "repic.app: name an album: python -m repic.app album"),
        (["album", "photos"], "repic.app: takes an album alone; photos are chosen on the page"),
        (["album", "port=-1"], "port"),
        (["album", "hots=x"], "hots"),
        (["album", "watch=5"], "watch: nothing reads it"),
        (["album", "port={taken}"], "cannot be served on (Address already in use); take another"),
    ],
)
def test_mistakes_are_told_in_a_line(
    tmp_path: Path,
    words: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(command.bind("127.0.0.1", 0)) as door:
        taken = door.getsockname()[1]
        asked = [word.format(taken=taken) for word in words]
        monkeypatch.setattr("sys.argv", ["repic.app", *asked])
        GlobalHydra.instance().clear()
        with pytest.raises(SystemExit) as ended:
            command.main()
    assert ended.value.code == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("repic.app: ")
    assert says in last
    assert sorted(os.listdir(tmp_path)) == []
