"""Whole, missing, corrupt and doubled pictures."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from repic.data.inspection import (
    Pair,
    Picture,
    difference_hash,
    find_duplicates,
    inspect,
)


def noise(path: Path, size: int = 72) -> Path:
    """A picture of its name's own; Pillow's noise goes on from whoever drew before."""
    patches = Image.frombytes("L", (12, 12), random.Random(path.name).randbytes(144))
    patches.resize((size, size), Image.Resampling.NEAREST).save(path)
    return path


def picture(name: str, bits: int, digest: str = "") -> Picture:
    return Picture(Path(name), 1, (1, 1), digest or name, bits)


def test_every_file_is_looked_at_whatever_the_others_are_like(tmp_path: Path) -> None:
    good = noise(tmp_path / "good.png")
    (tmp_path / "page.jpg").write_text("version https://git-lfs.github.com/spec/v1")
    whole = noise(tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "folder.jpg").mkdir()
    names = ["no.jpg", "page.jpg", "half.jpg", "folder.jpg", "good.png", "neither.jpg"]
    found = inspect(tmp_path / name for name in names)
    assert [path.name for path in found.missing] == ["no.jpg", "folder.jpg", "neither.jpg"]
    assert [path.name for path in found.corrupt] == ["page.jpg", "half.jpg"]
    assert "is not an image" in found.corrupt[tmp_path / "page.jpg"]
    assert "may be incomplete" in found.corrupt[tmp_path / "half.jpg"]
    (kept,) = found.pictures
    assert (kept.path, kept.size, kept.num_bytes) == (good, (72, 72), good.stat().st_size)


def test_the_hash_of_columns_worked_by_hand() -> None:
    stripes = Image.new("L", (9, 8))
    for x, grey in enumerate((0, 9, 5, 5, 7, 1, 1, 2, 3)):  # up, down, level, up, down, level, …
        stripes.paste(grey, (x, 0, x + 1, 8))
    assert difference_hash(stripes) == int("10010011" * 8, 2)
    top = stripes.copy()
    top.paste(0, (0, 1, 9, 8))  # the first row stays: its bits are the highest
    assert difference_hash(top) == int("10010011", 2) << 56


def test_a_smaller_copy_is_near_and_another_picture_is_not(tmp_path: Path) -> None:
    first, second = Image.open(noise(tmp_path / "a.png")), Image.open(noise(tmp_path / "b.png"))
    # Each hash is of averages over 8 × 9 pixels, so a quarter of the pixels still tells it.
    copy = first.resize((36, 36), Image.Resampling.BOX)
    apart = (difference_hash(first) ^ difference_hash(copy)).bit_count()
    assert apart <= 6
    assert (difference_hash(first) ^ difference_hash(second)).bit_count() > 12


def test_exact_and_near_pairs_are_told_apart_and_sorted() -> None:
    some = [
        picture("a", 0b0000),
        picture("b", 0b0111),
        picture("c", 0b0001),
        picture("d", 2**63, "same"),
        picture("e", 2**63, "same"),
    ]
    assert find_duplicates(some, None, 2) == [
        Pair(Path("d"), Path("e"), None),
        Pair(Path("a"), Path("c"), 1),
        Pair(Path("a"), Path("d"), 1),
        Pair(Path("a"), Path("e"), 1),
        Pair(Path("b"), Path("c"), 2),
        Pair(Path("c"), Path("d"), 2),
        Pair(Path("c"), Path("e"), 2),
    ]
    assert find_duplicates(some, None, 0) == [Pair(Path("d"), Path("e"), None)]


def test_pairs_between_two_sets_leave_a_file_itself_out() -> None:
    ours, theirs = [picture("a", 0), picture("b", 7)], [picture("b", 7), picture("c", 7, "b")]
    assert find_duplicates(ours, theirs, 0) == [Pair(Path("b"), Path("c"), None)]
    assert find_duplicates(ours, [], 64) == find_duplicates([], None, 64) == []


@given(st.lists(st.integers(0, 2**64 - 1), max_size=8), st.integers(0, 64))
def test_pairs_are_those_within_the_distance(bits: list[int], near: int) -> None:
    pictures = [picture(str(i), value) for i, value in enumerate(bits)]
    expected = {
        (str(i), str(j)): (bits[i] ^ bits[j]).bit_count()
        for i in range(len(bits))
        for j in range(i + 1, len(bits))
        if (bits[i] ^ bits[j]).bit_count() <= near
    }
    found = find_duplicates(pictures, None, near)
    assert {(str(p.first), str(p.second)): p.bits for p in found} == expected


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_any_mode_has_a_hash(mode: str) -> None:
    assert difference_hash(Image.new(mode, (5, 3))) == 0
