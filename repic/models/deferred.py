"""Weights that are read from their files when their turn comes.

Where each process keeps a slice of every matrix, none should hold a whole model, not even while it
is loaded. So the library puts a model together from places that say which weight of which file goes
there, and take no memory; ``fill`` reads them, a part of the model at a time. Who only wants one
pass of a model lets each layer read its weights in passing.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageTextToText, GenerationConfig

from repic.weights import refuse_not_finite

_deferring: ContextVar[bool] = ContextVar("deferring", default=False)


@contextmanager
def deferring() -> Iterator[None]:
    """Let models that are loaded inside this context get their weights by ``fill``."""
    token = _deferring.set(True)
    try:
        yield
    finally:
        _deferring.reset(token)


def is_deferring() -> bool:
    """Whether models are to get their weights later."""
    return _deferring.get()


class DeferredWeight(nn.Parameter):
    """A parameter of the right shape and type that takes no memory, and knows its place in a file.

    It has one number in storage and is on the CPU, where adapters are made for it as for any other.
    ``then`` is what becomes of the weight when it has been read.
    """

    file: Path
    key: str
    is_deferred = True
    then: Callable[[Tensor], Tensor] | None = None

    @classmethod
    def place(cls, shape: Sequence[int], dtype: torch.dtype, *, requires_grad: bool) -> Any:
        """Stand for a weight of this shape that has ``dtype`` once it is there."""
        number = torch.zeros((), dtype=dtype).expand(*shape)
        return torch.Tensor._make_subclass(cls, number, requires_grad)

    @classmethod
    def of(cls, file: Path, key: str, shape: tuple[int, ...], dtype: torch.dtype) -> Any:
        """Stand for a weight of a file."""
        made = cls.place(shape, dtype, requires_grad=dtype.is_floating_point)
        made.file, made.key = file, key
        return made

    def read(self) -> Tensor:
        """Read the weight.

        Raises:
            ValueError: it is NaN or infinite.
        """
        with safe_open(self.file, "pt") as opened:
            value = opened.get_tensor(self.key).to(self.dtype)
        refuse_not_finite(self.file.parent, [(self.key, value)])
        return value if self.then is None else self.then(value)


class _Slot:
    """A file's weight as the library asks for it: ``slot[...].to(device, dtype)``."""

    def __init__(self, file: Path, key: str, shape: list[int]) -> None:
        self.file, self.key, self.shape = file, key, tuple(shape)

    def __getitem__(self, _: object) -> "_Slot":
        return self

    def get_shape(self) -> list[int]:
        return list(self.shape)

    def to(self, *, device: object, dtype: torch.dtype) -> DeferredWeight:
        return DeferredWeight.of(self.file, self.key, self.shape, dtype)


class Deferring:
    """The library's loader, with weights to be filled in; stands for one of its classes."""

    @staticmethod
    def from_pretrained(path: Path, **options: Any) -> Any:
        """Load as ``AutoModelForImageTextToText`` does, reading no weight.

        A model that the library makes of its files' weights by more than renaming them is loaded
        whole.
        """
        dtype, attention = options["dtype"], options["attn_implementation"]
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        kind: Any = AutoModelForImageTextToText._model_mapping[type(config)]
        slots = {}
        for file in sorted(Path(path).glob("*.safetensors")):
            with safe_open(file, "pt") as opened:
                for key in opened.keys():  # noqa: SIM118  # it is no mapping
                    slots[key] = _Slot(file, key, opened.get_slice(key).get_shape())
        with torch.device("meta"):
            wanted = {name for name, _ in kind(config).named_parameters()}
        options = {k: v for k, v in options.items() if k != "trust_remote_code"}
        later = {k: v for k, v in options.items() if k not in ("use_safetensors", "dtype")}
        loaded = kind.from_pretrained(
            None, config=config, state_dict=slots, dtype=dtype, trust_remote_code=False, **later
        )
        named = dict(loaded[0].named_parameters())
        is_plain = named.keys() == wanted and all(map(is_deferred, named.values()))
        if not is_plain:
            return AutoModelForImageTextToText.from_pretrained(
                path, trust_remote_code=False, **options
            )
        if (Path(path) / "generation_config.json").exists():
            loaded[0].generation_config = GenerationConfig.from_pretrained(
                path, trust_remote_code=False
            )
        assert loaded[0].config._attn_implementation == attention
        return loaded


def is_deferred(weight: Tensor) -> bool:
    """Whether a weight is still to be read."""
    return isinstance(weight, DeferredWeight)


def fill(
    module: nn.Module,
    make: Callable[[DeferredWeight], Tensor] = DeferredWeight.read,
    *,
    but: Collection[nn.Module] = (),
) -> nn.Module:
    """Put weights in the places of those that were deferred, everywhere in a module.

    Args:
        module: of which other parts may be filled already.
        make: the weight for a place; by default it is read.
        but: modules whose own weights stay deferred.
    """
    made: dict[DeferredWeight, nn.Parameter] = {}  # tied weights have one place
    for owner in module.modules():
        if owner in but:
            continue
        for name, place in owner._parameters.items():
            if isinstance(place, DeferredWeight):
                if place not in made:
                    made[place] = nn.Parameter(make(place), requires_grad=place.requires_grad)
                owner._parameters[name] = made[place]
    return module


def fill_in_passing(model: Any) -> None:
    """Let each layer read its weights before it computes, and let go of them after.

    So a pass without gradients takes the memory of one layer, beside embeddings and head, which
    are read here. Layers are what the library says may be moved to a device as they compute.
    """
    layers = [m for m in model.modules() if type(m).__name__ in model._no_split_modules]
    fill(model, but={inner for layer in layers for inner in layer.modules()})
    for layer in layers:
        _fill_in_passing(layer)


def _fill_in_passing(layer: nn.Module) -> None:
    places: list[tuple[nn.Module, str, DeferredWeight]] = []

    def read(layer: nn.Module, _: object) -> None:
        for owner in layer.modules():
            for name, place in owner._parameters.items():
                if isinstance(place, DeferredWeight):
                    places.append((owner, name, place))
        fill(layer)

    def let_go(*_: object) -> None:
        while places:
            owner, name, place = places.pop()
            owner._parameters[name] = place

    layer.register_forward_pre_hook(read)
    layer.register_forward_hook(let_go)
