# %% [markdown]
# # 7. Images, and how to judge them
#
# **The question.** Four models draw counterfactual images: a VAE, a hierarchical VAE, a GAN and a flow. All pictures look like digits.
# Which of them is **right**?

# %%
import os
import time

import causalcf as ccf
import matplotlib as mpl
import pandas as pd
from causalcf.plots.style import STYLE, new_figure

mpl.rcParams.update(STYLE)
SMALL = "CAUSALCF_SMALL" in os.environ  # in the tests: few rows, without the slow flow
digits = ccf.datasets.Digits("test")
x = digits[[0, 3]] if SMALL else digits[[0, 3, 10, 20, 30, 40]]
names = ["vae", "hvae", "gan"] if SMALL else ["vae", "hvae", "gan", "diffusion"]
models = {name: ccf.pretrained(f"morphomnist-{name}") for name in names}
worlds = [{"thickness": 4.0}, {"intensity": 100.0}]

answers, seconds = {}, {}
for name, scm in models.items():
    started = time.perf_counter()
    answers[name] = scm.counterfactual(x, do=worlds)
    seconds[name] = time.perf_counter() - started
truths = [digits.truth(x, do=do)["image"] for do in worlds]

figure = new_figure(1.0 + 0.95 * (len(names) + 2), 2.4, layout="constrained")
for row, line in enumerate(figure.subplots(2, len(names) + 2)):
    shown = {
        "as it is": x["image"],
        **{name: answers[name]["image"][0] for name in names},
        "the truth": truths[0],
    }
    for ax, (name, images) in zip(line, shown.items(), strict=True):
        ax.imshow(images[row, 0], cmap="gray", vmin=0, vmax=1)
        ax.set_axis_off()
        if row == 0:
            ax.set_title(name)
figure.suptitle("do(thickness = 4)", fontsize=8)
figure

# %% [markdown]
# ## Four ways to draw
#
# | model | how it draws x from its noise | how it finds the noise of an x |
# |---|---|---|
# | **VAE** | a code z, decoded; plus a residual | an encoder guesses z |
# | **HVAE** | codes at several sizes, coarse to fine | an encoder for each size |
# | **GAN** | a code z, decoded; trained against a critic | an encoder that is trained with it |
# | **diffusion** (a flow) | noise of the image's size, moved in small steps | the same steps, backwards: exact |
#
# All four see the causes thickness, intensity and digit. For a GAN or a flow nothing else changes: the question is the same line of
# code.
#
# ## Judge 1: the truth
#
# These digits are real handwriting, redrawn by a known program with another thickness and brightness. So the *true*
# counterfactual image exists, and we can measure the distance to it.


# %%
def error(images, truth):
    """Mean distance of a pixel to the truth, in grey levels."""
    return 255 * float((images - truth).abs().mean())


table = pd.DataFrame(
    {
        name: {
            "do(thickness = 4)": error(answers[name]["image"][0], truths[0]),
            "do(intensity = 100)": error(answers[name]["image"][1], truths[1]),
            "seconds": seconds[name],
        }
        for name in names
    }
).T
table.loc["doing nothing"] = [error(x["image"], truth) for truth in truths] + [0.0]
table.round(2)

# %% [markdown]
# **Doing nothing** is the line to beat: give back the picture as it is. Always ask for this line when you read a paper.
#
# The flow finds its noise exactly, and is slow. That it inverts exactly does **not** make its counterfactuals right: under
# do(thickness) its error is three times the VAE's.
#
# ## Judge 2: composition. Nothing done, nothing changed?
#
# The empty action must give back the same image. It sounds like a good test. It is a weak one:

# %%
for name in names[:3]:
    for residual in (1.0, 0.0):
        back = models[name].counterfactual(x, do={}, residual=residual, recompute="all")["image"]
        print(f"{name:5} residual {residual:g}: {error(back, x['image']):.2f} grey levels")

