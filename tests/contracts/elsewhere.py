"""What a GPU shows, shown on a CPU: a tensor made without a device does not lie where the others do."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

MAKERS = {
    torch.arange,
    torch.empty,
    torch.eye,
    torch.full,
    torch.linspace,
    torch.logspace,
    torch.ones,
    torch.rand,
    torch.randint,
    torch.randn,
    torch.zeros,
}
"""Functions that make tensors of nothing. Those that read the host's numbers make them on the host, to be moved."""


class Elsewhere(TorchFunctionMode):
    """While it is on, tensors of nothing lie on the device `meta` unless their maker names another.

    As on a GPU, operations refuse to mix them with tensors that follow their inputs' device; nor can they be read.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in MAKERS and kwargs.get("device") is None and kwargs.get("generator") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def off(device: str) -> AbstractContextManager[object]:
    """What keeps tensors without a device off the others: nothing on a GPU, where they are so already."""
    return Elsewhere() if device == "cpu" else nullcontext()
