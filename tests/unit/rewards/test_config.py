"""Every file of conf/reward composes and can be instantiated as it stands."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from repic.rewards.rubric import Rubric
from repic.rl.conditions import conditioned_rewards, read_conditions
from repic.types import Example, Reference

CONF = Path(__file__).parents[3] / "repic/conf"
QUALITY = {"cider", "fact_precision", "fact_recall", "fluency"}


def compose_reward(
    option: str, detector: str = "ground_truth", length: str = "none", *more: str
) -> DictConfig:
    """Compose these groups alone, in the order of conf/config.yaml, and what they refer to."""
    referred = ("+data.reward_corpus=[[a bear],[a cat]]", "+phase.grpo.sampling.max_new_tokens=64")
    groups = (f"+length={length}", f"+reward={option}", f"+detector={detector}")
    return compose_once(*groups, *referred, *more).copy()


@cache
def compose_once(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base=None):
        return compose(overrides=list(overrides))


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


BALANCED = ("precision", "recall", "language")
NAMES = (*BALANCED, "language_clarity", "language_fluency", "language_coherence")


def test_balcaprl_trains_on_three_components() -> None:
    rubric = instantiate(compose_reward("balcaprl").reward).rubric
    assert rubric.names == NAMES
    assert rubric.weights.tolist() == [1, 1, 1, 0, 0, 0]
    assert rubric.rewards["claims"].source.needs_pointability is True


def test_none_has_no_rubric() -> None:
    assert instantiate(compose_reward("none").reward).rubric is None


@cache
def rubric_without_length(option: str) -> Rubric:
    return instantiate(compose_reward(option).reward.rubric, _convert_="all")


LENGTH_WEIGHTS = {"linear": "length_excess", "overlong": "overlong"}
CONDITIONS = {
    "mask": {"given": "length_ratio", "at_least": 0.5, "at_most": 2.0},
    "minimum": {"given": "characters", "at_least": 100},
}


@pytest.mark.parametrize("length", ["none", "mask", "linear", "overlong", "minimum"])
@pytest.mark.parametrize(
    ("option", "masked", "gated"),
    [("combined", "fluency", "binding"), ("balcaprl", "language", "recall")],
)
def test_lengths_go_with_rewards(length: str, option: str, masked: str, gated: str) -> None:
    plain = rubric_without_length(option)
    rubric = instantiate(compose_reward(option, length=length).reward.rubric, _convert_="all")
    measured = [name for name in rubric.names if name not in plain.names]
    weights = dict(zip(rubric.names, rubric.weights.tolist(), strict=True))
    assert {name for name in measured if weights[name]} == {
        name for key, name in LENGTH_WEIGHTS.items() if key == length
    }
    assert {n: weights[n] for n in plain.names} == dict(
        zip(plain.names, plain.weights.tolist(), strict=True)
    )
    component = {"mask": masked, "minimum": gated}.get(length)
    wanted = {}
    if component:
        wanted = {f"length_{length}": {"component": component, **CONDITIONS[length]}}
    assert rubric.conditions == wanted
    read_conditions(rubric.conditions, rubric.names)


def test_bounds_of_lengths_are_set_on_the_command_line() -> None:
    given = ("length.at_most=3", "length.at_least=0.1")
    cfg = compose_reward("combined", "ground_truth", "mask", *given)
    assert cfg.reward.rubric.conditions.length_mask.at_most == 3
    assert cfg.reward.rubric.conditions.length_mask.at_least == 0.1
    given = ("length.unit=tokens", "length.at_least=20")
    cfg = compose_reward("combined", "ground_truth", "minimum", *given)
    assert dict(cfg.reward.rubric.conditions.length_minimum) == {
        "component": "binding",
        "given": "tokens",
        "at_least": 20,
    }


def test_conditions_of_the_length_join_those_of_the_reward() -> None:
    own = compose_reward("seed").reward.rubric.conditions
    both = compose_reward("seed", length="mask").reward.rubric.conditions
    assert set(both) == {*own, "length_mask"}
    assert both.length_mask.component == "likelihood"


def test_a_typo_in_a_weight_is_named() -> None:
    config = compose_reward("combined")
    OmegaConf.set_struct(config, False)
    config.reward.rubric.weights.recal = 1.0
    with pytest.raises(Exception, match=r"reward\.rubric\.weights\.recal: no reward yields"):
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
    config.detector.path = "/no/such/folder"
    assert instantiate(config.reward).rubric is None
    config = compose_reward("recognition", "open_vocabulary")
    config.detector.path = "/no/such/folder"
    with pytest.raises(Exception, match=r"detector\.path: there is no directory /no/such/folder"):
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