# %% [markdown]
# With residual 1 *every* model is perfect here, also one that was never trained: image = drawing + (image - drawing).
# With residual 0 we see what the code alone holds.
#
# ## Judge 3: effectiveness. Did the action arrive?
#
# Change the digit to a 3, and ask a classifier that has seen none of this. The number is the share of *all* of `x` that it calls a 3. For
# do(digit) there is no truth: nobody knows
# how *this* writer would have written a 3.

# %%
judge = ccf.predictors.pretrained("morphomnist")["digit"]
threes = {
    name: models[name].counterfactual(x, do={"digit": "3"}, seed=0)["image"] for name in names[:3]
}
figure = new_figure(0.9 + 0.95 * (1 + len(threes)), 2.4, layout="constrained")
for row, line in enumerate(figure.subplots(2, 1 + len(threes))):
    for ax, (name, images) in zip(line, {"as it is": x["image"], **threes}.items(), strict=True):
        ax.imshow(images[row, 0], cmap="gray", vmin=0, vmax=1)
        ax.set_axis_off()
        if row == 0:
            share = float((judge.predict(images) == 3).float().mean())
            ax.set_title(f"{name}\n{share:.0%} are a 3")
figure

# %% [markdown]
# The simple VAE keeps the digit in its code, and ignores the order. Its picture under do(thickness) was fine. So: **one good
# score says nothing about another question.**
#
# `ccf.evaluate` computes all scores for one model, with the truth and doing nothing beside each:

# %%
few = 6 if SMALL else 40
records = ccf.evaluate(
    models["hvae"], digits, ["truth error", "unchanged"], n=few, residuals=(1.0, 0.0)
)
records.plot()

# %% [markdown]
# ## Exercises
#
# **Exercise 1.** Which of `names` has the smallest error under do(thickness = 4)? Use `table`, or look at it.

# %% tags=["exercise"]
best = ...

# %% tags=["check"]
if best is not ...:
    assert best == table.loc[names, "do(thickness = 4)"].idxmin(), (
        "Smaller is better. 'doing nothing' is not a model."
    )
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# best = table.loc[names, "do(thickness = 4)"].idxmin()
# ```
# </details>

# %% [markdown]
# **Exercise 2.** Somebody reports "composition 0.00" as proof of a good model. What number does a model give whose drawing is always
# **black**, with residual 1? (image = drawing + residual.)

# %% tags=["exercise"]
black = ...

# %% tags=["check"]
if black is not ...:
    drawing = 0 * x["image"]
    residual = x["image"] - drawing
    assert abs(black - error(drawing + residual, x["image"])) < 1e-6, "What is 0 + (image - 0)?"
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# black = 0.0
# ```
#
# The residual carries the whole picture. That is why causalcf reports composition with residual 0, too.
# </details>

# %% [markdown]
# **Exercise 3.** A lazy model answers every question with the *factual* image. Which of the three judges does it pass perfectly?
# Give a list out of `"truth"`, `"composition"`, `"effectiveness"`.

# %% tags=["exercise"]
passes = ...

# %% tags=["check"]
if passes is not ...:
    lazy = x["image"]
    passed = ["truth"] if error(lazy, truths[0]) < 0.01 else []
    passed += ["composition"] if error(lazy, x["image"]) < 0.01 else []
    passed += ["effectiveness"] if bool((judge.predict(lazy) == 3).all()) else []
    assert sorted(passes) == sorted(passed), (
        "Go through the judges one by one with images that never change."
    )
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# passes = ["composition"]
# ```
# </details>
#
# ## What to keep
#
# - A counterfactual that looks good can be wrong. Measure, and show the line "doing nothing".
# - Where the truth is known, use it. Where not, use several judges, and say what each can be fooled by.
# - Composition with residual 1 is arithmetic, not evidence.
#
# Next: [8. Explaining a classifier, and being fooled](08_explaining.ipynb).
