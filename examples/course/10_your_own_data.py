# %% [markdown]
# # 10. Your own data
#
# **The question.** You have a CSV file, or a folder of pictures. How do you get from there to a counterfactual?
#
# Four steps: **graph, look, fit, ask**. This page makes a small file and a small folder, so that you can run it. Then put
# your own in their place.

# %%
import os
import tempfile
import warnings
from pathlib import Path

import causalcf as ccf
import matplotlib as mpl
import numpy as np
import pandas as pd
from causalcf.plots.style import STYLE
from PIL import Image

mpl.rcParams.update(STYLE)
SMALL = "CAUSALCF_SMALL" in os.environ  # the tests run this page with few rows
folder = Path(tempfile.mkdtemp())
rng = np.random.default_rng(0)

n = 200 if SMALL else 1500
shift = rng.choice(["day", "night"], n)
sleep = 7.2 - 1.3 * (shift == "night") + rng.normal(0, 0.8, n)
coffee = rng.poisson(np.clip(5.5 - 0.6 * sleep, 0.2, None))
errors = np.exp(1.2 - 0.25 * sleep - 0.05 * coffee + rng.normal(0, 0.3, n))
pd.DataFrame(
    {"shift": shift, "sleep": sleep.round(2), "coffee": coffee, "errors": errors.round(3)}
).to_csv(folder / "work.csv", index=False)

edges = [("shift", "sleep"), ("sleep", "coffee"), ("sleep", "errors"), ("coffee", "errors")]
ccf.CausalGraph(edges).draw().figure

# %% [markdown]
# ## 1. The graph
#
# Write the arrows down before you look at the numbers. Here: the shift decides the sleep; sleep decides coffee and
# errors; coffee decides errors. The graph is *your* claim. No program can find it for you in these columns.
#
# ## 2. Look
#
# Read the file, and let causalcf tell what each column is. It never guesses in silence.

# %%
frame = pd.read_csv(folder / "work.csv")


