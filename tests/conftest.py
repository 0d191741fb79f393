"""One thread, one seed, no network: what every test may count on."""

import gc
import os
import random
import shutil
from pathlib import Path

# Before any test imports a library that reads these on import.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "disabled"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

# Example-based search in a fixed order: a red run is red again, and a slow core is not a failure.
settings.register_profile("fast", derandomize=True, deadline=None, max_examples=10)
settings.register_profile("full", derandomize=True, deadline=None, max_examples=50)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

# Annotations are checked at every call where they state shapes; pyright reads all the others.
ROOT = Path(__file__).parents[1]
SHAPED = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted(ROOT.glob("repic/**/*.py"))
    if "jaxtyping" in path.read_text(encoding="utf-8")
]
install_import_hook(SHAPED, "beartype.beartype")

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Start every test from the same state, so that none depends on which ran before it."""
    random.seed(0)
    np.random.seed(0)
    if torch.cuda.is_available():
        torch.manual_seed(0)
    else:  # torch.manual_seed writes down the whole stack for a GPU that may come: a millisecond
        torch.default_generator.manual_seed(0)


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what stays to the end, and come by less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run."""
    no_gpu = pytest.mark.skip(reason="needs a CUDA device")
    no_java = pytest.mark.skip(reason="needs a Java runtime (Debian: default-jre-headless)")
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(no_gpu)
        if item.get_closest_marker("java") and shutil.which("java") is None:
            item.add_marker(no_java)


# Small random models. What builds them loads the models' library, which few tests need.


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny import build_qwen

    return build_qwen(tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny import build_llava

    return build_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="session", params=["qwen", "llava"])
def directory(request: pytest.FixtureRequest) -> Path:
    """Each architecture in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another Qwen, to be trained."""
    from tests.tiny import build_qwen

    return build_qwen(tmp_path_factory.mktemp("model") / "random", seed=1)
