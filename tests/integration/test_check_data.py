"""+experiment=check_data looks at every file, says what is wrong with all of them, and exits so.

REPIC_DATA=<folder> pytest tests/integration/test_check_data.py  looks at DreamBooth's photos, too.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repic.phases.check_data import impossible_names
from tests.photos import draw_group, draw_montage_photos, draw_training


@pytest.fixture
def command(
    main: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Run the experiment; return status, output, complaint and check.json."""
    monkeypatch.setenv("COLUMNS", "120")

    def call(*arguments: str) -> tuple[Any, str, str, dict[str, Any]]:
        outputs = tmp_path / "outputs"
        code, out, err = main("+experiment=check_data", f"outputs={outputs}", *arguments)
        (path,) = outputs.rglob("check.json")
        assert path.with_suffix(".md").exists()
        return code, out, err, json.loads(path.read_text())

    return call


def roles_of(check: dict[str, Any], split: str = "test") -> dict[str, dict[str, Any]]:
    (found,) = [s for s in check["splits"] if s["split"] == split]
    return {role["role"]: role for role in found["roles"]}


def test_whole_data_passes(command, tmp_path: Path) -> None:
    draw_group(tmp_path, "dreambooth")
    code, out, err, check = command("data=dreambooth", f"data.root={tmp_path}")
    assert code == 0, err
    assert check["complaint"] is None
    assert check["splits"][0]["without_info"] == ["<fancy_boot>"]
    assert check["splits"][0]["impossible_names"] == {}
    roles = roles_of(check)
    assert [role["found"] for role in roles.values()] == [2, 2]
    assert roles["query photos"]["smallest"] == roles["query photos"]["largest"] == [12, 8]
    size = (tmp_path / "dreambooth/dog/00.jpg").stat().st_size
    assert abs(roles["query photos"]["bytes"] - 2 * size) < 10
    assert "1 of 2 concepts have no info" in out
    assert "check.md and .json" in out


def test_everything_that_is_wrong_is_listed_and_the_status_says_so(command, tmp_path: Path) -> None:
    draw_group(tmp_path, "yollava")
    (tmp_path / "yollava-data/test/bo/0.png").unlink()
    (tmp_path / "repic/database_yollava_images/brown-duck.png").unlink()
    (tmp_path / "yollava-data/test/brown-duck/1.png").write_text("version https://git-lfs")
    code, out, err, check = command("data=yollava", f"data.root={tmp_path}")
    assert code == 1
    assert "2 files missing, 1 file corrupt" in err
    assert "check.md lists them" in err
    roles = roles_of(check)
    assert roles["database pictures"]["missing"] == 1
    assert [roles["query photos"][key] for key in ("expected", "found", "missing", "corrupt")] == [
        3,
        2,
        1,
        1,
    ]
    assert roles["query photos"]["missing_files"] == [str(tmp_path / "yollava-data/test/bo/0.png")]
    for part in ("bo/0.png", "brown-duck.png", "is not an image", "huggingface.co/datasets/thao"):
        assert part in out


def test_twenty_missing_files_are_named_and_the_rest_counted(command, tmp_path: Path) -> None:
    draw_montage_photos(tmp_path)
    gone = sorted((tmp_path / "dreambooth").rglob("01.jpg"))
    for path in gone:
        path.unlink()
    code, out, _, check = command("data=montages", f"data.root={tmp_path}")
    assert code == 1
    listed = sum(len(role["missing_files"]) for role in roles_of(check).values())
    assert listed == len(gone) == 28  # vase/01 and cat2/01 are in no montage
    database, queries = roles_of(check).values()
    assert database["missing"] + queries["missing"] == 28
    assert f"and {queries['missing'] - 20} more" in out


