"""+experiment=compare: which of two systems' captions are preferred, exactly or by a model."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from repic import assembly
from tests.exact_judge import ExactJudge
from tests.integration.small import compose_run, start
from tests.judge_server import Act, judge_server, make_judge

REFERENCES = ("A red bear, <bo>, sits on the left on a beach.",)
# The better ones of each picture; the second pair is a tie, and the third has two names.
PAIRS = {
    "0.png": (["<bo>"], "A red bear, <bo>.", "A red bear, <mi>."),
    "1.png": (["<bo>"], "A bear, <bo>.", "A bear, <bo>."),
    "2.png": (["<bo>", "<mi>"], "A bear, <bo>.", "A bear on the left on a beach."),
}


@pytest.fixture
def command(main: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Run the experiment; return its status, its output and its complaint."""
    return partial(main, "+experiment=compare", f"outputs={tmp_path / 'outputs'}")


def predictions(file: Path, phase: str, side: int, images: list[str] | None = None) -> None:
    """Append one system's captions to a predictions.jsonl."""
    rows = [
        {
            "id": image,
            "phase": phase,
            "task": "caption",
            "num_concepts": len(PAIRS[image][0]),
            "prompt": "Who?",
            "images": ["portrait.png", image],
            "caption": PAIRS[image][side],
            "answers": list(REFERENCES),
            "present": PAIRS[image][0],
            "pool": ["<bo>", "<mi>"],
            "rewards": {},
            "finished": True,
            "infos": [],
        }
        for image in images or PAIRS
    ]
    file.parent.mkdir(exist_ok=True)
    with file.open("a") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def sides(tmp_path: Path) -> tuple[str, str]:
    for side, name in ((1, "ours"), (2, "theirs")):
        predictions(tmp_path / name / "predictions.jsonl", name, side)
    return f"captions={tmp_path / 'ours'}", f"against={tmp_path / 'theirs'}"


def result(tmp_path: Path) -> dict[str, Any]:
    """The last command's."""
    paths = (tmp_path / "outputs").rglob("compared.json")
    return json.loads(max(paths, key=lambda path: path.stat().st_mtime_ns).read_text())


def rows_of(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["names"]: row for row in found["rows"]}


def counts(row: dict[str, Any]) -> tuple[int, ...]:
    return tuple(row[name] for name in ("num_pairs", "wins", "ties", "losses"))


def test_the_exact_judge_without_a_model(command, sides: tuple[str, str], tmp_path: Path) -> None:
    code, out, err = command(*sides)
    assert code == 0, err
    found = result(tmp_path)
    assert found["judge"] == "exact"
    assert {name: counts(row) for name, row in rows_of(found).items()} == {
        "all": (3, 2, 1, 0),
        "1": (2, 1, 1, 0),
        "2": (1, 1, 0, 0),
    }
    row = rows_of(found)["all"]
    assert row["preferred"] == pytest.approx(100 * 2.5 / 3)
    assert row["preferred_ci"][0] <= row["preferred"] <= row["preferred_ci"][1]
    assert row["p_value"] == 0.5
    assert "Which captions are preferred" in out
    (table,) = (tmp_path / "outputs").rglob("compared.md")
    line = next(row for row in table.read_text().splitlines() if row.startswith("| all"))
    assert line.startswith("| all | 3 | 83.3 [")
    assert line.endswith("| 2 | 1 | 0 | 0 | 0 | 0.500 |")
    csv = table.with_suffix(".csv").read_text().splitlines()
    assert csv[0].startswith("names,num_pairs,preferred,preferred_low,preferred_high,wins,ties,")
    assert csv[0].endswith("p_value,num_images,first,second,judge")
    assert len(csv) == 4
    values = csv[2].split(",")
    assert (values[:2], values[5:8], values[11]) == (["1", "2"], ["1", "1", "0"], "2")
    # From the other side.
    swapped = (sides[1].replace("against", "captions"), sides[0].replace("captions", "against"))
    assert command(*swapped)[0] == 0
    assert counts(rows_of(result(tmp_path))["all"]) == (3, 0, 1, 2)


def test_a_model_sees_the_pictures_and_both_orders(
    command, sides: tuple[str, str], tmp_path: Path
) -> None:
    for i, image in enumerate(PAIRS):
        Image.new("RGB", (8, 8), (40 * i, 0, 0)).save(tmp_path / image)
    encoder = make_judge("http://127.0.0.1:1/v1").pictures
    urls = {encoder.data_url(Image.open(tmp_path / image)): REFERENCES for image in PAIRS}
    exact = ExactJudge(urls)

    def play(body: dict[str, Any], index: int) -> Act:
        # Of the third picture it always prefers what it is shown first.
        shown = body["messages"][0]["content"][0]["image_url"]["url"]
        return Act("A") if shown == list(urls)[2] else exact(body, index)

    with judge_server(play) as server:
        code, _, err = command(
            *sides,
            "judge=local",
            f"judge.endpoint.base_url={server.base_url}",
            "judge.endpoint.model=exact",
            f"phase.compare.images={tmp_path}",
        )
    assert code == 0, err
    found = result(tmp_path)
    assert found["judge"] == "a model"
    row = rows_of(found)["all"]
    assert (counts(row), row["inconsistent"]) == ((3, 1, 2, 0), 1)
    texts = [body["messages"][0]["content"][-1]["text"] for body in server.bodies]
    assert len(texts) == 4  # two orders of two pairs; equal captions are a tie
    assert all("personalized" in text for text in texts)
    assert sum('whom the reader knows: "<bo>", "<mi>".' in text for text in texts) == 2


