"""An album of toys is an album, and tells the truth."""

import csv
import random
from pathlib import Path

import pytest

from repic.data.folder import FolderDataset
from repic.toybox.album import main, write_album
from repic.toybox.grammar import parse_caption
from repic.toybox.world import draw_names, split_of_name

SIZES = {"friends": 4, "per_friend": 2, "photos": 6, "strangers": (0, 2), "scale": 1.0}


def test_an_album_of_toys_is_a_data_set(tmp_path: Path) -> None:
    write_album(tmp_path, **SIZES, seed=3)
    data = FolderDataset(
        tmp_path / "album",
        photos=tmp_path / "photos",
        questions=["no"],
        num_absent=0,
        largest=None,
        repeat=False,
        counts=[1, 2, 3, 4],
        size=None,
        seed=0,
    )
    assert [example.num_concepts for example in data] == [1, 2, 3, 4, 4, 1]
    for example in data:
        assert example.question == "Describe this picture."  # as the album says
        named = {m.name for m in parse_caption(example.target).mentions if m.name}
        assert named == set(example.present) == set(example.pool)
        assert all(split_of_name(name) == "test" for name in named)
        assert all(r.info and r.image.load().size == (64, 64) for r in example.references)
        assert example.query.load().size == (256, 160)


def test_equal_arguments_give_equal_files(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_album(tmp_path / name, **SIZES, seed=seed)
    files = {
        name: {
            p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*.*")
        }
        for name in "abc"
    }
    assert files["a"] == files["b"] != files["c"]
    assert len(files["a"]) == 4 * 3 + 1 + 6 + 1
    write_album(tmp_path / "a", **SIZES, seed=0)  # again is no other
    with pytest.raises(ValueError, match=r"a/photos: holds other pictures, .* name another folder"):
        write_album(tmp_path / "a", **SIZES, seed=1)
    assert {p.name for p in (tmp_path / "a" / "album").iterdir()} == {
        p.name for p in (tmp_path / "b" / "album").iterdir()
    }


def test_the_command_line(tmp_path: Path, capsys) -> None:
    assert (
        main([str(tmp_path / "toys"), "--friends", "2", "--photos", "3", "--per-friend", "1"]) == 0
    )
    assert "2 friends in" in capsys.readouterr().out
    with (tmp_path / "toys" / "photos" / "who.csv").open() as file:
        assert [len(row["names"].split(";")) for row in csv.DictReader(file)] == [1, 2, 2]
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "file"), "--friends", "1"]) == 1
    assert "file: " in capsys.readouterr().err


def test_there_are_names_for_hundreds_and_no_end_of_friends_is_refused(
    capsys, tmp_path: Path
) -> None:
    for count in (80, 300):
        assert len(set(draw_names("test", count, random.Random(0)))) == count
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--friends", "9999"])
    assert "no more than 1238 friends" in capsys.readouterr().err
