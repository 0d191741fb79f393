"""Clips of toys: what is drawn in a frame is what the truth says of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from repic.data.clips import read_clip
from repic.parsing import find_names, find_times
from repic.toybox.clips import MOST_AT_ONCE, SIZE, ClipDataset, FilmFrame, make_film
from repic.toybox.grammar import parse_caption, unread_clauses
from repic.toybox.world import Toy, split_of_name, split_of_toy, toys
from repic.types import Clip
from tests.unit.toybox.test_dataset import RULES


def frames(example):
    assert isinstance(example.query, Clip)
    return example.query.frames


def make(split="test", counts=(1, 2, 3), frames=4, size=60, seed=0, rules=RULES):
    return ClipDataset(
        split,
        frames=frames,
        counts=counts,
        size=size,
        seed=seed,
        rules=rules,
        questions=["Who is there, and when?"],
        scale=1.0,
    )


@pytest.fixture(scope="module")
def clips():
    return list(make())


def test_a_clip_depends_on_seed_split_and_index_alone():
    assert make()[7] == make(size=500)[7]
    assert make()[7] != make(seed=1)[7]
    assert make()[7] != make(split="val")[7]
    once, again = (b"".join(f.image.load().tobytes() for f in frames(make()[7])) for _ in range(2))
    assert once == again


def test_who_is_drawn_in_a_frame_is_who_is_there(clips):
    for example in clips:
        assert [frame.second for frame in frames(example)] == [1, 3, 5, 7]
        for second, picture in frames(example):
            assert isinstance(picture, FilmFrame)
            drawn = {toy for toy, _ in picture.beings}
            there = {
                Toy(**{k: v for k, v in mention.attributes.items() if k != "time"})
                for mention in example.scene.mentions
                if any(t.begin <= second <= t.end for t in find_times(mention.attributes["time"]))
            }
            assert drawn == there
            assert len(drawn) <= MOST_AT_ONCE
            for _, pose in picture.beings:  # as a whole, as in portraits
                assert 28 <= pose.centre[0] <= SIZE[0] - 28


def test_toys_come_and_go(clips):
    shown = [{len(f.image.beings) for f in frames(example)} for example in clips]
    assert sum(len(counts) > 1 for counts in shown) > len(clips) / 2
    times = {m.attributes["time"] for example in clips for m in example.scene.mentions}
    assert {"at 1 s", "at 7 s", "from 1 s to 7 s", "from 3 s to 5 s"} <= times


def test_both_answers_say_all_and_the_first_is_imitated(clips):
    for example in clips:
        by_toy, by_frame = example.answers
        assert parse_caption(by_toy) == example.scene
        assert unread_clauses(by_toy) == []
        assert example.target == by_toy  # the rules here leave no name out
        assert [t.begin for t in find_times(by_frame)] == [1, 3, 5, 7]
        assert set(find_names(by_frame)) == set(example.present)
        assert set(example.present) < set(example.pool)
        assert len(example.present) == example.num_concepts
    careless = make(rules=replace(RULES, omit=1.0))
    assert all(len(find_names(e.target)) == e.num_concepts - 1 for e in careless)


def test_toys_and_names_are_of_the_split():
    for split in ("train", "test"):
        for example in make(split=split, size=10):
            assert all(split_of_name(name) == split for name in example.pool)
            beings = [toy for f in frames(example) for toy, _ in f.image.beings]
            assert all(split_of_toy(toy) == split for toy in beings)


def test_every_frame_has_a_key_of_its_own(clips):
    pictures = [frame.image for example in clips for frame in frames(example)]
    assert len({picture.key for picture in pictures}) == len(pictures)
    assert len({picture.content for picture in pictures}) == len(pictures)
    # What a retriever needs to know of them.
    identities = make(rules=replace(RULES, drop_image=1.0)).identities(0)
    assert all(reference.image for reference in identities.references)


def test_between_frames_toys_walk():
    film = make_film(toys("test")[:1], "walk", num_frames=4, scale=1.0)
    (walk,) = film.walks
    first = film.seconds[walk.first]
    here = film.at(first).beings[0][1].centre[0]
    coming = film.at(first - 0.45).beings[0][1].centre[0]
    assert min(walk.entry, here) < coming < max(walk.entry, here)
    assert film.at(first - 1).beings == ()  # not yet
    assert film.at(film.seconds[walk.frames[-1]] + 1).beings == ()  # no more


def test_as_many_as_have_room():
    for count in (1, 3, 6, 12):
        film = make_film(toys("test")[:count], "many", num_frames=4, scale=1.0)
        assert max(len(film.at(second).beings) for second in film.seconds) <= MOST_AT_ONCE
        assert all(walk.places for walk in film.walks)
    with pytest.raises(ValueError, match="13 toys are too many for a clip of 4 frames"):
        make_film(toys("test")[:13], "more", num_frames=4, scale=1.0)


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_a_film_s_file_shows_what_is_drawn(tmp_path: Path, ending: str):
    pytest.importorskip("av")
    film = make_film(toys("test")[:3], "file", num_frames=4, scale=1.0)
    file = tmp_path / f"film{ending}"
    film.write(file, rate=2)
    if ending == ".gif":
        assert file.read_bytes()[:4] == b"GIF8"
        return
    found = read_clip(file, 4, largest=None)
    assert isinstance(found, Clip)
    for (second, drawn), (read_second, read) in zip(film.clip.frames, found.frames, strict=True):
        assert read_second == second
        pairs = zip(drawn.load().tobytes(), read.load().tobytes(), strict=True)
        assert sum(abs(a - b) for a, b in pairs) < 8 * 3 * SIZE[0] * SIZE[1]  # of 255