def warned_of(rows):
    """Fit for a moment, and print what causalcf says about the columns."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        guess = ccf.SCM(edges).fit(rows, epochs=1, seed=0, progress=False)
    for warning in said:
        print("-", warning.message)
    return guess.graph


warned_of(frame)

# %% [markdown]
# Read the warning: `coffee` holds whole numbers, and was taken for a quantity with everything between. It counts cups, so we will
# say `Count`. And `errors` cannot be negative, so we will say `Positive`.
#
# ### What goes wrong most often
#
# Someone wrote -999 for "not known". To a computer that is a number. causalcf names the column, and the line that helps:

# %%
broken = frame.copy()
broken.loc[:19, "sleep"] = -999.0
_ = warned_of(broken)

# %% [markdown]
# ## 3. Fit, and look again
#
# Do the mechanisms make sense? Dots are your rows, thin lines are single people: one cause moves, the rest of the person stays.

# %%
kinds = {
    "coffee": ccf.Count(unit="cups"),
    "errors": ccf.Positive(unit="per hour"),
    "sleep": ccf.Positive(unit="hours"),
}
scm = ccf.SCM(edges, variables=kinds)
scm.fit(frame, epochs=2 if SMALL else 30, seed=0, progress=False)
scm.plot(frame)

# %% [markdown]
# ## 4. Ask
#
# *These people who worked at night: how many errors would they have made, had they worked by day?*

# %%
night = frame[frame["shift"] == "night"].head(100)
by_day = scm.counterfactual(night, do={"shift": "day"}, seed=0)
by_day.plot(kind="changes")

# %%
by_day.to_frame().head()

# %% [markdown]
# Your row labels come back with the answer. And one more hour of sleep, for everyone, with coffee following:

# %%
longer = scm.counterfactual(night, do={"sleep": ccf.shift(1.0)}, seed=0)
print(
    f"errors change by {float((longer['errors'] - longer.factual['errors']).mean()):+.2f} per hour"
)
longer.check()

# %% [markdown]
# ## A folder of pictures
#
# A file `metadata.csv` beside the pictures: a row for each, a column `file_name`, and the attributes. (Hugging Face calls it an
# *ImageFolder*.) Here: bars of some width, dark or light.

# %%
(folder / "bars").mkdir()
lines = []
for i in range(60 if SMALL else 600):
    width, shade = int(rng.integers(2, 12)), ["dark", "light"][int(rng.integers(2))]
    pixels = np.zeros((16, 16), np.uint8)
    left = int(rng.integers(0, 16 - width))
    pixels[3:13, left : left + width] = 230 if shade == "light" else 110
    Image.fromarray(pixels).save(folder / "bars" / f"{i}.png")
    lines.append({"file_name": f"{i}.png", "width": width, "shade": shade})
pd.DataFrame(lines).to_csv(folder / "bars" / "metadata.csv", index=False)

variables = {"width": ccf.Positive(unit="px")}
bars = ccf.datasets.from_folder(folder / "bars", size=(16, 16), mode="L", variables=variables)
bars

# %%
graph = ccf.CausalGraph([("width", "image"), ("shade", "image")], bars.variables)
vae = ccf.mechanisms.VAE(latent=4, widths=(16, 16, 16))
pictures = ccf.SCM(graph, mechanisms={"image": vae})
pictures.fit(
    bars, epochs={"image": 1 if SMALL else 60, "width": 1 if SMALL else 10}, seed=0, progress=False
)
pictures.counterfactual(bars[:4], do=[{"shade": "light"}, {"width": 10.0}]).plot(rows=4)

# %% [markdown]
# The position of a bar is in no column. It is in the picture, so it belongs to the **noise**, and the counterfactual should keep it.
# A model that is trained for a minute does this roughly; yours will need more pictures and more time.
#
# The same without Python: `causalcf draft`, `causalcf fit`, `causalcf counterfactual`
# ([your own data](https://github.com/causalcf/causalcf/blob/main/docs/own-data.md)).
#
# ## Exercises
#
# **Exercise 1.** Nobody told causalcf what `shift` is. What kind of variable did it take it for? Give the name of the class as text,
# such as `"Real"`.

# %% tags=["exercise"]
kind = ...

# %% tags=["check"]
if kind is not ...:
    assert kind == scm.variables["shift"].kind, "scm.graph.describe() has a line for it."
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# kind = scm.variables["shift"].kind
# ```
# </details>

# %% [markdown]
# **Exercise 2.** Ask the model: what if these people at night had drunk **no coffee**? By how much would their errors have changed on
# average? (do(coffee = 0), seed=0.)

# %% tags=["exercise"]
without_coffee = ...

# %% tags=["check"]
if without_coffee is not ...:
    cf = scm.counterfactual(night, do={"coffee": 0}, seed=0)
    right = float((cf["errors"] - cf.factual["errors"]).mean())
    assert abs(without_coffee - right) < 1e-4, "Compare cf['errors'] with cf.factual['errors']."
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# cf = scm.counterfactual(night, do={"coffee": 0}, seed=0)
# without_coffee = float((cf["errors"] - cf.factual["errors"]).mean())
# ```
# </details>

# %% [markdown]
# **Exercise 3.** In the world do(coffee = 0), does `sleep` change? Answer `True` or `False`.

# %% tags=["exercise"]
sleep_moves = ...

# %% tags=["check"]
if sleep_moves is not ...:
    cf = scm.counterfactual(night, do={"coffee": 0}, seed=0)
    assert sleep_moves is bool((cf["sleep"] != cf.factual["sleep"]).any()), (
        "Is sleep an effect of coffee in this graph?"
    )
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# sleep_moves = False
# ```
#
# In this graph coffee does not disturb sleep. You may think that it does. Then draw the other graph, and think about time: today's
# coffee, tonight's sleep.
# </details>
#
# ## What to keep
#
# - Graph, look, fit, ask. In this order.
# - Read the warnings: they are about your data.
# - What no column holds is noise, and a counterfactual keeps it.
