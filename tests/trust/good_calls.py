"""A good call of every public function, method and class that takes arguments, small enough for a thousand of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from explainers.models import images, linear_classifier, linear_scm, mixture_scm
from trust.good_metrics import Good, metrics

import causalcf as ccf
from causalcf.queries import examples

ROWS = 12


@cache
def table() -> ccf.SCM:
    """A linear table x -> m -> y."""
    return examples.linear()


@cache
def rows() -> dict[str, torch.Tensor]:
    return dict(table().sample(ROWS, seed=0))


def _models(folder: Path) -> list[Good]:
    scm, x = table(), rows()
    noise, answer = scm.abduct(x), scm.counterfactual(x, do=[{"x": 1.0}, {"x": 2.0}])
    random = scm.counterfactual(x, do={"x": torch.distributions.Normal(0.0, 1.0)}, num_samples=2, seed=0)
    scm.save(folder / "m.safetensors")
    linear = {node: ccf.mechanisms.LinearGaussian() for node in "xmy"}
    edges = [("x", "m"), ("x", "y"), ("m", "y")]
    variables = dict.fromkeys("xmy", ccf.Real())

    def fit(**options: Any) -> ccf.SCM:
        return ccf.SCM(edges, variables, linear).fit(**options)

    fitting = {
        "data": scm.sample(60, seed=1),
        "nodes": None,
        "validation": 0.1,
        "epochs": 1,
        "recipes": None,
        "seed": 0,
    }
    fitting |= {"device": "cpu", "precision": "32-true", "checkpoint": None, "resume": False, "compile": False}
    asking = {"x": x, "do": {"x": 1.0}, "num_samples": None, "abduction": "mean", "residual": 1.0}
    asking |= {
        "recompute": "descendants",
        "out_of_support": "raise",
        "missing": "refuse",
        "predictors": None,
        "seed": 0,
    }
    return [
        Good("SCM", ccf.SCM, {"graph": edges, "variables": variables, "mechanisms": linear}),
        Good("SCM.fit", fit, {**fitting, "progress": False}),
        Good("SCM.sample", scm.sample, {"n": 3, "do": None, "residual": 1.0, "out_of_support": "raise", "seed": 0}),
        Good("SCM.do", scm.do, {"actions": {"x": 1.0}}),
        Good("SCM.read", scm.read, {"x": x, "gaps": ()}),
        Good("SCM.abduct", scm.abduct, {"x": x, "abduction": "mean", "seed": 0}),
        Good(
            "SCM.predict",
            scm.predict,
            {
                "noise": noise,
                "do": {"x": 1.0},
                "recompute": "all",
                "residual": 1.0,
                "out_of_support": "raise",
                "project": True,
                "seed": 0,
            },
        ),
        Good("SCM.counterfactual", scm.counterfactual, asking),
        Good("SCM.infer", scm.infer, {"x": {"x": [1.0]}, "num_samples": 3, "predictors": None, "seed": 0}),
        Good("SCM.log_prob", scm.log_prob, {"x": x, "particles": 2, "seed": 0}),
        Good("SCM.model", scm.model, {"n": 2}),
        Good("SCM.guide", scm.guide, {"x": x}),
        Good("SCM.attach", scm.attach, {"node": "label", "f": lambda x: x - 0.5, "parents": ["x"], "variable": None}),
        Good("SCM.save", scm.save, {"path": folder / "again.safetensors", "half": ()}),
        Good("SCM.load", ccf.SCM.load, {"path": folder / "m.safetensors", "mechanisms": None, "device": "cpu"}),
        Good("Counterfactual.world", answer.world, {"i": 1}),
        Good("Counterfactual.sample", random.sample, {"j": 1}),
        Good("Counterfactual.plot", answer.plot, {"rows": 2, "kind": "changes"}),
        Good(
            "CausalGraph",
            ccf.CausalGraph,
            {"graph": edges, "variables": variables, "name": "n", "title": "t", "reference": "r"},
        ),
        Good("load_graph", ccf.load_graph, {"name_or_path": "chain"}),
        Good("Batch", ccf.Batch, {"values": x}),
        Good("pretrained", ccf.pretrained, {"name": "mnist-vae", "device": "cpu"}),
        Good(
            "bulk",
            ccf.bulk,
            {
                "scm": scm,
                "data": x,
                "do": {"x": 1.0},
                "out": folder / "bulk",
                "seed": 0,
                "shard": 6,
                "block": 3,
                "progress": False,
            },
        ),
        Good(
            "evaluate",
            ccf.evaluate,
            {
                "scm": scm,
                "data": scm.sample(40, seed=2),
                "metrics": None,
                "predictors": None,
                "reference": None,
                "do": ["x"],
                "n": 20,
                "seed": 0,
                "residuals": [1.0],
                "abduction": "mean",
                "workers": 0,
            },
        ),
    ]


def _variables() -> list[Good]:
    colours = ["blue", "red"]
    return [
        Good("Real", ccf.Real, {"unit": "m"}),
        Good("Positive", ccf.Positive, {"unit": "m"}),
        Good("Interval", ccf.Interval, {"low": 0.0, "high": 1.0, "unit": "m"}),
        Good("Count", ccf.Count, {"unit": "m"}),
        Good("Boolean", ccf.Boolean, {"unit": "m"}),
        Good("Categorical", ccf.Categorical, {"categories": colours, "unit": "m"}),
        Good("Ordinal", ccf.Ordinal, {"categories": colours, "unit": "m"}),
        Good("Vector", ccf.Vector, {"d": 2, "unit": "m"}),
        Good("Image", ccf.Image, {"channels": 1, "height": 8, "width": 8, "unit": "m"}),
        Good("Table", ccf.Table, {"columns": {"a": ccf.Real()}, "unit": "m"}),
        Good("shift", lambda amount: table().counterfactual(rows(), do={"x": ccf.shift(amount)}), {"amount": 1.0}),
        Good("scale", lambda factor: table().counterfactual(rows(), do={"x": ccf.scale(factor)}), {"factor": 1.0}),
        Good(
            "given_factual",
            lambda fn: table().counterfactual(rows(), do={"m": ccf.given_factual(fn)}),
            {"fn": lambda _pa, x: x["y"]},
        ),
        Good("Fading", ccf.Fading, {"x": 1.0}),
    ]


def _mechanisms() -> list[Good]:
    m = ccf.mechanisms
    flat = {"hidden": (4,), "recipe": None}
    image = ccf.Image(1, 8, 8)

    def bound(make: Callable[..., Any], variable: Any = image, **settings: Any) -> Any:
        return ccf.SCM([("a", "x")], {"a": ccf.Real(), "x": variable}, {"x": make(**settings)})

    def good(kind: str, variable: Any = image, **settings: Any) -> Good:
        return Good(f"mechanisms.{kind}", partial(bound, getattr(m, kind), variable), settings)

    recipe = {"epochs": 1, "min_steps": 0, "batch_size": 4, "lr": 0.1, "warmup": 0, "betas": (0.9, 0.99)}
    recipe |= {"weight_decay": 0.0, "clip": 1.0, "ema": 0.0, "patience": 2, "slack": 0.0, "accumulate": 1}
    return [
        good("Flow", ccf.Real(), bins=4, **flat),
        good("AdditiveNoise", ccf.Real(), bins=4, **flat),
        good("LinearGaussian", ccf.Real(), recipe=None),
        good("Boolean", ccf.Boolean(), **flat),
        good("Categorical", ccf.Categorical(3), **flat),
        good("Ordinal", ccf.Ordinal(3), **flat),
        good("Count", ccf.Count(), components=2, **flat),
        good("Deterministic", ccf.Real(), fn=lambda a: a, recipe=None),
        good("Classifier", ccf.Boolean(), fn=lambda a: a, inputs=("a",), recipe=None),
        good("VAE", latent=2, widths=(2, 2, 4), beta=1.0, sigma=0.1, by_category=False, recipe=None),
        good(
            "GAN",
            latent=2,
            widths=(2, 2, 4),
            identity=0.0,
            cycle=1.0,
            obedience=1.0,
            penalty=1.0,
            jitter=0.1,
            carry=True,
            refine=0,
            recipe=None,
        ),
        good("Diffusion", widths=(4, 4, 4), steps=2, iterations=2, sigma=0.1, gain_only=(), recipe=None),
        good(
            "HVAE",
            strides=(2, 4),
            widths=(2, 2, 2),
            blocks=(1, 1, 1),
            latent=(1, 1, 1),
            bottleneck=0.5,
            beta=1.0,
            sigma=None,
            exogenous_prior=False,
            temperature=1.0,
            gain_only=(),
            recipe=None,
        ),
        good(
            "MixtureAE",
            classifier=linear_classifier().float(),
            classes=3,
            latent=2,
            irrelevant=1,
            adversary_weight=1.0,
            likelihood_weight=None,
            noise=0.1,
            swaps=False,
            recipe=None,
        ),
        Good("mechanisms.Recipe", m.Recipe, recipe),
        Good(
            "mechanisms.Stage", m.Stage, {"name": "s", "turns": (m.Turn("loss"),), "recipe": None, "validation": None}
        ),
        Good("mechanisms.Turn", m.Turn, {"loss": "loss", "parts": (), "lr": None, "betas": None}),
        Good("mechanisms.default_mechanism", m.default_mechanism, {"node": "x", "variable": ccf.Real()}),
    ]


def _explainers() -> list[Good]:
    e, scm, f = ccf.explainers, linear_scm(), linear_classifier()
    x = images(scm, ROWS)
    x = x[f(x).argmax(1) != 0][:2]
    base = {"scm": scm, "classifier": f, "node": "image", "variable": None, "carry_residual": False, "batch_size": 4}
    search = {"gamma": 0.9, "max_steps": 3, "lr": 0.1}
    own: dict[str, dict[str, Any]] = {
        "REVISE": {**search, "distance_weight": 0.1},
        "ImageGradient": {**search, "distance_weight": 0.1},
        "Schut": {"gamma": 0.9, "max_steps": 3, "delta": 0.1, "times": 1},
        "Clarity": {**search, "members": 2, "hidden": (4,), "distance_weight": 0.1, "adversarial": 0.1, "epochs": 1},
        "LoSoCs": {**search, "raises": "logit", "frames": 3, "pace": 0.5, "plausibility": 0.0},
        "GDL": {**search, "probability": 0.6, "tolerance": 0.1, "optimizer": "adam"},
        "CFProto": {
            "c": 1.0,
            "c_steps": 1,
            "max_steps": 2,
            "lr": 0.1,
            "beta": 0.1,
            "kappa": 0.0,
            "prototype_weight": 1.0,
        },
        "CEM": {"c": 1.0, "c_steps": 1, "max_steps": 2, "lr": 0.1, "beta": 0.1, "kappa": 0.0},
        "PGD": {"gamma": 0.9, "max_steps": 3, "radius": 0.1, "step": 0.1},
        "MixtureSearch": {"gamma": 0.9, "tolerance": 0.1, "alphas": 4, "halvings": 2, "frames": 3},
        "C3LT": {
            "pairs": None,
            "steps": 2,
            "proximity_weight": 1.0,
            "cycle_weight": 1.0,
            "hidden": 4,
            "epochs": 1,
            "fit_batch": 4,
            "lr": 0.1,
            "refine": 0,
        },
        "CFRL": {
            "hidden": 4,
            "exploration": 0.1,
            "warmup": 0,
            "sparsity_weight": 0.1,
            "memory": 10,
            "fit_batch": 4,
            "lr": 0.1,
            "steps": 2,
        },
        "ExplainGAN": {
            "pairs": None,
            "kappa": 0.5,
            "count_weight": 0.1,
            "latent": 2,
            "width": 2,
            "epochs": 1,
            "fit_batch": 4,
            "lr": 0.1,
        },
        "CVE": {"layer": None, "distractors": 2, "max_swaps": 2},
        "CycleGAN": {
            "pairs": None,
            "cycle_weight": 1.0,
            "width": 2,
            "blocks": 1,
            "epochs": 1,
            "fit_batch": 4,
            "lr": 0.1,
        },
    }
    asked = e.REVISE(scm, classifier=f, max_steps=2)
    mixture = {"MixtureSearch": {"scm": mixture_scm()}}
    made = [
        Good(f"explainers.{kind}", getattr(e, kind), {**base, **mixture.get(kind, {}), **settings})
        for kind, settings in own.items()
    ]
    return [
        *made,
        Good("Explainer.explain", asked.explain, {"x": x, "target": 0, "seed": 0, "stream": False}),
        Good("Explainer.predict", asked.predict, {"x": x}),
    ]


def _others(folder: Path) -> list[Good]:
    c, d, q, scm, x = ccf.classifiers, ccf.datasets, ccf.queries, table(), rows()
    net, inputs, codes = c.Perceptrons([2, 4, 3], size=2), torch.rand(8, 2), torch.arange(8) % 3
    effect = {"scm": scm, "x": "x", "y": "y", "treated": 1.0, "control": 0.0, "draws": 20, "seed": 0}
    decide = lambda rows: rows["y"]  # noqa: E731
    return [
        Good("classifiers.Perceptrons", c.Perceptrons, {"sizes": [2, 4, 3], "size": 2}),
        Good("classifiers.Stacked", c.Stacked, {"modules": [torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)]}),
        Good("classifiers.accuracies", c.accuracies, {"classifier": net, "x": inputs, "y": codes, "batch_size": 4}),
        Good(
            "classifiers.fit_classifier",
            c.fit_classifier,
            {
                "classifier": net,
                "x": inputs,
                "y": codes,
                "epochs": 1,
                "batch_size": 4,
                "lr": 0.1,
                "adversarial": 0.0,
                "balanced": False,
                "seed": 0,
            },
        ),
        Good("classifiers.without_class", c.without_class, {"data": {"x": inputs, "c": codes}, "node": "c", "code": 1}),
        Good("datasets.load", d.load, {"name": "bars", "root": None, "split": "test"}),
        Good("datasets.Bars", d.Bars, {"rows": 3, "seed": 0}),
        Good("datasets.Digits", d.Digits, {"split": "test", "seed": 0}),
        Good("datasets.Faces", d.Faces, {"split": "test", "rows": 10, "size": 16, "seed": 0}),
        Good("datasets.MNIST", d.MNIST, {"split": "test"}),
        Good(
            "datasets.synthetic.LinearGaussian",
            d.synthetic.LinearGaussian,
            {"weights": {("x", "y"): 1.0}, "intercepts": {"x": 0.0}, "scales": {"x": 1.0}},
        ),
        Good("predictors.part", ccf.predictors.part, {"rows": 12, "which": "judge"}),
        Good(
            "predictors.pretrained",
            ccf.predictors.pretrained,
            {"name": "mnist", "which": "judge", "folder": None, "device": "cpu"},
        ),
        Good(
            "predictors.Predictor",
            ccf.predictors.Predictor,
            {
                "target": "a",
                "variable": ccf.Real(),
                "image": ccf.Image(1, 8, 8),
                "node": "image",
                "given": None,
                "widths": (2, 2),
                "hidden": 4,
                "pool": "last",
                "proportional": False,
                "jitter": None,
            },
        ),
        Good("predictors.Jitter", ccf.predictors.Jitter, {"shift": 1, "brightness": 0.1, "scales": ()}),
        Good("queries.effect", q.effect, effect),
        Good(
            "queries.effect_on_treated",
            q.effect_on_treated,
            {"scm": scm, "x": "x", "y": "y", "data": x, "control": 0.0, "seed": 0},
        ),
        Good("queries.mediation", q.mediation, {**effect, "m": "m"}),
        Good(
            "queries.necessity",
            q.necessity,
            {**effect, "scm": examples.switch(), "treated": True, "control": False, "above": None},
        ),
        Good(
            "queries.quantiles",
            q.quantiles,
            {"scm": scm, "y": "y", "do": {"x": 1.0}, "at": (0.5,), "draws": 20, "seed": 0},
        ),
        Good(
            "queries.density",
            q.density,
            {"scm": scm, "y": "y", "grid": torch.linspace(-1, 1, 3), "do": None, "draws": 20, "seed": 0},
        ),
        Good(
            "queries.path_effect",
            q.path_effect,
            {"scm": scm, "x": "x", "y": "y", "data": x, "along": [("x", "y")], "to": 1.0, "seed": 0},
        ),
        Good(
            "queries.counterfactual_fairness",
            q.counterfactual_fairness,
            {"scm": scm, "decide": decide, "data": x, "protected": "x", "to": 1.0, "fair": (), "seed": 0},
        ),
        Good(
            "queries.attribute_change", q.attribute_change, {"old": scm, "new": scm, "y": "y", "draws": 20, "seed": 0}
        ),
        Good(
            "queries.attribute_outlier", q.attribute_outlier, {"scm": scm, "y": "y", "data": x, "draws": 20, "seed": 0}
        ),
        Good("queries.Change", q.Change, {"low": 0.0, "high": 1.0, "direction": "up", "to": ()}),
        Good(
            "recourse",
            ccf.recourse,
            {
                "scm": scm,
                "classifier": lambda r: r["y"],
                "x": {n: v[x["y"] < 0][:2] for n, v in x.items()},
                "target": True,
                "may_change": {"x": {"low": -3.0, "high": 3.0}},
                "cost": None,
                "k": 1,
                "at_once": 1,
                "causal": True,
                "seed": 0,
            },
        ),
        Good("datasets.from_shards", d.from_shards, {"folder": folder / "bulk", "world": 0, "sample": 0}),
    ]


def good_calls(folder: Path) -> list[Good]:
    """All of them; files go into a folder."""
    return [*_models(folder), *_variables(), *_mechanisms(), *_explainers(), *metrics(), *_others(folder)]
