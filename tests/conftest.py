"""One thread, one seed, no network: what every test may count on."""

import functools
import gc
import inspect
import logging
import os
import pickle
import random
import shutil
import signal
import typing
from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

# What is imported stays to the end, and the collector would go through it again and again.
if gc.isenabled():
    gc.disable()

# Before any test imports a library that reads these on import.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "disabled"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# A shell that puts the tests into the background has told them not to hear Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import jaxtyping
import numpy as np
import omegaconf.base
import pytest
import torch
from _pytest.logging import catching_logs
from beartype import BeartypeConf, beartype
from hypothesis import settings
from omegaconf import OmegaConf

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


def states_shapes(annotation: object) -> bool:
    """Whether it is an array with a shape, or holds one."""
    if isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray):
        return True
    return any(map(states_shapes, typing.get_args(annotation)))


checked_types = beartype(conf=BeartypeConf(violation_type=jaxtyping.TypeCheckError))


def checked(function: Callable, *, jaxtyped: Callable = jaxtyping.jaxtyped) -> Callable:
    """Check arguments once; jaxtyping's own way binds them and checks them twice, to say more."""
    if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
        return jaxtyped(function, typechecker=beartype)  # what they do comes after the call
    with_types = checked_types(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with jaxtyped("context"):  # in which a letter stands for one size
            return with_types(*args, **kwargs)

    return call


def checked_if_shaped(*, typechecker: object) -> Callable:
    """What jaxtyping's hook puts before every function and class of a module; others cost time."""

    def decorate(thing: Callable | type) -> Callable | type:
        function = thing.__init__ if isinstance(thing, type) else thing
        if not any(map(states_shapes, inspect.get_annotations(function).values())):
            return thing
        if not isinstance(thing, type):
            return checked(function)
        if is_dataclass(thing):
            thing.__init__ = checked(function)
        return thing

    return decorate


jaxtyping.jaxtyped = checked_if_shaped
jaxtyping.install_import_hook(SHAPED, "beartype.beartype")

torch.set_num_threads(1)

# A composition reads some sixty files of YAML, and parses what they refer to: the same each time.
_READ: dict[str, bytes] = {}


def load_once(file: Any, *, load: Callable[[Any], Any] = OmegaConf.load) -> Any:
    """Load an open file's text for the first time; later take what it came to."""
    if not hasattr(file, "read"):
        return load(file)
    text = file.read()
    if text not in _READ:
        file.seek(0)
        _READ[text] = pickle.dumps(load(file))
    return pickle.loads(_READ[text])


OmegaConf.load = load_once
omegaconf.base.parse = functools.cache(omegaconf.base.parse)


# pytest looks through all loggers, a thousand of them and six times a test, for those that keep
# their lines to themselves.
@functools.cache
def keeping_their_lines(_: int) -> list[logging.Logger]:
    """Those there are among so many."""
    loggers = logging.root.manager.loggerDict.values()
    return [x for x in loggers if isinstance(x, logging.Logger) and not x.propagate]


def catch_logs(self: catching_logs) -> logging.Handler:
    """Attach a handler as pytest does; look for loggers only where there are more of them."""
    keeping = keeping_their_lines(len(logging.root.manager.loggerDict))
    self.attached_loggers += [logging.root, *keeping]
    for logger in self.attached_loggers:
        logger.addHandler(self.handler)
    if self.level is not None:
        self.handler.setLevel(self.level)
        self.orig_level = logging.root.level
        logging.root.setLevel(min(self.orig_level, self.level))
    return self.handler


catching_logs.__enter__ = catch_logs


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
    """Spare every test what grows with all that is imported."""
    # The garbage collector passes over what stays to the end, and comes by less often.
    gc.freeze()
    gc.set_threshold(50_000)
    gc.enable()
    # pytest takes hold of each logger that keeps its lines to itself; torch has fifty, for itself.
    for name, logger in logging.root.manager.loggerDict.items():
        if name.split(".")[0] == "torch" and isinstance(logger, logging.Logger):
            logger.propagate = True
    keeping_their_lines.cache_clear()


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
