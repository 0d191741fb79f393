"""How many bytes a computation holds at once, and for what."""

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class HeldMemory(TorchDispatchMode):
    """Adds up the storages on a device that are alive, under names of what they are for.

    What is computed inside the context counts under the name that ``counting`` sets; gradients of
    ``trained`` count apart. An allocator takes more: it rounds sizes up and leaves gaps.

    Args:
        trained: parameters whose gradients are to be told from the rest.
        device: the type of the device; what other threads do there is not seen.

    Attributes:
        now: bytes by name.
        peak: the same at the moment when their sum was largest.
    """

    def __init__(self, trained: Iterable[nn.Parameter] = (), *, device: str = "meta") -> None:
        super().__init__()
        self.device = device
        self.now, self.peak = Counter[str](), Counter[str]()
        self._name = "others"
        self._names: dict[int, str] = {}  # of the storages that are alive
        self._hooks = [p.register_post_accumulate_grad_hook(self._rename) for p in trained]

    def hold(self, name: str, tensors: Iterable[Tensor]) -> None:
        """Count tensors that were made outside."""
        for tensor in tensors:
            self._add(tensor, name)

    @contextmanager
    def counting(self, name: str) -> Iterator[None]:
        """Count what is made in the block under a name."""
        before, self._name = self._name, name
        try:
            yield
        finally:
            self._name = before

    def restart(self) -> None:
        """Look for the peak from now on."""
        self.peak = self.now.copy()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.device.type == self.device:
                self._add(tensor, self._name)
        return out

    def _add(self, tensor: Tensor, name: str) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._names:
            return
        self._names[key] = name
        self.now[name] += storage.nbytes()
        weakref.finalize(storage, self._drop, key, storage.nbytes()).atexit = False
        if self.now.total() > self.peak.total():
            self.peak = self.now.copy()

    def _drop(self, key: int, size: int) -> None:
        self.now[self._names.pop(key)] -= size

    def _rename(self, parameter: nn.Parameter) -> None:
        assert parameter.grad is not None
        storage = parameter.grad.untyped_storage()
        before = self._names.get(storage._cdata)
        if before not in (None, "gradients"):
            self.now[before] -= storage.nbytes()
            self.now["gradients"] += storage.nbytes()
            self._names[storage._cdata] = "gradients"
