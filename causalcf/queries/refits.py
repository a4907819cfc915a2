"""The bootstrap over fits: how far an answer moves when the model is fitted to other samples of its data."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch

from causalcf.core import seeding
from causalcf.core.errors import DataError
from causalcf.data import Batch
from causalcf.queries.estimate import Estimate, Estimates, from_refits
from causalcf.scm import StructuralCausalModel

__all__ = ["with_refits"]

Answer = Estimate | Estimates


def with_refits(
    ask: Callable[[StructuralCausalModel], Any],
    scm: StructuralCausalModel,
    refits: int,
    data: Any,
    workers: int,
    seed: int,
) -> Any:
    """The answer of a model, with the interval over refits where they are asked for.

    Args:
        ask: Model -> `Estimate` or `Estimates`.
        scm: The fitted model.
        refits: How many; 0 for none.
        data: The rows it was fitted on.
        workers: Processes that refit side by side.
        seed: Seed of the resampled rows and the fits.

    Raises:
        DataError: Refits without data, or too few to give an interval.
    """
    answer = ask(scm)
    others: list[Any]
    if not refits:
        return answer
    if data is None:
        raise DataError(f"refits={refits} fits the model again: give the rows it was fitted on, data=...")
    if refits < 20:
        raise DataError(f"refits={refits} gives no 95 % interval: at least 20, better 200.")
    rows = scm.read(data)
    if workers == 1:
        others = [_refitted(ask, scm, rows, seed, i) for i in range(refits)]
    else:
        from joblib import Parallel, delayed

        others = Parallel(n_jobs=workers)(delayed(_refitted)(ask, scm, rows, seed, i) for i in range(refits))
    if isinstance(answer, Estimate):
        return from_refits(answer, [other.value for other in others])
    parts = {name: from_refits(part, [other[name].value for other in others]) for name, part in answer.items()}
    return Estimates(answer.title, parts)


def _refitted(
    ask: Callable[[StructuralCausalModel], Answer], scm: StructuralCausalModel, rows: Batch, seed: int, i: int
) -> Answer:
    """The answer of the model fitted to rows drawn with replacement."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seeding.derive(seed, "refit", i) % 2**62)
    drawn = rows[torch.randint(rows.rows, (rows.rows,), generator=generator)]
    again = copy.deepcopy(scm).fit(dict(drawn), seed=seeding.derive(seed, "fit", i) % 2**62, progress=False)
    return ask(again)
