"""+experiment=rescore scores caption files by both protocols, without a model.

REPIC_DATA=<folder> pytest tests/integration/test_rescore.py  scores the published captions, too.
"""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from repic import assembly
from repic.metrics.caption_files import read_predictions
from tests.integration.small import compose_run, start, summary_of
from tests.unit.metrics.hand import FILES, PAPER, ROBUST, TWO

DATABASE = {
    "concept_dict": {
        "<Anya>": {"name": "Anya", "image": "", "info": "A girl.", "category": "person"},
        "<Bond>": {"name": "Bond", "image": "", "info": "<Bond> is a dog.", "category": "dog"},
        "<H>": {"name": "H", "image": "", "info": "", "category": "man"},
        "<J>": {"name": "J", "image": "", "info": "", "category": "man", "aliases": ["Jay"]},
    }
}


@pytest.fixture
def command(main: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Run the experiment; return its status, its output and its complaint."""
    return partial(main, "+experiment=rescore", f"outputs={tmp_path / 'outputs'}")


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    folder = tmp_path / "captions"
    folder.mkdir()
    for name, rows in FILES.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    return folder


def rows_of(tmp_path: Path) -> list[dict[str, Any]]:
    (path,) = (tmp_path / "outputs").rglob("rescored.json")
    return json.loads(path.read_text())["rows"]


def test_a_folder_is_scored_by_both_protocols(command, captions: Path, tmp_path: Path) -> None:
    code, out, err = command(f"captions={captions}")
    assert code == 0, err
    rows = {(row["captions"], row["protocol"]): row for row in rows_of(tmp_path)}
    assert len(rows) == 6
    for name in FILES:
        for protocol, expected in (("paper", PAPER), ("robust", ROBUST)):
            row = rows[f"{name}.json", protocol]
            assert {key: row[key] for key in expected[name]} == pytest.approx(expected[name])
            low, high = row["recall_ci"]
            assert low <= row["recall"] <= high
            assert row["cider"] is None
    assert [rows[f"{n}.json", "paper"]["variant"] for n in FILES] == [
        "single",
        "2-concept",
        "4-concept",
    ]
    assert "protocol=paper is RePIC's" in out
    (table,) = (tmp_path / "outputs").rglob("rescored.md")
    assert table.with_suffix(".csv").exists()
    assert table.with_name("config.yaml").exists()
    assert "| two.json | 2-concept | paper | 4 | 4 | 83.3 [" in table.read_text()


def test_the_same_command_scores_anew(command, captions: Path, tmp_path: Path) -> None:
    for text, recall in (("<Anya>, Bond", 100), ("nobody", 0)):
        row = [*TWO[0][:2], text, "Who?"]
        (captions / "two.json").write_text(json.dumps([row, ["x.jpg", *row[1:]]]))
        assert command(f"captions={captions / 'two.json'}", "protocol=paper")[0] == 0
        (found,) = rows_of(tmp_path)
        assert found["recall"] == recall


def test_one_protocol_another_variant_and_references(
    command, captions: Path, tmp_path: Path
) -> None:
    references = tmp_path / "references.json"
    references.write_text(json.dumps({row[0]: [f"{row[2]} again", "a toy"] for row in TWO}))
    code, _, err = command(
        f"captions={captions / 'two.json'}",
        "protocol=paper",
        "phase.rescore.variant=four",
        f"phase.rescore.references={references}",
    )
    assert code == 0, err
    (row,) = rows_of(tmp_path)
    # Without case, "anya" of caption 2 is a hit, and its other target a miss no more.
    assert (row["variant"], row["precision"]) == ("4-concept", pytest.approx(100 * 6 / 7))
    assert row["cider"] > 100


def test_a_database_gives_aliases_and_ordinary_words(
    command, captions: Path, tmp_path: Path
) -> None:
    database = tmp_path / "database.json"
    database.write_text(json.dumps(DATABASE))
    rows = [["hj.jpg", ["<H>", "<J>"], "Jay hugs H", "Who?"], [*TWO[0]]]
    (captions / "two.json").write_text(json.dumps(rows))
    given = (f"captions={captions / 'two.json'}", "protocol=robust")
    code, _, err = command(*given, f"phase.rescore.database={database}")
    assert code == 0, err
    (row,) = rows_of(tmp_path)
    assert row["accuracy"] == 100
    rows.append(["x.jpg", ["<Bonnd>"], "x", "Who?"])
    (captions / "two.json").write_text(json.dumps(rows))
    code, _, err = command(*given, f"phase.rescore.database={database}")
    assert code == 1
    assert f"two.json, row 3: '<Bonnd>' is not in {database}; did you mean <Bond>?" in err


def test_a_runs_predictions_are_scored(command, model: Path, tmp_path: Path) -> None:
    folder = start(model, tmp_path / "run", "method=zero_shot", "reward=none")
    assert len(read_predictions(folder)) == 8
    code, _, err = command(f"captions={folder}", "protocol=robust")
    assert code == 0, err
    metrics = summary_of(folder)["metrics"]
    rows = rows_of(tmp_path)
    assert len(rows) == sum(len(cells) - 1 for cells in metrics.values()) == 4
    for row in rows:
        _, phase, count = row["captions"].split(" · ")
        cell = metrics[phase][count]
        for metric in ("accuracy", "precision", "recall", "f1", "cider"):
            assert row[metric] == pytest.approx(cell[metric]), (row["captions"], metric)
        for metric in ("precision", "recall", "f1"):  # counted by this protocol in the run, too
            assert row[metric] == pytest.approx(cell[f"{metric}"])
            assert row[f"{metric}_ci"] == pytest.approx(cell[f"{metric}_ci"])


def test_caption_metrics_with_references_infos_and_pictures(
    command, captions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything asked for; what the machine lacks is said, and the rest is there."""
    monkeypatch.setattr("shutil.which", lambda name: None)  # no Java
    for name in ("ab/1.jpg", "ab/2.jpg", "hj/1.jpg", "hj/2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    database = tmp_path / "database.json"
    database.write_text(json.dumps(DATABASE))
    references = tmp_path / "references.json"
    references.write_text(json.dumps({row[0]: [f"{row[2]} again", "a toy"] for row in TWO}))
    given = [
        "metrics=full",
        f"captions={captions / 'two.json'}",
        f"phase.rescore.images={tmp_path}",
    ]
    given += [
        f"phase.rescore.{k}={v}" for k, v in (("database", database), ("references", references))
    ]
    code, out, err = command(*given)
    assert code == 0, err
    for row in rows_of(tmp_path):
        assert 30 < row["rouge_l"] < 100
        assert row["bleu_1_ci"][0] <= row["bleu_1"] <= row["bleu_1_ci"][1]
        assert {"cider_r", "bleu_4", "self_bleu", "distinct_2", "copied", "copy_rouge_l"} <= set(
            row
        )
        assert not {"meteor", "spice", "bert_score", "clip_score", "copy_meteor"} & set(row)
    assert "Captions against references: n-grams" in out
    (path,) = (tmp_path / "outputs").rglob("rescored.json")
    left_out = json.loads(path.read_text())["left_out"]
    lacking = ["meteor", "spice", "bert_score", "clip_score"]
    lacking += [f"copy_{name}" for name in ("meteor", "spice", "bert_score")]
    # The others judge by toybox's grammar, which does not read these references.
    assert list(left_out) == [*lacking, "dcscore", "caption_qa", "friend_qa", "arena"]
    assert left_out["dcscore"] == "no caption has references that the grammar reads as a whole"
    assert left_out["clip_score"].startswith("set metrics.scorers.clip_score.path to")
    (tmp_path / "hj/2.jpg").unlink()
    code, _, err = command(*given)
    assert code == 1
    assert f"two.json, row 4: there is no image {tmp_path / 'hj/2.jpg'}" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "captions: say which file or folder to score: captions=<path>"),
        (("captions=/no/such/file.json",), "/no/such/file.json: no such file; need a file"),
        (("captions=CAPTIONS", "protocol=papre"), "protocol: 'papre' is not paper, robust or both"),
        (("captions=CAPTIONS", "phase.rescore.variant=one"), "'one' is not single, two or four"),
        (("captions=CAPTIONS", "phase.rescore.database=/no"), "/no: no such file"),
        (("captions=CAPTIONS", "phase.rescore.references=/no"), "/no: no such file"),
        (
            ("captions=CAPTIONS", "metrics.captions=[blue]"),
            "metrics.captions, metrics.also: 'blue' is not one of",
        ),
    ],
)
def test_a_wrong_setting_is_named(command, captions: Path, arguments: Any, said: str) -> None:
    code, _, err = command(*(text.replace("CAPTIONS", str(captions)) for text in arguments))
    assert code == 1
    assert said in err
    assert "Traceback" not in err


