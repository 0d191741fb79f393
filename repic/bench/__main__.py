"""Compose a bench from conf/, measure its contenders in turns, show what their steps cost.

Contenders are processes of their own (``repic.bench.worker``), so that memory is told apart and
what one library changes in itself does not reach the other; this one only waits.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TypedDict

import hydra
from annotated_types import MinLen
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from repic import files
from repic.assembly import TRAINER, check_values, make
from repic.bench import results
from repic.bench.contenders import PEER
from repic.bench.figures import Step, token_limit
from repic.bench.full import FullSize, full_size, full_table
from repic.bench.measure import engine_settings, measure
from repic.bench.paper import Paper, paper_table
from repic.phases.work import refuse_too_large
from repic.run import guarded
from repic.tables.write import markdown, print_tables
from repic.values import Amount, Count, FolderName, Number, Seed, Text, leaves, nearest

log = logging.getLogger(__name__)

MaybeCount = Count | None
MaybePaper = Paper | None
MaybeFull = FullSize | None


class Sweep(TypedDict):
    """The whole bench once for each value of a key."""

    key: Text
    values: Annotated[Sequence[Number], MinLen(1)]


MaybeSweep = Sweep | None
READ = {
    "name": FolderName,
    "seed": Seed,
    "outputs": Text,
    "contenders": Sequence[Text],
    "pairs": Count,
    "prompts": Amount,
    "references": Count,
    "group_size": Amount,
    "caption_tokens": Amount,
    "trl_micro": MaybeCount,
    "paper": MaybePaper,
    "full": MaybeFull,
    "sweep": MaybeSweep,
    **TRAINER,  # by its contenders
}


@hydra.main(version_base="1.3", config_path="pkg://repic.conf", config_name="bench")
def job(cfg: DictConfig) -> None:
    """Run one bench."""
    os.chdir(HydraConfig.get().runtime.cwd)  # as repic.run does
    overrides = list(HydraConfig.get().overrides.task)
    check_values(cfg, overrides, read=READ)
    check_sweep(cfg, overrides)
    if cfg.full is not None:
        count_full_size(cfg, HydraConfig.get().runtime.choices["model"])
        return
    if cfg.paper is not None:
        paper: Any = OmegaConf.to_container(cfg.paper, resolve=True)
        print(markdown(results.costs_on_paper(paper_table(**paper))))
        return
    bench(cfg, Path(HydraConfig.get().runtime.output_dir), overrides=overrides)


def count_full_size(cfg: DictConfig, model: str) -> None:
    """Print what one update of a model takes, and refuse what does not fit a device.

    Args:
        cfg: the configuration.
        model: its name in conf/model/.
    """
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    policy, plan = full_size(settings, model)
    packed = OmegaConf.create({"engine": engine_settings("packed")})
    print(
        markdown(
            results.full_size(full_table(policy, plan, lambda: make(packed.engine)), model, plan)
        )
    )
    gib = settings["full"]["device_gib"]
    refuse_too_large(policy, plan, gib * 2**30, where=f"a device of {gib} GiB")


def bench(cfg: DictConfig, folder: Path, *, overrides: Sequence[str]) -> list[Step]:
    """Measure every contender at every value of the sweep.

    Args:
        cfg: the configuration.
        folder: gets steps.csv, logs and charts.
        overrides: the command line's, for the results.

    Returns:
        All steps, warm-ups included.
    """
    names = contenders(cfg)
    started = datetime.now().isoformat(timespec="seconds")
    steps: list[Step] = []
    limits: dict[str, float] = {}
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg))
    for value, setting in sweep(cfg):
        found = measure(setting, names, folder, started, value=value, overrides=" ".join(overrides))
        if not any(step.round for step in found):
            continue  # nobody lived to be measured, and the log says why
        phase = setting.phase.grpo
        limits[value] = token_limit(
            found[0].prompt_tokens, phase.sampling.max_new_tokens, phase.group_size
        )
        at = f", {cfg.sweep.key}={value}" if value else ""
        costs = results.cost_table(f"bench {cfg.name}{at}: a step", found)
        print_tables(costs, results.parts_table(found, limits[value]))
        steps += found
        if value:
            draw(folder, steps, cfg.sweep.key, limits)
    if not steps:
        raise ValueError(f"no contender did a step that counts; their logs are in {folder}")
    print(f"every step: {folder / 'steps.csv'}")
    return steps


def contenders(cfg: DictConfig) -> list[str]:
    """List who takes part: those asked for that can."""
    engines = GlobalHydra.instance().config_loader().get_group_options("engine")
    names = list(cfg.contenders)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"contenders: {names}; name one or more, each once")
    for name in names:
        if name not in (*engines, PEER):
            known = ", ".join((*engines, PEER))
            raise ValueError(f"contenders: there is no {name!r}, only {known}")
    if PEER in names and not all(find_spec(package) for package in (PEER, "datasets")):
        log.warning("without trl, which is not installed here: pip install 'repic[peer]'")
        names.remove(PEER)
    return names


def sweep(cfg: DictConfig) -> Iterator[tuple[str, DictConfig]]:
    """Yield (value, configuration) for each value of the sweep; ("", as it is) without one."""
    if cfg.sweep is None:
        yield "", cfg
        return
    for value in cfg.sweep["values"]:
        changed = cfg.copy()
        OmegaConf.update(changed, cfg.sweep.key, value)
        yield str(value), changed


def check_sweep(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Hold the sweep's values to what its key may be.

    Raises:
        ValueError: names the sweep's key, or its values.
    """
    known = [key for key, _ in leaves(OmegaConf.to_container(cfg))]
    if cfg.sweep is not None and cfg.sweep.key not in known:
        near = nearest(cfg.sweep.key, known)
        raise ValueError(f"sweep.key: {cfg.sweep.key!r} is no value's key{near}")
    for value, changed in sweep(cfg):
        try:
            check_values(changed, overrides, read=READ)
        except ValueError as error:
            raise ValueError(f"sweep.values: with {value}, {error}") from error


def draw(folder: Path, steps: Sequence[Step], label: str, limits: dict[str, float]) -> None:
    """Draw a sweep as far as it got."""
    charts = {"cost": results.cost_chart(steps, label)}
    charts["update"] = results.update_chart(steps, label, limits)
    for name, chart in charts.items():
        if drawn := chart.standalone():
            files.write_text(folder / f"{name}.svg", drawn)


def main() -> None:
    """Run from the command line."""
    again = "the same command measures anew"
    guarded(
        job, "repic.bench", config="bench", kept="what was measured is in steps.csv", after=again
    )


if __name__ == "__main__":
    main()
