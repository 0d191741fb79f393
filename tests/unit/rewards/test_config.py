"""Every file of conf/reward composes and can be instantiated as it stands."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from repic.rewards.rubric import Rubric
from repic.rl.conditions import conditioned_rewards, read_conditions
from repic.types import Example, Reference

CONF = Path(__file__).parents[3] / "conf"
QUALITY = {"cider", "fact_precision", "fact_recall", "fluency"}


def compose_reward(option: str, detector: str = "ground_truth") -> DictConfig:
    corpus = "+data.reward_corpus=[[a bear],[a cat]]"
    with initialize_config_dir(str(CONF), version_base=None):
        return compose(overrides=[f"+reward={option}", f"+detector={detector}", corpus])


@pytest.mark.parametrize(
    ("option", "trained_on"),
    [
        ("recognition", {"recognition", "binding"}),
        ("quality", QUALITY),
        ("combined", {"recognition", "binding"} | QUALITY),
        ("seed", {"recognition", "likelihood"}),
    ],
)
def test_options(option: str, trained_on: set[str]) -> None:
    rubric = instantiate(compose_reward(option).reward).rubric
    assert isinstance(rubric, Rubric)
    assert set(rubric.names) == {"recognition", "binding"} | QUALITY | trained_on
    assert rubric.needs_reference == (option == "seed")
    weights = dict(zip(rubric.names, rubric.weights.tolist(), strict=True))
    assert {name for name, weight in weights.items() if weight} == trained_on
    assert rubric.rewards["quality"].cider.log_documents > 0


def test_combined_is_the_sum_of_the_other_two() -> None:
    weights = [compose_reward(o).reward.rubric.weights for o in ("recognition", "quality")]
    combined = compose_reward("combined").reward.rubric.weights
    assert {name: weights[0][name] + weights[1][name] for name in combined} == combined


def test_none_has_no_rubric() -> None:
    assert instantiate(compose_reward("none").reward).rubric is None


def test_a_typo_in_a_weight_is_named() -> None:
    config = compose_reward("combined")
    OmegaConf.set_struct(config, False)
    config.reward.rubric.weights.recal = 1.0
    with pytest.raises(Exception, match=r"reward\.weights\.recal: no reward yields"):
        instantiate(config.reward)


@pytest.mark.parametrize("detector", ["ground_truth", "text"])
def test_the_detector_is_a_choice_of_its_own(detector: str) -> None:
    config = compose_reward("recognition", detector)
    reward = instantiate(config.reward).rubric.rewards["recognition"]
    example = Example("x", "caption", (), None, "", "", ("<bo>",), ("<mo>",), 1)
    by_text = replace(example, references=(Reference("<bo>", "a toy", None),))
    assert reward.detector(by_text) == ({"<bo>"} if detector == "text" else {"<mo>"})


def test_a_detector_that_is_not_there_is_not_looked_for_without_a_reward() -> None:
    config = compose_reward("none", "open_vocabulary")
    config.detector.path = "/nowhere"
    assert instantiate(config.reward).rubric is None
    config = compose_reward("recognition", "open_vocabulary")
    config.detector.path = "/nowhere"
    with pytest.raises(Exception, match=r"detector\.path: there is no directory /nowhere"):
        instantiate(config.reward)


def test_what_is_likely_and_short_or_repeats_itself_earns_nothing_in_seed() -> None:
    rubric = instantiate(compose_reward("seed").reward).rubric
    conditions = read_conditions(rubric.conditions, rubric.names)
    full, short, repeated, photo = (
        {**dict.fromkeys(rubric.names, 1.0), "likelihood": 0.9, **changes}
        for changes in (
            {},
            {"fact_recall": 0.25},
            {"fluency": 0.5},
            dict.fromkeys(("fact_recall", "fact_precision", "fluency", "cider"), float("nan")),
        )
    )
    rows = [[row[name] for name in rubric.names] for row in (full, short, repeated, photo)]
    kept = conditioned_rewards(torch.tensor([rows]), rubric.names, conditions)
    earned = kept[0, :, rubric.names.index("likelihood")].tolist()
    assert earned == pytest.approx([0.9, 0.0, 0.0, 0.9])