def test_a_bad_file_is_named_and_leaves_no_table(command, captions: Path, tmp_path: Path) -> None:
    (captions / "two.json").write_text(json.dumps([*TWO, TWO[0]]))
    code, _, err = command(f"captions={captions}")
    assert code == 1
    assert "two.json, row 5: the same as" in err
    assert "row 1 (ab/1.jpg); remove one of them" in err
    assert not list((tmp_path / "outputs").rglob("rescored.*"))


def test_it_needs_no_phase_but_its_own() -> None:
    cfg, choices = compose_run("+experiment=rescore", "captions=a.json")
    assert (choices["method"], list(cfg.method.phases)) == ("rescore", ["rescore"])
    rescore = assembly.make(cfg.phase.rescore)
    assert (rescore.captions, rescore.protocol) == ("a.json", "both")
    assert rescore.metrics.resampling["num_samples"] == cfg.metrics.bootstrap_samples


# RePIC's Table 2, two concepts with skipped retrieval, and the words that a caption has.
PUBLISHED = {
    "captioning-skip-retrieval-ours.json": (100, 98.8, 99.4, 44.1),
    "captioning-skip-retrieval-zero_shot.json": (100, 75.0, 85.7, 16.4),
    "captioning-skip-retrieval-qwen_sft.json": (100, 82.9, 90.7, 9.5),
    "caption-rap-llava-with-skip-retreival_RAP-llava-reproduce.json": (100, 93.9, 96.9, 12.0),
    "caption-rap-llava-skip-retreival_RAP-llava-sft-2k.json": (100, 90.2, 94.9, 11.7),
}


def test_the_published_captions_score_as_published(command, tmp_path: Path) -> None:
    folder = Path(os.environ.get("REPIC_DATA", "")) / "repic/captions_2_concept"
    if not os.environ.get("REPIC_DATA") or not folder.is_dir():
        pytest.skip("REPIC_DATA is not set, or has no repic/captions_2_concept")
    code, _, err = command(f"captions={folder}")
    assert code == 0, err
    paper = [row for row in rows_of(tmp_path) if row["protocol"] == "paper"]
    found = {
        row["captions"]: tuple(round(row[key], 1) for key in ("precision", "recall", "f1", "words"))
        for row in paper
    }
    assert found == PUBLISHED
    assert {(row["variant"], row["num_images"]) for row in paper} == {("2-concept", 82)}
