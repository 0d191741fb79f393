"""Evaluation in the setting "retrieval": who is introduced, what counts, and what is kept."""

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from repic import assembly, run
from repic.metrics.caption_files import read_predictions
from repic.metrics.names import NameCounts, count_names, lexicon_of
from repic.tables.ablation import RETRIEVER
from repic.tables.layouts import names_table
from repic.tables.runs import read_run
from repic.tables.test_set import refuse_other_test_sets
from tests import photos
from tests.integration.small import compose_run, start, summary_of

ZERO_SHOT = ("method=zero_shot", "reward=none", "phase.evaluate.per_count=3")
ON = "retrieval=toybox"


def evaluation_of(*overrides: str, outputs: Path) -> tuple[Any, Any]:
    cfg, _ = compose_run("debug=fast", "metrics.counts=[1,2]", f"outputs={outputs}", *overrides)
    resolved = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(resolved, dict)
    parts = assembly.assemble(cfg, outputs, resolved)
    return parts.evaluation, parts.context


def test_naming_everybody_is_the_retriever_s_own_score(model: Path, tmp_path: Path) -> None:
    folder = start(model, tmp_path, *ZERO_SHOT, ON)
    evaluation, context = evaluation_of(*ZERO_SHOT, ON, f"model.path={model}", outputs=tmp_path)
    predictions = [p for p in read_predictions(folder) if p.phase == "name_everybody"]
    scores = read_run(folder).metrics["name_everybody"]
    num_not_found = 0
    for count in (1, 2):
        scenes = evaluation.scenes(context, count)
        rows = [p for p in predictions if p.num_concepts == count]
        for scene, prediction in zip(scenes, rows, strict=True):
            assert prediction.caption == f"Here are {', '.join(scene.pool)}."
            assert set(prediction.pool) == {*scene.pool, *scene.present}
            assert len(prediction.images) == len(scene.pool) + 1  # the query, too
            num_not_found += len(set(scene.present) - set(scene.pool))
        found = [(set(scene.pool), set(scene.present)) for scene in scenes]
        hits = sum(len(pool & present) for pool, present in found)
        assert scores[str(count)]["recall"] == pytest.approx(
            100 * hits / sum(len(present) for _, present in found)
        )
        assert scores[str(count)]["precision"] == pytest.approx(
            100 * hits / max(sum(len(pool) for pool, _ in found), 1)
        )
    assert num_not_found > 0  # a random tower: otherwise this test would not show much
    assert summary_of(folder)["choices"]["retrieval"] == "toybox"


def test_both_settings_stand_in_one_table_and_another_split_does_not(
    model: Path, tmp_path: Path
) -> None:
    """RePIC's table 1: the same photos, below each other with and without a retriever."""
    skip, found, val = (
        read_run(start(model, tmp_path, *ZERO_SHOT, *more, name=name))
        for name, more in (("a", []), ("b", [ON]), ("c", ["phase.evaluate.split=val"]))
    )
    refuse_other_test_sets([skip, found])
    assert skip.test_set.prompts != found.test_set.prompts
    labels = [row.label for row in names_table([skip, found], "2").rows]
    assert "names everybody (retrieval=skip)" in labels
    assert f"{RETRIEVER} (retrieval=toybox)" in labels
    with pytest.raises(ValueError, match="split is test in the first and val in the second"):
        refuse_other_test_sets([skip, found, val])


def test_with_the_package_s_own_model_nearly_everybody_is_found(tmp_path: Path) -> None:
    evaluation, context = evaluation_of(ON, "phase.evaluate.per_count=8", outputs=tmp_path)
    for count in (1, 2):
        scenes = evaluation.scenes(context, count)
        captions = [" ".join(scene.pool) for scene in scenes]
        counts = [
            count_names(caption, scene.present, lexicon_of((*scene.pool, *scene.present)))
            for caption, scene in zip(captions, scenes, strict=True)
        ]
        total = NameCounts(*map(sum, zip(*counts, strict=True)))
        assert total.hits / (total.hits + total.missed) >= 0.8
        assert total.hits / (total.hits + total.false) >= 0.6


def test_scenes_stay_what_they_are_and_pages_show_the_same_references(tmp_path: Path) -> None:
    plain, context = evaluation_of(outputs=tmp_path)
    ours, _ = evaluation_of(ON, outputs=tmp_path)
    own, found = plain.scenes(context, 2), ours.scenes(context, 2)
    large = ours.scenes(context, 2, scale=3.0)
    assert [scene.id for scene in own] == [scene.id for scene in found]
    assert [scene.present for scene in own] == [scene.present for scene in found]
    assert [scene.pool for scene in large] == [scene.pool for scene in found]
    portraits = [r.image.load() for scene in large for r in scene.references if r.image]
    assert {portrait.size for portrait in portraits} == {(192, 192)}


def kept(outputs: Path) -> set[str]:
    return {path.name for path in (outputs / "cache" / "captions").iterdir()}


def test_captions_are_kept_apart_by_who_was_retrieved(model: Path, tmp_path: Path) -> None:
    start(model, tmp_path, *ZERO_SHOT, name="skip")
    plain = kept(tmp_path)
    start(model, tmp_path, *ZERO_SHOT, ON, name="one")
    one = kept(tmp_path) - plain
    assert len(one) == len(plain)
    start(model, tmp_path, *ZERO_SHOT, ON, name="again")
    assert kept(tmp_path) == plain | one
    start(model, tmp_path, *ZERO_SHOT, ON, "retrieval.top_k=[1]", name="two")
    assert len(kept(tmp_path) - plain - one) == len(plain)


def test_photos_are_looked_up_in_their_database(model: Path, tmp_path: Path) -> None:
    windows = {
        "_target_": "repic.retrieval.windows.SlidingWindows",
        "shares": [1.0],
        "overlap": 0.0,
    }
    given = [*photos.overrides(tmp_path / "photos"), "data=dreambooth", f"model.path={model}"]
    cfg, choices = compose_run("debug=fast", *ZERO_SHOT, ON, f"outputs={tmp_path}", *given)
    cfg.retrieval.proposer = OmegaConf.create(windows)
    cfg.retrieval.per_crop = cfg.retrieval.min_similarity = None
    folder = run.run(cfg, tmp_path / "run", choices=choices, overrides=given)
    for prediction in read_predictions(folder):
        assert len(prediction.images) == 3  # two references and the query
        assert set(prediction.pool) <= set(photos.CONCEPTS)
    entries = [json.loads(p.read_text()) for p in tmp_path.rglob("cache/retrieval/*/entries.json")]
    assert [entry["names"] for entry in entries] == [sorted(photos.CONCEPTS)]


def test_wrong_references_are_the_data_s_own(tmp_path: Path) -> None:
    evaluation, context = evaluation_of(
        ON, "phase.evaluate.demonstrations=wrong_images", outputs=tmp_path
    )
    with pytest.raises(ValueError, match="wrong_images needs the data's own references"):
        evaluation.check(context)
