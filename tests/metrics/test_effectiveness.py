import pytest
import torch
from sklearn.metrics import confusion_matrix, f1_score

from causalcf.core.errors import DataError
from causalcf.metrics import accuracy, confusion, f1


@pytest.mark.parametrize("classes", [2, 4])
def test_f1_is_that_of_scikit_learn(classes):
    predicted, target = torch.randint(classes, (2, 300))
    found = f1(predicted, target, classes=classes, average="macro")
    assert float(found) == pytest.approx(f1_score(target, predicted, average="macro"), abs=1e-12)
    if classes == 2:
        assert float(f1(predicted.bool(), target.bool())) == pytest.approx(f1_score(target, predicted), abs=1e-12)
    assert torch.equal(confusion(predicted, target, classes), torch.tensor(confusion_matrix(target, predicted)))


def test_macro_f1_counts_the_categories_that_occur():
    predicted, target = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    assert f1(predicted, target, classes=10, average="macro") == f1(predicted, target, classes=2, average="macro")


def test_leading_dimensions_are_batches():
    predicted, target = torch.randint(3, (2, 5, 4, 50))
    found = f1(predicted, target, classes=3, average="macro")
    assert found.shape == (5, 4)
    assert found[2, 3] == f1(predicted[2, 3], target[2, 3], classes=3, average="macro")


def test_pooled_f1_is_no_mean_of_batch_means():
    predicted, target = torch.tensor([1, 1, 0, 0]), torch.tensor([1, 0, 1, 0])
    halves = [f1(predicted[i::2], target[i::2]) for i in (0, 1) if target[i::2].any()]
    assert float(f1(predicted, target)) == 0.5
    assert float(torch.stack(halves).mean()) != 0.5


def test_what_has_no_f1():
    zeros = torch.zeros(3).long()
    with pytest.raises(DataError, match="category 1 occurs neither"):
        f1(zeros, zeros)
    with pytest.raises(DataError, match=r"'target' holds codes 0..5; expected 0..1"):
        f1(zeros, torch.tensor([0, 1, 5]))
    with pytest.raises(DataError, match="average='macro'"):
        f1(zeros, zeros, classes=3)
    with pytest.raises(DataError, match="category codes"):
        accuracy(torch.tensor([0.9]), torch.tensor([1]))
