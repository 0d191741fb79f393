"""Imports point down only, and heavy libraries stay where they belong.

__main__ -> {bench, {ask, app, serve} -> caption} -> {run, table, report} -> {assembly, sweep}
-> phases -> {page -> tables, captioners -> retrieval -> detectors} -> {models, data}
-> {rewards, metrics, rl, toybox} -> judges -> {parsing, distributed, progress, settings}
-> {types, values, files, pixels, local, words, errors, time_limit, weights, signals, ranks}.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LAYERS = (
    tuple("types values files pixels local words errors time_limit weights signals ranks".split()),
    ("parsing", "distributed", "progress", "settings"),
    ("judges",),
    ("rewards", "metrics", "rl", "toybox"),
    ("models", "data"),
    ("detectors", "tables"),
    ("retrieval", "page"),
    ("captioners",),
    ("phases",),
    ("assembly", "sweep"),
    ("run", "table", "report"),
    ("bench", "caption"),
    ("ask", "app", "serve"),
    ("__main__",),
)
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}

# Those that compose a configuration.
COMPOSING = tuple(
    f"repic.{part}" for part in "assembly run sweep bench caption ask serve app.__main__".split()
)
# Library -> the modules (or packages) of repic that may import it.
HOMES = {
    "hydra": COMPOSING,
    "omegaconf": COMPOSING,
    "lightning": ("repic.phases", "repic.data.module", "repic.assembly"),
    "pytorch_lightning": ("repic.phases", "repic.data.module", "repic.assembly", "repic.bench.own"),
    "transformers": (
        "repic.models",
        "repic.metrics.captions.bert_score",
        "repic.metrics.captions.clip_score",
        "repic.detectors.open_vocabulary",
        "repic.retrieval.embedders",
        "repic.bench.full",
        "repic.bench.paper",
        "repic.bench.peer",
    ),
    "peft": ("repic.models", "repic.bench.peer"),
    # What is measured against is nowhere used.
    "trl": ("repic.bench.peer",),
    "datasets": ("repic.bench.peer",),
    "wandb": (),
    "httpx2": ("repic.judges.batch",),
    "faiss": ("repic.retrieval",),
    **dict.fromkeys(("gradio", "fastapi", "starlette", "uvicorn"), ("repic.app",)),
    "ultralytics": ("repic.retrieval",),
    "openai": ("repic.judges.batch",),
    "av": ("repic.data.clips", "repic.toybox.clips"),
    # The judge of captions is not at hand to the rewards.
    "pycocoevalcap": ("repic.metrics",),
}


def is_inside(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def imports_of(path: Path, module: str) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of every import in a file, wherever in it it stands."""
    is_package = path.name == "__init__.py"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                kept = parents[: len(parents) - node.level + is_package]
                base = ".".join([*kept, base] if base else kept)
            # `from repic import run` names a module, `from repic.run import main` does not:
            # the longer name is inside the shorter one either way.
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def complaint(module: str, imported: str) -> str | None:
    """Say what is wrong with one import, if anything is."""
    library = imported.split(".")[0]
    if library == "conf" or is_inside(imported, "repic.conf"):
        return "belongs to Hydra: values come by argument"
    if library == "repic":
        here, there = module.split(".")[1:2], imported.split(".")[1:2]
        if not here or here == there:
            return None  # the root package, or inside one part
        if there and there[0] not in LEVEL:
            return "is in no layer: add it to LAYERS"
        if not there or LEVEL[there[0]] >= LEVEL[here[0]]:
            return "does not point down"
    if library in HOMES and not any(is_inside(module, home) for home in HOMES[library]):
        return "may be imported only in " + (", ".join(HOMES[library]) or "no module at all")
    return None


