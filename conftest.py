"""What the examples of the explainers' docstrings speak of: a model, a classifier, images, data to fit on, a folder."""

from typing import Any

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _explained(
    request: pytest.FixtureRequest, doctest_namespace: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    if "explainers" not in request.path.parts or "causalcf" not in request.path.parts or "scm" in doctest_namespace:
        return
    from explainers.models import images, linear_classifier, linear_scm

    scm, f = linear_scm(), linear_classifier()
    x, train = images(scm, 12), {"image": images(scm, 600, seed=5)}
    train["label"] = f(train["image"]).argmax(1)
    doctest_namespace |= {
        "folder": tmp_path_factory.mktemp("explainers"),
        "scm": scm,
        "f": f,
        "x": x[f(x).argmax(1) == 0][:2],
        "train": train,
    }
