# %% [markdown]
# # 6. What cannot be known
#
# **The question.** You have *all* the data of the world, and you have done *every* experiment. Do you then know every
# counterfactual?
#
# No. This page shows three gaps. They do not close with more data, so an honest answer must name them.

# %%
import causalcf as ccf
import matplotlib as mpl
import torch
from causalcf.plots.style import STYLE, WORLDS, new_figure

mpl.rcParams.update(STYLE)
outcomes = ["worse", "same", "better"]
untreated = torch.tensor([0.6, 0.3, 0.1])  # what happens without the medicine
treated = torch.tensor([0.2, 0.4, 0.4])  # ... and with it; both known exactly, from a large trial
coin = torch.Generator().manual_seed(0)
n = 200_000


def inverse_cdf(p, u):
    """One noise: how lucky a patient is, from 0 to 1. The luckiest get better."""
    return torch.searchsorted(p.cumsum(0)[:-1].contiguous(), u[:, 0].contiguous())


def gumbel_max(p, u):
    """A noise for each outcome: the largest log p + noise wins."""
    return (p.log() - (-u.log()).log()).argmax(1)


u = torch.rand(n, 3, generator=coin)
figure = new_figure(7.4, 2.5, layout="constrained")
panels = figure.subplots(1, 3, sharey=True)
for k, mechanism in enumerate((inverse_cdf, gumbel_max)):
    without, with_it = mechanism(untreated, u), mechanism(treated, u)
    name, same = mechanism.__name__.replace("_", " "), without == 1
    for ax, codes in zip(panels, (without, with_it, with_it[same]), strict=True):
        share = torch.bincount(codes, minlength=3) / len(codes)
        bars = ax.bar(torch.arange(3) + 0.4 * k - 0.2, share, 0.38, color=WORLDS[k], label=name)
        ax.bar_label(bars, fmt="{:.2f}", fontsize=6.5)
        ax.set_xticks(range(3), outcomes)
titles = ("do(no medicine)", "do(medicine)", "a patient who stayed the same\nwithout: with it?")
for ax, title in zip(panels, titles, strict=True):
    ax.set(title=title, ylim=(0, 1.15))
panels[0].legend()
figure

# %% [markdown]
# ## Gap 1: the form of the noise
#
# Both models agree with every table and every trial (left, middle). Asked about **one patient** who stayed the same
# without the medicine, they differ (right): one says *she would surely have got better*, the other says *probably not*.
#
# - **Inverse CDF**: one noise, "luck". Right where outcomes have an order, and a patient keeps the rank.
# - **Gumbel-max** (Oberst and Sontag, 2019): a noise for each outcome. Right where outcomes are names without order.
#
# In causalcf you choose by saying what the variable *is*: `Ordinal` has one noise and thresholds, `Categorical` has Gumbel-max.

# %%
trial = {"medicine": torch.arange(4000) % 2 == 1}
draws = torch.rand(4000, 3, generator=coin)
trial["outcome"] = torch.where(
    trial["medicine"], inverse_cdf(treated, draws), inverse_cdf(untreated, draws)
)
patient = {"medicine": [False], "outcome": ["same"]}
for kind in (ccf.Ordinal(outcomes), ccf.Categorical(outcomes)):
    scm = ccf.SCM([("medicine", "outcome")], {"medicine": ccf.Boolean(), "outcome": kind})
    scm.fit(trial, epochs=20, seed=0, progress=False)
    cf = scm.counterfactual(patient, do={"medicine": True}, num_samples=2000, seed=0)
    share = torch.bincount(cf["outcome"].flatten(), minlength=3) / 2000
    print(
        f"{kind.kind:12}",
        {name: round(float(s), 2) for name, s in zip(outcomes, share, strict=True)},
    )

# %% [markdown]
# ## Gap 2: a hidden cause
#
# Two worlds. In the first, x causes y. In the second, nobody's x causes anybody's y: a hidden h causes both.

# %%
h, e1, e2 = torch.randn(3, 3000, generator=coin)
world_1 = {"x": e1, "y": 0.8 * e1 + 0.6 * e2}
world_2 = {"x": 0.8**0.5 * h + 0.2**0.5 * e1, "y": 0.8**0.5 * h + 0.2**0.5 * e2}
done = {
    "x causes y": 0.8 * 2 + 0.6 * e2,
    "h causes both": 0.8**0.5 * h + 0.2**0.5 * e2,
}  # do(x = 2)
figure = new_figure(6.4, 2.4, layout="constrained")
panels = figure.subplots(1, 2, sharey=True)
for ax, (name, acted), rows in zip(panels, done.items(), (world_1, world_2), strict=True):
    ax.scatter(rows["x"][:600], rows["y"][:600], s=4, color="#a3abb8", label="seen")
    ax.scatter(torch.full((200,), 2.0), acted[:200], s=4, color=WORLDS[0], label="do(x = 2)")
    ax.plot(2.0, acted.mean(), "_", color="#b45309", ms=22, mew=3)
    ax.set(
        title=f"{name}: E[y | do(x = 2)] = {acted.mean():.1f}".replace("-0.0", "0.0"), xlabel="x"
    )