def test_duplicates_and_names_of_two_words(command, tmp_path: Path) -> None:
    draw_group(tmp_path, "repic_4")
    pictures = tmp_path / "repic/database_4_concepts_images/avengers"
    shot = tmp_path / "repic/query-image-4-concepts/group photo_avengers.jpg"
    (pictures / "thor.jpg").write_bytes(shot.read_bytes())
    code, out, err, check = command("data=repic_4", f"data.root={tmp_path}")
    assert code == 0, err
    assert check["splits"][0]["impossible_names"] == {"<black widow>": 2, "<scarlet witch>": 2}
    assert "can never find 4 of 8 targets" in out
    (between,) = [d for d in check["duplicates"] if "between" in d["where"]]
    assert between["pairs"][0] == {
        "first": str(pictures / "thor.jpg"),
        "second": str(shot),
        "bits": None,
    }


def test_training_and_test_photos_are_compared(command, tmp_path: Path) -> None:
    draw_group(tmp_path, "dreambooth")
    draw_training(tmp_path)
    copied = tmp_path / "repic/training_images/scene.jpg"
    copied.write_bytes((tmp_path / "dreambooth/dog/00.jpg").read_bytes())
    code, _, err, check = command(
        "data=repic_train", f"data.root={tmp_path}", "phase.check_data.near=0"
    )
    assert code == 0, err
    assert [role["found"] for role in roles_of(check, "train").values()] == [2, 1]
    same = {
        (pair["first"], pair["second"])
        for found in check["duplicates"]
        for pair in found["pairs"]
        if pair["bits"] is None
    }
    assert same == {(str(copied), str(tmp_path / "dreambooth/dog/00.jpg"))}


def test_a_split_that_cannot_be_read_does_not_hide_the_other(command, tmp_path: Path) -> None:
    draw_group(tmp_path, "dreambooth")
    code, out, err, check = command("data=repic_train", f"data.root={tmp_path}")
    assert code == 1
    assert "1 split cannot be read" in err
    assert "oict_training_5k_multi.json: no such file" in out
    assert [role["found"] for role in roles_of(check).values()] == [2, 2]


def test_no_folder_at_all_says_how_to_get_it(command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPIC_DATA", raising=False)
    code, out, _, check = command("data=myvlm")
    assert code == 1
    assert "no folder is set. Set REPIC_DATA" in out
    assert check["complaint"] == "1 split cannot be read"


@pytest.mark.parametrize(("data", "said"), [("toybox", "none in common"), ("noise", "no files")])
def test_generated_data_says_so(command, data: str, said: str) -> None:
    code, out, err, check = command(f"data={data}")
    assert code == 0, err
    assert said in out
    assert all(said in split["note"] for split in check["splits"])


@pytest.mark.parametrize(
    ("targets", "impossible"),
    [
        ([("<bo>",), ("<brown-duck>",)], {}),
        ([("<mr.krab>", "<J>"), ("<K>", "<mr.krab>")], {}),
        ([("<black widow>", "<J>", "<thor>")], {"<black widow>": 1}),
        ([("<Mi Mi>",), ("<Mi Mi>",), ("<bo>",)], {"<Mi Mi>": 2}),
        ([("<-bo->",)], {}),  # with its brackets nothing is stripped from it
        ([], {}),
    ],
)
def test_what_the_papers_protocol_never_finds(targets, impossible: dict[str, int]) -> None:
    assert impossible_names(targets) == impossible


def test_dreambooths_photos_are_whole(command) -> None:
    if not os.environ.get("REPIC_DATA"):
        pytest.skip("REPIC_DATA is not set: no real photos here")
    code, _, err, check = command("data=dreambooth")
    assert code == 0, err
    assert [role["found"] for role in roles_of(check).values()] == [30, 158]
    assert check["splits"][0]["without_info"] == ["<fancy_boot>"]
    (between,) = [d for d in check["duplicates"] if "between" in d["where"]]
    (pair,) = between["pairs"]
    assert "pink_sunglasses" in pair["first"]
    assert pair["second"].endswith("pink_sunglasses/00.jpg")
