"""The work of a call on a device, counted: operations, bytes, arithmetic, and where the host would wait for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Asked", "Watch", "asked"]

WAITS = {
    "_local_scalar_dense": "a number is read (item, float, bool, if)",
    "nonzero": "rows are looked for",
    "masked_select": "values are picked by a mask",
    "unique_dim": "different values are looked for",
    "_unique2": "different values are looked for",
    "equal": "tensors are compared as a whole",
    "is_nonzero": "a number is read",
    "lift_fresh": "a tensor is made of host numbers",
}
"""Operations at whose end the host waits for the device, and why; the last is a copy from the host."""

FREE = {
    "view",
    "_unsafe_view",
    "t",
    "transpose",
    "permute",
    "expand",
    "slice",
    "select",
    "unsqueeze",
    "squeeze",
    "split",
}
FREE |= {"detach", "alias", "as_strided", "unbind", "split_with_sizes", "chunk", "_reshape_alias", "unfold", "empty"}
FREE |= {"empty_like", "new_empty", "empty_strided", "new_empty_strided", "diagonal", "lift_fresh", "is_pinned"}
"""Operations that launch nothing."""


class Watch(TorchDispatchMode):
    """Counts operations while it is on, whatever the device.

    Example:
        >>> with Watch() as watch:
        ...     _ = float(torch.ones(3).sum())
        >>> watch.launches, dict(watch.waits)
        (2, {'_local_scalar_dense': 1})
    """

    def __init__(self) -> None:
        super().__init__()
        self.launches, self.bytes = 0, 0
        self.waits: Counter[str] = Counter()
        self._unseen = _Unseen()

    def __enter__(self) -> Watch:
        self._unseen.__enter__()
        super().__enter__()
        return self

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        super().__exit__(exc_type, exc_val, exc_tb)
        self._unseen.__exit__(exc_type, exc_val, exc_tb)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if self._unseen.inside:
            return out
        if name in WAITS or (name in ("index", "index_put_", "index_put") and _by_mask(args)):
            self.waits[name] += 1
        if name not in FREE and name not in WAITS:
            self.launches += 1
            self.bytes += sum(t.nbytes for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor))
        return out


class _Unseen(TorchFunctionMode):
    """Looks away while codes are checked on the way into `one_hot`, which is done on CPUs alone."""

    inside = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.nn.functional.one_hot:
            return func(*args, **(kwargs or {}))
        self.inside = True
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.inside = False


def _by_mask(args: Any) -> bool:
    return any(isinstance(t, Tensor) and t.dtype == torch.bool for t in tree_leaves(args[1]))


class Asked:
    """The work of one call on a device.

    Args:
        launches: Operations that launch something.
        traffic: Bytes that these read and write, each on its own.
        flops: Of matrix products and convolutions.
        waits: Where the host waits for the device, by operation.
    """

    def __init__(self, launches: int, traffic: int, flops: int, waits: dict[str, int]) -> None:
        self.launches, self.traffic, self.flops, self.waits = launches, traffic, flops, waits

    def as_json(self) -> Iterator[tuple[str, Any]]:
        """Its parts by name."""
        yield from vars(self).items()


def asked(f: Callable[[], object]) -> Asked:
    """Count the work of a call.

    Example:
        >>> one = torch.ones(4, 4)
        >>> counted = asked(lambda: one @ one)
        >>> counted.launches, counted.flops, counted.traffic
        (1, 128, 192)
    """
    watch = Watch()
    with watch:
        f()
    with FlopCounterMode(display=False) as counter:
        f()
    return Asked(watch.launches, watch.bytes, counter.get_total_flops(), dict(watch.waits))