figure.axes[0].set_ylabel("y")
figure.axes[0].legend(loc="upper left")
figure

# %% [markdown]
# The grey clouds are the same: no statistic of x and y tells the worlds apart. The blue points are not.
# You can tell causalcf that a hidden cause may be there. It then says whether an effect can be known at all:

# %%
print(ccf.CausalGraph([("x", "y")], confounded=[("x", "y")]).identify("y", do=["x"]))

# %%
print(ccf.CausalGraph([("x", "m"), ("m", "y")], confounded=[("x", "y")]).identify("y", do=["x"]))

# %% [markdown]
# With something measured **between** x and y that the hidden cause does not touch, the effect is known again (the front door).
#
# ## Gap 3: the residual of an image
#
# An image model keeps a code of the image, and cannot say all: what is left over is the **residual**, image minus drawing. When we
# thicken the strokes, what becomes of it? Keep it (1), drop it (0), or let it fade? No data can say: nobody sees one digit
# in two worlds. Here we know the truth, so we can look.

# %%
digits = ccf.datasets.Digits("test")
hvae = ccf.pretrained("morphomnist-hvae")
x = digits[[0, 3, 10, 20, 30, 40, 50, 60]]
action = {"thickness": 4.0}
truth = digits.truth(x, do=action)["image"]
residuals = {"kept (1)": 1.0, "dropped (0)": 0.0, "fading": ccf.Fading(thickness=1.0)}
answers = {
    name: hvae.counterfactual(x, do=action, residual=r)["image"] for name, r in residuals.items()
}
errors = {name: 255 * float((image - truth).abs().mean()) for name, image in answers.items()}
figure = new_figure(5.8, 3.0, layout="constrained")
axes = figure.subplots(3, 5)
for line, row in zip(axes, range(3), strict=True):
    shown = {"as it is": x["image"], **answers, "the truth": truth}
    for ax, (name, images) in zip(line, shown.items(), strict=True):
        ax.imshow(images[row, 0], cmap="gray", vmin=0, vmax=1)
        ax.set_axis_off()
        if row == 0:
            ax.set_title(f"{name}\n{errors[name]:.2f}" if name in errors else name)
figure.suptitle("do(thickness = 4), and the error in grey levels", fontsize=8)
figure

# %% [markdown]
# Every answer of causalcf says which residual it used, and anything but 1 is not abduction in the strict sense.
#
# ## Exercises
#
# **Exercise 1.** By **inverse CDF**: what is the probability that a patient who got *worse* without the medicine would have got
# better with it? Think of the patient's luck u: it lies between 0 and 0.6.

# %% tags=["exercise"]
rescued = ...

# %% tags=["check"]
if rescued is not ...:
    was, would = inverse_cdf(untreated, u), inverse_cdf(treated, u)
    right = float((would[was == 0] == 2).float().mean())
    assert abs(rescued - right) < 0.01, (
        "With the medicine, who gets better? Those with u above 0.6."
    )
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# rescued = 0.0
# ```
#
# Worse without means u < 0.6, and better with means u > 0.6. Nobody is both. By Gumbel-max some are.
# </details>

# %% [markdown]
# **Exercise 2.** In world 2 (h causes both), by how much does y move when we act on x, per unit of x?

# %% tags=["exercise"]
slope = ...

# %% tags=["check"]
if slope is not ...:
    assert abs(slope - 0.0) < 1e-6, "Is there an arrow from x to y in world 2?"
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# slope = 0.0
# ```
#
# A regression says 0.8. It answers rung 1.
# </details>

# %% [markdown]
# **Exercise 3.** Which residual comes nearest to the truth under do(**intensity** = 100), for the digits `x`: `"kept (1)"` or
# `"dropped (0)"`?

# %% tags=["exercise"]
nearest = ...

# %% tags=["check"]
if nearest is not ...:
    darker, off = {"intensity": 100.0}, {}
    for name in ("kept (1)", "dropped (0)"):
        answer = hvae.counterfactual(x, do=darker, residual=residuals[name])
        gap = answer["image"] - digits.truth(x, do=darker)["image"]
        off[name] = round(255 * float(gap.abs().mean()), 2)
    print(off, "grey levels")
    assert nearest == min(off, key=off.get), (
        "Does the old residual fit the new picture when only the lamp changes?"
    )
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# nearest = "kept (1)"
# ```
#
# A darker digit has the same strokes, so what the drawing missed before, it misses again. Under thicker strokes the old
# residual is in the wrong place.
# </details>
#
# ## What to keep
#
# - Rung 3 needs the *form* of the noise. Data and trials cannot tell it: say what you assume.
# - Hidden causes can make an effect unknowable. Ask the graph before you ask the model.
# - Report the residual. The same model gives other pictures with another one.
#
# Next: [7. Images, and how to judge them](07_images.ipynb).
