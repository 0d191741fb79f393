"""The fixed list of montages: that it is the generator's, what it keeps to, and what is refused."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.data.montage_list import (
    COUNTS,
    FILE,
    Montage,
    Subject,
    as_text,
    choose_montages,
    read_montages,
    rewrite,
)

LIST = read_montages(FILE)


def test_the_file_is_what_its_seed_gives() -> None:
    assert as_text(rewrite(LIST)) == FILE.read_text(encoding="utf-8")


def test_the_command_prints_the_file() -> None:
    command = [sys.executable, "-m", "repic.data.montage_list"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=FILE.parents[2])
    assert run.stdout == FILE.read_text(encoding="utf-8")


def test_another_seed_gives_other_montages() -> None:
    others = choose_montages(LIST.subjects, per_count=LIST.per_count, seed=LIST.seed + 1)
    assert len(set(others) & set(LIST.montages)) < 5


def kept(montages: tuple[Montage, ...], subjects: dict[str, Subject]) -> None:
    """Assert the first three rules of the module's docstring."""
    for montage in montages:
        kinds = [subjects[key].kind for key in montage.present]
        assert len(set(kinds)) == len(kinds) == len(montage.photos)
        assert len(set(montage.introduced)) == len(montage.introduced)
        assert set(montage.present) < set(montage.introduced)
        for photo in montage.photos:
            assert photo in subjects[photo.partition("/")[0]].photos
        absent = [key for key in montage.introduced if key not in montage.present]
        assert len(absent) in (1, 2)
        alike = [key for key in absent if subjects[key].kind in kinds]
        able = [k for k, s in subjects.items() if s.kind in kinds and k not in montage.present]
        assert len(alike) == min(len(absent), len(able))


def test_the_list_keeps_its_rules_and_shows_everybody_alike() -> None:
    kept(LIST.montages, dict(LIST.subjects))
    assert Counter(len(m.photos) for m in LIST.montages) == dict.fromkeys(COUNTS, 50)
    assert len({frozenset(m.photos) for m in LIST.montages}) == 200
    shown = Counter(key for m in LIST.montages for key in m.present)
    assert shown.keys() == LIST.subjects.keys()
    assert max(shown.values()) - min(shown.values()) <= 2
    for subject in LIST.subjects.values():
        used = Counter(p for m in LIST.montages for p in m.photos if p in subject.photos)
        assert max(used.values()) - min(used[photo] for photo in subject.photos) <= 1
    # Where the present one stands among the references tells nothing.
    places = {m.introduced.index(m.present[0]) for m in LIST.montages if len(m.photos) == 5}
    assert places == set(range(7))


@given(st.lists(st.integers(1, 4), min_size=5, max_size=7), st.integers(0, 99))
def test_any_subjects_of_five_kinds_or_more_will_do(sizes: list[int], seed: int) -> None:
    keys = [(f"{kind}-{i}", str(kind)) for kind, size in enumerate(sizes) for i in range(size)]
    subjects = {
        key: Subject(f"<{key}>", kind, f"{key}/0.jpg", (f"{key}/1.jpg", f"{key}/2.jpg"), key)
        for key, kind in [*keys, ("extra-1", "extra"), ("extra-2", "extra")]
    }
    montages = choose_montages(subjects, per_count=3, seed=seed)
    assert len(montages) == 3 * len(COUNTS)
    kept(montages, subjects)
    assert montages == choose_montages(subjects, per_count=3, seed=seed)


SUBJECTS = {
    "bo": {"name": "<ba>", "kind": "dog", "reference": "bo/0.jpg", "photos": ["bo/1.jpg"]},
    "mi": {"name": "<mu>", "kind": "dog", "reference": "mi/0.jpg", "photos": ["mi/1.jpg"]},
    "jug": {"name": "<ju>", "kind": "vase", "reference": "jug/0.jpg", "photos": ["jug/1.jpg"]},
}
MONTAGE = {"photos": ["bo/1.jpg", "jug/1.jpg"], "introduced": ["jug", "mi", "bo"]}


def written(tmp_path: Path, **changes: Any) -> Path:
    content = {"seed": 0, "per_count": 1, "subjects": SUBJECTS, "montages": [MONTAGE], **changes}
    (tmp_path / "list.json").write_text(json.dumps(content))
    return tmp_path / "list.json"


def test_a_list_of_ones_own_is_read(tmp_path: Path) -> None:
    (montage,) = read_montages(written(tmp_path)).montages
    assert montage == Montage(("bo/1.jpg", "jug/1.jpg"), ("jug", "mi", "bo"))
    assert montage.present == ("bo", "jug")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"seed": None}, "key 'seed': is null, need a whole number"),
        ({"seed": True}, "key 'seed': is true, need a whole number"),
        ({"montages": {}}, "key 'montages': is {}, need a list"),
        ({"subjects": {"bo": 1}}, "key 'subjects.bo': is 1, need a JSON object"),
        (
            {"subjects": {"bo": {**SUBJECTS["bo"], "kind": 1}}},
            "bo.kind': is 1, need text",
        ),
        ({"subjects": {"bo": {**SUBJECTS["bo"], "name": "bo"}}}, "is written in brackets"),
        (
            {"subjects": {"bo": {**SUBJECTS["bo"], "photos": []}}},
            "bo.photos': is [], need",
        ),
        (
            {"subjects": {"bo": {**SUBJECTS["bo"], "photos": ["bo/0.jpg"]}}},
            "bo/0.jpg introduces it and cannot be asked about",
        ),
        ({"subjects": {"mu": SUBJECTS["bo"]}}, "subject 'mu': bo/0.jpg is not in its folder"),
        (
            {"subjects": {**SUBJECTS, "mi": {**SUBJECTS["mi"], "name": "<ba>"}}},
            "subjects' names: '<ba>' stands there twice",
        ),
        ({"montages": [MONTAGE, 1]}, "key 'montages.1': is 1, need a JSON object"),
        ({"montages": [{**MONTAGE, "photos": ["bo/1.jpg"]}]}, "montage 1: has 1 photos"),
        ({"montages": [{**MONTAGE, "photos": ["bo/1.jpg"] * 2}]}, "'bo/1.jpg' stands there twice"),
        (
            {"montages": [{**MONTAGE, "introduced": ["bo", "jug", "zo"]}]},
            "'zo' is none of the subjects",
        ),
        (
            {"montages": [{**MONTAGE, "photos": ["bo/0.jpg", "jug/1.jpg"]}]},
            "bo/0.jpg is none of its subject's photos to ask about",
        ),
        (
            {"montages": [{**MONTAGE, "photos": ["bo/1.jpg", "mi/1.jpg"]}]},
            "kinds: 'dog' stands there twice",
        ),
        ({"montages": [{**MONTAGE, "introduced": ["jug"]}]}, "bo is in it, and not introduced"),
    ],
)
def test_a_bad_list_is_named_with_place_and_mend(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=r"list\.json") as raised:
        read_montages(written(tmp_path, **changes))
    assert complaint in str(raised.value)


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ValueError, match=r"list\.json: is \[\], need a JSON object"):
        read_montages(tmp_path / "list.json")
    with pytest.raises(ValueError, match=r"no\.json: no such file"):
        read_montages(tmp_path / "no.json")