def test_two_phases_of_one_run(command, tmp_path: Path, model: Path) -> None:
    file = tmp_path / "run" / "predictions.jsonl"
    for phase, side in (("sft", 2), ("grpo", 1)):
        predictions(file, phase, side)
    given = (f"captions={file}", f"against={file}")
    code, _, err = command(*given)
    assert code == 1
    assert "holds captions of sft, grpo; choose one: phase.compare.system=<name>" in err
    chosen = ("phase.compare.system=grpo", "phase.compare.against_system=sft")
    assert command(*given, *chosen)[0] == 0
    assert counts(rows_of(result(tmp_path))["all"]) == (3, 2, 1, 0)
    code, _, err = command(*given, "phase.compare.system=gpro", chosen[1])
    assert code == 1
    assert "phase.compare.system: 'gpro' is not in" in err


def test_what_cannot_be_compared_is_refused(
    command, sides: tuple[str, str], tmp_path: Path
) -> None:
    short = tmp_path / "short" / "predictions.jsonl"
    predictions(short, "short", 2, ["0.png"])
    for given in (
        (sides[0], f"against={short}"),
        (f"captions={short}", sides[0].replace("captions", "against")),
    ):
        code, _, err = command(*given)
        assert code == 1
        assert f"{short} has no caption of 1.png with <bo> (" in err
        assert "2.png with <bo>, <mi> (" in err
    code, _, err = command(sides[0])
    assert (code, "against: say whose captions" in err) == (1, True)
    published = tmp_path / "published.json"
    published.write_text(json.dumps([[i, names, text] for i, (names, text, _) in PAIRS.items()]))
    code, _, err = command(f"captions={published}", f"against={published}")
    assert code == 1
    assert (
        "row 1: does not have references that the grammar reads as a whole; these captions" in err
    )
    with judge_server([Act(status=400)]) as server:
        model = ("judge=local", f"judge.endpoint.base_url={server.base_url}",
                 "judge.endpoint.model=m")  # fmt: skip
        code, _, err = command(*sides, *model)
        assert (code, "phase.compare.images=<folder>" in err) == (1, True)
        code, _, err = command(*sides, *model, f"phase.compare.images={tmp_path}")
        assert (code, f"there is no image {tmp_path / '0.png'}" in err) == (1, True)
        for image in PAIRS:
            Image.new("RGB", (8, 8)).save(tmp_path / image)
        code, _, err = command(*sides, *model, f"phase.compare.images={tmp_path}")
        assert (code, "the judge has answered none of 2 questions" in err) == (1, True)
    assert not list((tmp_path / "outputs").rglob("compared.*"))


def test_a_run_with_judged_metrics_and_itself_as_baseline(model: Path, tmp_path: Path) -> None:
    """What a run writes can be the next one's baseline: equal captions are ties."""
    given = ["method=name_everybody", "reward=none", "metrics=judged", "phase.evaluate.per_count=4"]
    first = start(model, tmp_path, *given, name="first")
    cell = json.loads((first / "summary.json").read_text())["metrics"]["name_everybody"]["all"]
    assert cell["dcscore"] == 0
    assert cell["arena"] == -100
    assert 30 < cell["caption_qa"] < 40
    assert (cell["friend_qa_present"], cell["friend_qa_absent"]) == (0, 100)  # names, no looks
    assert "by judges" in (first / "report.html").read_text()
    baseline = f"metrics.scorers.arena.baselines=[{first / 'predictions.jsonl'}]"
    second = start(model, tmp_path, *given, baseline, name="second")
    cell = json.loads((second / "summary.json").read_text())["metrics"]["name_everybody"]["all"]
    assert (cell["arena"], cell["arena_ci"]) == (0, [0, 0])


def test_settings_reach_the_phase_and_the_metrics(tmp_path: Path) -> None:
    cfg, _ = compose_run("+experiment=compare", "captions=a.json", "against=b.json")
    phase = assembly.make(cfg.phase.compare)
    assert (phase.captions, phase.against) == ("a.json", "b.json")
    assert not phase.asks_model
    assert phase.exact.names_first
    cfg, _ = compose_run("metrics=judged", "judge=local", f"outputs={tmp_path}",
                         "judge.endpoint.model=m", "metrics.scorers.dcscore.source=judge",
                         "metrics.scorers.dcscore.sources.judge.trials.verify=1")  # fmt: skip
    metric = assembly.make(cfg.metrics.scorers.dcscore)
    assert metric.missing() is None
    assert metric.source.num_trials == {"extract": 1, "match": 3, "verify": 1}