def violations(root: Path) -> list[str]:
    """Walk root/repic and list every import that breaks a rule."""
    found = []
    for path in sorted((root / "repic").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        is_code = parts[1:] not in [("__init__",), ("conf", "__init__")]
        if is_code and parts[1] not in LEVEL:
            found.append(f"{path.relative_to(root)}: is in no layer: add it to LAYERS")
            continue
        for line, imported in imports_of(path, module):
            if (wrong := complaint(module, imported)) is not None:
                found.append(f"{path.relative_to(root)}:{line}: {imported} {wrong}")
    return found


def test_imports_point_down_and_heavy_libraries_stay_home() -> None:
    assert violations(ROOT) == []


def test_configuration_holds_no_code() -> None:
    code = [
        p.relative_to(ROOT) for p in (ROOT / "repic/conf").rglob("*.py") if p.name != "__init__.py"
    ]
    assert code == []


@pytest.mark.parametrize(
    ("file", "line", "blamed"),
    [
        ("rl/losses.py", "from repic.phases.grpo import GrpoModule", "repic.phases.grpo"),
        ("rl/losses.py", "from repic import run", "repic.run"),
        ("rewards/cider.py", "import repic.metrics.cider", "repic.metrics.cider"),
        ("metrics/cider.py", "from repic.rewards import cider", "repic.rewards.cider"),
        ("rewards/facts.py", "from ..toybox.grammar import parse_caption", "repic.toybox.grammar"),
        ("rewards/__init__.py", "from ..metrics import cider", "repic.metrics.cider"),
        ("models/load.py", "from .. import phases", "repic.phases"),
        ("data/personal.py", "from repic.models.load import load_policy", "repic.models.load"),
        ("judges/client.py", "from repic.rewards.rubric import Rubric", "repic.rewards.rubric"),
        ("judges/client.py", "import openai", "openai"),
        ("metrics/cider.py", "import httpx2", "httpx2"),
        ("types.py", "def late():\n    from repic.parsing import find_names", "repic.parsing"),
        ("phases/sft.py", "from omegaconf import DictConfig", "omegaconf.DictConfig"),
        ("rl/losses.py", "import pytorch_lightning as pl", "pytorch_lightning"),
        ("data/prompts.py", "import lightning.pytorch", "lightning.pytorch"),
        ("data/prompts.py", "from transformers import AutoProcessor", "transformers.AutoProcessor"),
        ("phases/grpo.py", "import peft", "peft"),
        ("run.py", "import wandb", "wandb"),
        ("assembly.py", "from repic.run import job", "repic.run"),
        ("run.py", "from repic.bench.turns import Turns", "repic.bench.turns"),
        ("phases/grpo.py", "import trl", "trl"),
        ("bench/own.py", "import transformers", "transformers"),
        ("rewards/cider.py", "import pycocoevalcap.cider", "pycocoevalcap.cider"),
        ("data/toys.py", "import conf", "conf"),
        ("judges/prompts.py", "from repic import conf", "repic.conf"),
        ("page/page.py", "from repic.assembly import saved_examples", "repic.assembly"),
        ("page/page.py", "from repic.report import main", "repic.report"),
        ("run.py", "from repic.report import main", "repic.report"),
        ("tables/ablation.py", "from repic.page.charts import Chart", "repic.page.charts"),
        ("report.py", "import hydra", "hydra"),
        ("utils.py", "", "utils.py"),
        ("rl/kl.py", "from repic.utils import clip", "repic.utils.clip"),
    ],
)
def test_the_guard_can_fail(tmp_path: Path, file: str, line: str, blamed: str) -> None:
    path = tmp_path / "repic" / file
    path.parent.mkdir(parents=True)
    path.write_text(line)
    (found,) = violations(tmp_path)
    assert file in found
    assert blamed in found


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("run.py", "import hydra\nfrom repic.phases.grpo import GrpoModule"),
        ("phases/grpo.py", "import pytorch_lightning\nfrom repic.rl import losses\nimport torch"),
        ("data/module.py", "import pytorch_lightning\nfrom repic.toybox import dataset"),
        ("models/load.py", "import transformers, peft\nfrom .lora import adapt"),
        ("rewards/__init__.py", "from .rubric import Rubric\nfrom repic.types import Example"),
        ("rewards/claims.py", "from repic.judges.questions import extract_claims"),
        ("metrics/claims.py", "from repic.judges.questions import extract_claims"),
        ("phases/grpo.py", "from repic.judges.client import Judge"),
        ("judges/batch.py", "import openai\nfrom repic.types import ImageSource"),
        ("metrics/cider.py", "from pycocoevalcap.cider.cider import Cider"),
        ("report.py", "from repic.assembly import x\nfrom repic.page.page import y"),
        ("bench/__main__.py", "import hydra\nfrom repic.assembly import make"),
    ],
)
def test_the_guard_lets_good_imports_pass(tmp_path: Path, file: str, line: str) -> None:
    path = tmp_path / "repic" / file
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert violations(tmp_path) == []


def test_the_way_to_a_gradient_is_short_and_as_it_is_written_down() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    _, _, section = text.partition("## From a line of YAML to a gradient")
    files = re.findall(r"^\d+\. `(\S+)\.py`", section, re.MULTILINE)
    way = [f"repic.{name.replace('/', '.')}" for name in files]
    assert (way[0], way[-1]) == ("repic.run", "repic.rl.losses")
    assert len(way) <= 20
    # What configuration names is made by Hydra, and needs no import.
    configured = "".join(path.read_text("utf-8") for path in (ROOT / "repic/conf").rglob("*.yaml"))
    known = set(re.findall(r"_target_: (repic\.\S+)\.", configured))
    for module in way:
        assert module == way[0] or module in known, f"{module}: nothing above it knows it"
        path = ROOT / f"{module.replace('.', '/')}.py"
        known |= {
            name for _, long in imports_of(path, module) for name in (long, long.rpartition(".")[0])
        }
