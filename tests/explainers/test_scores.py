"""Scores of explanations: put together rightly, and beside references that must rank as they should."""

import math

import pytest
import torch
from explainers.models import images, linear_classifier, linear_scm, targets

import causalcf as ccf
from causalcf import metrics
from causalcf.core.errors import ExplanationError
from causalcf.explainers.scores import image_scores, scores, summary


def _explained(**options):
    scm, f = linear_scm(), linear_classifier()
    x = images(scm, 12)
    explainer = ccf.explainers.REVISE(scm, classifier=f, max_steps=60, **options)
    return explainer.explain(x, targets(f, x), seed=0, stream=True), f, x


def test_scores_are_the_metrics_of_the_explanation():
    explanation, f, x = _explained()
    found = scores(explanation)
    assert all(value.shape == (12,) for value in found.values())
    assert torch.equal(found["valid"], explanation.reached.to(found["valid"]))
    assert torch.allclose(found["proximity"], (explanation.counterfactual - x).abs().flatten(1).mean(1))
    again = (explanation.counterfactual - explanation.reconstruction).abs().flatten(1).mean(1)
    assert torch.allclose(found["proximity to reconstruction"], again)
    with torch.no_grad():
        expected = metrics.cout(explanation.counterfactual, x, explanation.factual_predicted, explanation.target, f)
    assert torch.allclose(found["COUT"], expected, atol=1e-6)
    assert {"linearity", "continuity per frame", "path linearity"} <= set(found)


def test_the_factual_scores_nothing_and_the_counterfactual_more():
    explanation, f, x = _explained()
    source = explanation.factual_predicted
    idle = image_scores(x, x, source, explanation.target, f)
    assert idle["valid"].sum() == 0
    assert idle["proximity"].sum() == 0
    found = scores(explanation, judge=f)
    assert found["COUT"].mean() > idle["COUT"].mean()
    assert torch.equal(
        found["valid to the judge"], (f(explanation.counterfactual).argmax(1) == explanation.target) * 1.0
    )


def test_autoencoders_judge_batch_by_batch_and_the_judge_is_given_back_as_found(monkeypatch):
    explanation, f, _ = _explained()
    autoencoders, judge = metrics.ClassAutoencoders(3).double(), f.train()
    whole = scores(explanation, judge=judge, autoencoders=autoencoders)
    assert judge.training
    assert autoencoders.training
    with torch.no_grad():
        again = autoencoders(explanation.counterfactual)
    im1 = metrics.im1(again, explanation.counterfactual, explanation.factual_predicted, explanation.target)
    assert torch.allclose(whole["IM1"], im1)
    error = metrics.reconstruction_error(explanation.counterfactual, autoencoders.of_all)
    assert torch.allclose(whole["reconstruction error"], error)
    seen = []
    autoencoders.register_forward_hook(lambda _m, images, _y: seen.append(len(images[0])))
    monkeypatch.setattr("causalcf.explainers.scores.BATCH", 5)
    parts = scores(explanation, judge=judge, autoencoders=autoencoders)
    assert seen == [5, 5, 2]
    assert all(torch.allclose(parts[name], whole[name], equal_nan=True) for name in whole)


def test_where_any_other_class_would_do_the_way_is_scored_towards_the_one_that_came_out():
    scm, f = linear_scm(), linear_classifier()
    cem = ccf.explainers.CEM(scm, classifier=f, max_steps=30, c_steps=3, autoencoder_weight=0.0)
    free = cem.explain(images(scm, 12), None, seed=0, stream=True)
    assert free.reached.all()
    logit = free.stream.logits.gather(2, free.predicted[:, None, None].expand(-1, free.stream.logits.shape[1], 1))
    expected = metrics.linearity(logit[..., 0], free.stream.lengths)
    assert torch.equal(scores(free)["linearity"], expected)


def test_summary_leaves_out_rows_without_a_score():
    assert summary({"a": torch.tensor([1.0, math.nan, 3.0])}) == {"a": (2.0, 1.0)}
    assert math.isnan(summary({"a": torch.full((2,), math.nan)})["a"][0])


def test_a_regression_has_no_scores_of_classes():
    scm = linear_scm()
    f = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 1)).double()
    x = images(scm, 3)
    explanation = ccf.explainers.LoSoCs(scm, classifier=f, variable=ccf.Real(), max_steps=3).explain(x, 9.0, seed=0)
    with pytest.raises(ExplanationError, match="regression"):
        scores(explanation)
