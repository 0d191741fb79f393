"""kill -9 while friends and corrections are saved, twenty times."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from repic.data.album import read_album
from repic.data.album_changes import add_friend, remove_friend
from repic.data.corrections import CORRECTIONS, read_corrections, save_correction
from tests.unit.data.test_album import photo

KILLS = 20


def change(root: Path, upload: Path, first: int, told: int) -> None:
    """Add, correct and remove, and say what is done as soon as it is."""
    for number in range(first, first + 1000):
        name = f"Friend{number}"
        add_friend(root, name, "a mug", [upload, upload], largest=None)
        os.write(told, f"added {name}\n".encode())
        save_correction(
            root, upload, question="", introduced=(), said="a", words=f"{number}", largest=None
        )
        os.write(told, f"corrected {number}\n".encode())
        if number % 3 == 0:
            os.write(told, f"removing {name}\n".encode())
            album = read_album(root, largest=None)
            remove_friend(album, album.by_name[f"<{name}>"], forget=int)
            os.write(told, f"removed {name}\n".encode())


def killed(root: Path, upload: Path, first: int, seconds: float) -> list[str]:
    """Let a process of its own do so for a while, and return what it said."""
    told, ours = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            change(root, upload, first, ours)
        finally:
            os._exit(1)
    os.close(ours)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(told) as file:
        return file.read().splitlines()


@pytest.mark.slow
def test_nothing_that_was_saved_is_lost_and_nothing_is_half_there(tmp_path: Path) -> None:
    root, upload = tmp_path / "album", photo(tmp_path / "uploads" / "1.png")
    add_friend(root, "First", "", [upload, upload], largest=None)  # imports what children share
    save_correction(root, upload, question="", introduced=(), said="a", words="0", largest=None)
    said: list[str] = []
    rng = random.Random(0)
    for kill in range(KILLS):
        said += killed(root, upload, 1000 * kill, rng.uniform(0.02, 0.25))
        album = read_album(root, largest=None)
        assert all(len(friend.photos) == 2 for friend in album.friends)
        assert all(f.photos[1].path.read_bytes() == upload.read_bytes() for f in album.friends)
        there = {friend.name.strip("<>") for friend in album.friends}
        added, removing, removed = (
            {line.split()[1] for line in said if line.startswith(f"{word} ")}
            for word in ("added", "removing", "removed")
        )
        assert added - removing <= there
        assert not removed & there
        if done := [line.split()[1] for line in said if line.startswith("corrected ")]:
            ((_, last),) = read_corrections(root / CORRECTIONS)
            assert int(last.caption) >= int(done[-1])
    assert len(said) > KILLS
    add_friend(root, "Last", "", [upload], largest=None)  # which removes what was half written
    assert not [p for p in root.rglob("*") if ".part" in p.name]
