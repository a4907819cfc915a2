"""The answers of a model in closed form, in NumPy and 64 bits; it shares no code with the package.

Flows must be affine. Numbers' noise is computed here; the noise of discrete nodes is a draw, and is taken as it is.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import causalcf as ccf

__all__ = ["Oracle"]

EDGE = 1e-6
FAR = 1e4
REACH = 5.0
LIMIT = -np.log(1e-3)


class Oracle:
    """The structural equations of a model, read off its weights.

    Args:
        scm: A model whose flows are affine.
    """

    def __init__(self, scm: ccf.SCM) -> None:
        self.scm = scm
        self.weights = {
            node: {name: t.detach().double().numpy() for name, t in mechanism.state_dict().items()}
            for node, mechanism in scm.mechanisms.items()
        }
        self.order = list(scm.graph.nodes)

    def noise(self, x: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The noise of every node: of numbers from their values, of discrete ones as it was drawn."""
        found = {}
        for node in self.order:
            pa = {parent: x[parent] for parent in self.scm.graph.parents(node)}
            kind = type(self.scm.mechanisms[node]).__name__
            if kind in ("Flow", "AdditiveNoise", "LinearGaussian"):
                found[node] = self._number(node, pa, lambda f, y=x[node]: f.noise(y))
            elif f"{node}.u" in drawn:
                found[node] = drawn[f"{node}.u"]
        return found

    def answer(
        self, noise: Mapping[str, np.ndarray], do: Mapping[str, np.ndarray], kept: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """The values of every node under actions that set nodes; some are kept, which no action reaches."""
        values: dict[str, np.ndarray] = {}
        for node in self.order:
            if node in kept:
                values[node] = kept[node]
                continue
            pa = {parent: values[parent] for parent in self.scm.graph.parents(node)}
            values[node] = do[node] if node in do else self.value(node, pa, noise.get(node))
        return values

    def value(self, node: str, pa: Mapping[str, np.ndarray], u: np.ndarray | None) -> np.ndarray:
        """x := f(pa, u)."""
        mechanism, kind = self.scm.mechanisms[node], type(self.scm.mechanisms[node]).__name__
        if kind in ("Deterministic", "Classifier"):
            import torch

            like = {p: torch.from_numpy(np.ascontiguousarray(v)) for p, v in pa.items()}
            like = {p: v.to(self.scm.dtype) if v.is_floating_point() else v for p, v in like.items()}
            return mechanism.predict({}, like).numpy()
        assert u is not None
        if kind in ("Flow", "AdditiveNoise", "LinearGaussian"):
            return self._number(node, pa, lambda f: f.value(u))
        if not pa:
            return u
        out = _network(self.weights[node], "network", self._features(node, pa))
        if kind == "Boolean":
            return out[:, 0] + u > 0
        if kind == "Categorical":
            return (out + u).argmax(1)
        if kind == "Ordinal":
            return (u[:, None] > _thresholds(out)).sum(1)
        assert kind == "Count"
        return self._count(node, out, u)

    # ------------------------------------------------------------------ parts

    def _features(self, node: str, pa: Mapping[str, np.ndarray]) -> np.ndarray:
        w, linear = self.weights[node], type(self.scm.mechanisms[node]).__name__ == "LinearGaussian"
        columns = []
        for parent, x in pa.items():
            variable = self.scm.variables[parent]
            if isinstance(variable, ccf.Categorical):
                columns.append(np.eye(variable.k)[x.astype(int)])
            else:
                columns.append(np.asarray(x, dtype=float).reshape(len(x), -1))
        raw = np.concatenate(columns, 1)
        y = (raw - w["encoder.standardise.loc"]) / w["encoder.standardise.scale"]
        if linear:
            return y
        y = _bend(y, w.get("encoder.standardise.bent"), w.get("encoder.standardise.end"))
        return np.clip(y, -FAR, FAR)

    def _number(self, node: str, pa: Mapping[str, np.ndarray], ask: Callable[["_Affine"], np.ndarray]) -> np.ndarray:
        mechanism, w = self.scm.mechanisms[node], self.weights[node]
        c = self._features(node, pa) if pa else None
        kind = type(mechanism).__name__
        f = _Affine(mechanism.variable, w)
        if kind == "LinearGaussian":
            f.shift = w["intercept"] + (0 if c is None else c @ w["weight"])
            f.scale, f.linear = np.exp(w["log_scale"]), True
            return ask(f)
        d = mechanism.variable.numel
        if kind == "AdditiveNoise":
            own = [v for name, v in w.items() if name.startswith("noise.")]
            parameters = own[-1].reshape(-1)
            f.early = 0.0 if c is None else _network(w, "location", c)
            f.m, f.s = parameters[0], np.exp(_limit(parameters[1]))
            return ask(f)
        assert d == 1, "a Vector is autoregressive"
        last = _parameters(w, c)
        f.m, f.s = last[..., 0:1], np.exp(_limit(last[..., 1:2]))
        return ask(f)

    def _count(self, node: str, out: np.ndarray, u: np.ndarray) -> np.ndarray:
        """The least whole number whose threshold is not below the noise, sought one by one around the answer."""
        w = self.weights[node]
        components = self.scm.mechanisms[node].components
        weight, place, width = out.reshape(len(out), 3, components).transpose(1, 0, 2)
        log_w = weight - np.logaddexp.reduce(weight, 1, keepdims=True)
        loc = (place + np.linspace(-1, 1, components)) * w["standardise.scale"] + w["standardise.loc"]
        if components == 1:
            loc = (place - 1) * w["standardise.scale"] + w["standardise.loc"]
        scale = w["standardise.scale"] * (np.logaddexp(0, width) + 1e-2)

        def threshold(k: np.ndarray) -> np.ndarray:
            z = (k[:, None] + 0.5 - loc) / scale
            below = np.logaddexp.reduce(log_w - np.logaddexp(0, -z), 1)
            above = np.logaddexp.reduce(log_w - np.logaddexp(0, z), 1)
            return np.where(k < 0, -np.inf, below - above)

        low, high = np.full(len(u), -1.0), np.ones(len(u))
        while (threshold(high) < u).any():
            high = np.where(threshold(high) < u, 2 * high + 1, high)
            if high.max() > 1e300:
                break
        while (high - low > np.maximum(1, 1e-15 * high)).any():
            middle = np.floor((low + high) / 2)
            if ((middle == low) | (middle == high)).all():
                break
            enough = threshold(middle) >= u
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        return high


class _Affine:
    """u = s * standardised(x) + m, between a variable's support and its noise."""

    def __init__(self, variable: Any, weights: Mapping[str, np.ndarray]) -> None:
        self.variable, self.w = variable, weights
        self.early: Any = 0.0
        self.m: Any = 0.0
        self.s: Any = 1.0
        self.shift: Any = 0.0
        self.scale: Any = 1.0
        self.linear = False

    def noise(self, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, dtype=float)
        if self.linear:
            return (x - self.shift) / self.scale
        y = (self._to_line(x)[:, None] - self.w["standardise.loc"]) / self.w["standardise.scale"]
        y = _bend(y, self.w.get("standardise.bent"), self.w.get("standardise.end"))
        return ((y - self.early) * self.s + self.m)[:, 0]

    def value(self, u: np.ndarray) -> np.ndarray:
        if self.linear:
            return self.shift + self.scale * u
        y = (u[:, None] - self.m) / self.s + self.early
        y = _unbend(y, self.w.get("standardise.bent"), self.w.get("standardise.end"))
        return self._from_line((y * self.w["standardise.scale"] + self.w["standardise.loc"])[:, 0])

    def _to_line(self, x: np.ndarray) -> np.ndarray:
        v = self.variable
        if isinstance(v, ccf.Interval):
            share = np.clip((x - v.low) / (v.high - v.low), EDGE, 1 - EDGE)
            return np.log(share) - np.log1p(-share)
        if not isinstance(v, ccf.Positive):
            return x
        top, slope = self.w["tail"]
        return np.where(x <= np.exp(top), np.log(np.maximum(x, 1e-320)), top + (x / np.exp(top) - 1) / slope)

    def _from_line(self, y: np.ndarray) -> np.ndarray:
        v = self.variable
        if isinstance(v, ccf.Interval):
            return v.low + (v.high - v.low) / (1 + np.exp(-y))
        if not isinstance(v, ccf.Positive):
            return y
        top, slope = self.w["tail"]
        return np.where(y <= top, np.exp(np.minimum(y, top)), np.exp(top) * (1 + slope * (y - top)))


def _limit(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.abs(x) / LIMIT)


def _bend(y: np.ndarray, bent: np.ndarray | None, end: np.ndarray | None) -> np.ndarray:
    if bent is None:
        return y
    beyond = np.maximum(np.abs(y) - REACH, 0)
    log = np.log1p(beyond)
    if end is not None:
        log = np.where(log <= end, log, end + (beyond - np.expm1(end)) / np.exp(end))
    return np.where(bent > 0, np.clip(y, -REACH, REACH) + np.sign(y) * log, y)


def _unbend(y: np.ndarray, bent: np.ndarray | None, end: np.ndarray | None) -> np.ndarray:
    if bent is None:
        return y
    beyond = np.maximum(np.abs(y) - REACH, 0)
    if end is None:
        exp = np.expm1(beyond)
    else:
        inside = np.minimum(beyond, end)
        exp = np.expm1(inside) + np.exp(end) * (beyond - inside)
    return np.where(bent > 0, np.clip(y, -REACH, REACH) + np.sign(y) * exp, y)


def _thresholds(out: np.ndarray) -> np.ndarray:
    return np.cumsum(np.concatenate([out[:, :1], np.logaddexp(0, out[:, 1:])], 1), 1)


def _network(weights: Mapping[str, np.ndarray], prefix: str, c: np.ndarray) -> np.ndarray:
    """A perceptron with SiLU between its layers."""
    layers = sorted(
        {int(name.split(".")[1]) for name in weights if name.startswith(prefix + ".") and name.split(".")[1].isdigit()}
    )
    y = c
    for i, layer in enumerate(layers):
        if i:
            y = y * (0.5 * (1 + np.tanh(y / 2)))
        y = y @ weights[f"{prefix}.{layer}.weight"].T + weights[f"{prefix}.{layer}.bias"]
    return y


def _parameters(weights: Mapping[str, np.ndarray], c: np.ndarray | None) -> np.ndarray:
    """The parameters of a flow's spline, (N, 3 K + 1) or (3 K + 1,)."""
    if c is None:
        (free,) = [v for name, v in weights.items() if name.startswith("bijection.")]
        return free.reshape(-1)
    own = {f"h.{name.split('hyper.')[1]}": v for name, v in weights.items() if "hyper." in name}
    return _network(own, "h", c)
