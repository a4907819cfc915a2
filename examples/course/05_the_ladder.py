# %% [markdown]
# # 5. The ladder on digits: see, do, imagine
#
# **The question.** *How thick are the strokes at an intensity of 220?* It is one sentence with three meanings, and
# three different answers. Judea Pearl calls them the three rungs of the **ladder of causation**.
#
# For these digits we know the true mechanism, so every answer of the model has the **truth** beside it.

# %%
import os

import causalcf as ccf
import matplotlib as mpl
import torch
from causalcf.plots.style import STYLE, WORLDS, new_figure

mpl.rcParams.update(STYLE)
SMALL = "CAUSALCF_SMALL" in os.environ  # the tests run this page with few rows
digits = ccf.datasets.Digits("test")
scm = ccf.pretrained("morphomnist-hvae")


def show(rows, width=6.2):
    """Digits in rows, a title before each."""
    figure = new_figure(width, 0.95 * len(rows), layout="constrained")
    for line, (title, images) in zip(
        figure.subplots(len(rows), 6, squeeze=False), rows.items(), strict=True
    ):
        for ax, image in zip(line, images, strict=False):
            ax.imshow(image[0], cmap="gray", vmin=0, vmax=1)
        for ax in line:
            ax.set_axis_off()
        line[0].text(-0.15, 0.5, title, transform=line[0].transAxes, ha="right", va="center")
    return figure


bright = (digits["intensity"] - 220).abs() < 6
thin = digits[digits["thickness"].argsort()[12:18]]
imagined = scm.counterfactual(thin, do={"intensity": 220.0})
show(
    {
        "see: bright digits": digits[bright]["image"],
        "six thin digits": thin["image"],
        "imagine: had\nthey been bright": imagined["image"],
    }
)

# %% [markdown]
# ## Rung 1: see. P(thickness | intensity = 220)
#
# Look for digits that *are* that bright, and measure them. They are thick: thick strokes made them bright.

# %%
seen = digits["thickness"][bright]
print(f"{int(bright.sum())} bright digits, on average {seen.mean():.2f} px thick")

# %% [markdown]
# ## Rung 2: do. P(thickness | do(intensity = 220))
#
# *Make* every digit that bright, with a lamp. No stroke moves. The answer is the average over all digits.

# %%
acted = scm.sample(8 if SMALL else 60, do={"intensity": 220.0}, seed=0)
print(f"model: {acted['thickness'].mean():.2f} px; all digits: {digits['thickness'].mean():.2f} px")
show({"do: new digits,\nmade bright": acted["image"]})

# %% [markdown]
# ## Rung 3: imagine. *This very digit*, had its intensity been 220
#
# Take six digits that are thin and dark. Had **they** been bright, they would be as thin as they are.
# The model takes the three steps of page 4: find the digit's noise, set the intensity, draw again.

# %%
truth = digits.truth(thin, do={"intensity": 220.0})
print("thickness:", [round(v, 2) for v in imagined["thickness"].tolist()], "as before")
show({"as they are": thin["image"], "the model": imagined["image"], "the truth": truth["image"]})

# %% [markdown]
# All three answers in one picture. Nothing is wrong here: three questions, three answers.

# %%
figure = new_figure(5.6, 2.2, layout="constrained")
ax = figure.subplots()
answers = {
    "see": seen,
    "do": digits["thickness"],
    "imagine (six thin digits)": imagined["thickness"],
}
for y, values in enumerate(answers.values()):
    ax.scatter(values, torch.full_like(values, y), s=6, color=WORLDS[y], alpha=0.25, lw=0)
    ax.plot(values.mean(), y, "|", color=WORLDS[y], ms=18, mew=3)
    ax.annotate(
        f"{values.mean():.2f}", (values.mean(), y), (0, 12), textcoords="offset points", ha="center"
    )
ax.set_yticks(range(3), answers)
ax.set(xlabel="thickness (px)", ylim=(2.5, -0.6))
figure

# %% [markdown]
# ## Other worlds of the same digits
#
# `do=` takes a list of worlds. Each row below is **one** digit; the noise is found once and kept, so that it stays the
# same handwriting.

# %%
x = digits[[0, 3, 10, 20]]
worlds = [{"thickness": t} for t in (1.5, 2.0, 2.5, 3.0, 3.5, 4.0)]
scm.counterfactual(x, do=worlds).plot(kind="worlds")

# %% [markdown]
# Thickness moves the intensity too: its arrow points there. Intensity does not move thickness. To thicken a digit and
# keep its brightness, act on both: `do={"thickness": 4.0, "intensity": 120.0}`.

# %%
scm.counterfactual(x, do=[{"thickness": 4.0}, {"thickness": 4.0, "intensity": 120.0}]).plot(rows=3)

# %% [markdown]
# ## When not to believe the answer
#
# A model answers every question, also one that is far from all it has seen. `check()` says so.

# %%
scm.counterfactual(x, do={"thickness": 9.0}).check()

# %% [markdown]
# ## Exercises
#
# **Exercise 1.** Turn the question: *how bright are digits with a thickness of 2 px?* Is seeing the same as doing here? Answer
# `True` or `False`, then the cell counts.

# %% tags=["exercise"]
same = ...

# %% tags=["check"]
if same is not ...:
    near = (digits["thickness"] - 2.0).abs() < 0.2
    see = float(digits["intensity"][near].mean())
    do = float(digits.truth(digits[:60], do={"thickness": 2.0})["intensity"].mean())
    print(f"seeing {see:.0f}, doing {do:.0f} grey levels")
    assert same is (abs(see - do) < 10), "Does anything cause thickness?"
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# same = True
# ```
#
# Nothing points into thickness, so there is no arrow to cut, and nothing that confounds it with intensity.
# </details>

# %% [markdown]
# **Exercise 2.** What is the mean error of the model's pictures of the six thin digits, against the truth? In grey levels: the mean
# of |model - truth| over all pixels, times 255.

# %% tags=["exercise"]
error = ...

# %% tags=["check"]
if error is not ...:
    right = 255 * float((imagined["image"] - truth["image"]).abs().mean())
    assert abs(error - right) < 0.05, "Use imagined['image'] and truth['image']."
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# error = 255 * float((imagined["image"] - truth["image"]).abs().mean())
# ```
#
# Far less than one grey level. Brightness is the easy question.
# </details>

# %% [markdown]
# **Exercise 3.** Which of the four nodes change in the world do(digit = 3)? Ask the model about `x` and compare each node with
# `cf.factual`. Give a set of names.

# %% tags=["exercise"]
moved = ...

# %% tags=["check"]
if moved is not ...:
    cf = scm.counterfactual(x, do={"digit": "3"}, seed=0)
    right = {node for node in cf if not torch.equal(cf[node], cf.factual[node])}
    assert set(moved) == right, f"You say {sorted(moved)}. Follow the arrows out of digit."
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# cf = scm.counterfactual(x, do={"digit": "3"}, seed=0)
# moved = {node for node in cf if not torch.equal(cf[node], cf.factual[node])}
# ```
#
# `digit` and `image`. The strokes keep their thickness and brightness.
# </details>
#
# ## What to keep
#
# | rung | you say | causalcf says |
# |---|---|---|
# | 1 see | among those that are ... | look at rows: `scm.sample(n)`, data |
# | 2 do | if we made all of them ... | `scm.sample(n, do=...)` |
# | 3 imagine | had this one been ... | `scm.counterfactual(x, do=...)` |
#
# Next: [6. What cannot be known](06_what_cannot_be_known.ipynb).
