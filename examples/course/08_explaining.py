# %% [markdown]
# # 8. Explaining a classifier, and being fooled
#
# **The question.** A network says "this is a 3". *What would have to change in this picture for it to say 9?*
#
# Two methods find an answer below. Both answers are called a 9 by the network. Only one of them explains anything.

# %%
import os

import causalcf as ccf
import matplotlib as mpl
import torch
from causalcf.plots.style import STYLE, new_figure

mpl.rcParams.update(STYLE)
SMALL = "CAUSALCF_SMALL" in os.environ  # the tests run this page with few rows and short searches
f = ccf.predictors.pretrained("mnist")["digit"]  # the classifier that we explain
scm = ccf.pretrained("mnist-vae")  # a model of handwriting: code z -> image

digits = ccf.datasets.Digits("test")
images = digits["image"][:, :, 2:30, 2:30]
images = images / images.amax((1, 2, 3), keepdim=True)  # as bright as the classifier's own digits
told = f(images).argmax(1)
chosen = torch.cat([((digits["digit"] == k) & (told == k)).nonzero()[:1, 0] for k in (3, 4, 5, 7)])
x = images[chosen[:2] if SMALL else chosen]

steps = 40 if SMALL else 300
pixels = ccf.explainers.PGD(scm, classifier=f).explain(x, target=9, seed=0)
latent = ccf.explainers.REVISE(scm, classifier=f, max_steps=steps).explain(
    x, target=9, seed=0, stream=True
)

figure = new_figure(4.6, 2.4, layout="constrained")
for row, line in enumerate(figure.subplots(2, 3)):
    shown = {
        "as it is": x,
        "PGD: moves pixels": pixels.counterfactual,
        "REVISE: moves the code": latent.counterfactual,
    }
    for ax, (name, pictures) in zip(line, shown.items(), strict=True):
        ax.imshow(pictures[row, 0].detach(), cmap="gray", vmin=0, vmax=1)
        ax.set_axis_off()
        says = int(f(pictures[row : row + 1]).argmax())
        ax.set_title(f"{name}\nnetwork: {says}" if row == 0 else f"network: {says}")
figure

# %% [markdown]
# ## Two ways to search
#
# - **PGD** (Madry and others, 2018) moves every pixel a little, the way that raises the network's belief in 9. The picture
#   still looks like a 3, with some noise. This is an **adversarial example**: it shows a weakness of the network.
# - **REVISE** (Joshi and others, 2019) moves the *code* z of a model that draws handwriting. Every step on its way is a
#   drawing. It shows *what a 9 would look like for the one who wrote this 3*.
#
# In causal words: `z → image → label`. PGD is do(image = ...), REVISE is do(image.z = ...). An explanation **is** an intervention:

# %%
latent

# %%
again = scm.counterfactual({"image": x}, do=latent.do)
print("the same picture from its intervention:", torch.equal(again["image"], latent.counterfactual))
latent.plot(rows=2)

# %% [markdown]
# Rows that failed say so, with a reason, and show their best try. A failed search is a result, too.
#
# ## Who was fooled?
#
# Ask a **second judge**, a network with other weights, trained on other pictures (thick, thin, bright and dark digits). It was not
# attacked. If a picture is a real 9, both see a 9.

# %%
second = ccf.predictors.pretrained("morphomnist")["digit"]


def second_opinion(pictures):
    """What the second judge says; it takes pictures of 32 x 32."""
    return second.predict(torch.nn.functional.pad(pictures.detach(), (2, 2, 2, 2)))


for name, found in (("PGD", pixels), ("REVISE", latent)):
    first = f(found.counterfactual).argmax(1).tolist()
    moved = 255 * (found.counterfactual - x).abs().flatten(1).mean(1)
    print(f"{name:7} network {first}  second judge {second_opinion(found.counterfactual).tolist()}  "
          f"mean change {moved.mean():.0f} grey levels")  # fmt: skip

# %% [markdown]
# Which pixels did each change? Red became brighter, blue darker.

# %%
figure = new_figure(3.4, 2.4, layout="constrained")
for row, line in enumerate(figure.subplots(2, 2)):
    for ax, (name, found) in zip(line, (("PGD", pixels), ("REVISE", latent)), strict=True):
        ax.imshow((found.counterfactual - x)[row, 0].detach(), cmap="RdBu_r", vmin=-1, vmax=1)
        ax.set_axis_off()
        ax.set_title(name if row == 0 else "")
figure

# %% [markdown]
# PGD changes many pixels a little. REVISE changes few pixels, and these a lot. A change that is small in every pixel is not yet a
# *good* explanation: who asks for nothing but small changes gets the fooled picture.
#
# ## Exercises
#
# **Exercise 1.** Look at the pixel that changed **most**. With which method is this change smaller: `"PGD"` or `"REVISE"`?

# %% tags=["exercise"]
closer = ...

# %% tags=["check"]
if closer is not ...:
    change = {
        name: float((e.counterfactual - x).abs().max())
        for name, e in (("PGD", pixels), ("REVISE", latent))
    }
    assert closer == min(change, key=change.get), f"The largest change of a pixel: {change}."
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# closer = "PGD"
# ```
# </details>

# %% [markdown]
# **Exercise 2.** Ask the **second judge** about PGD's pictures. How many of them does it call a 9?

# %% tags=["exercise"]
fooled_too = ...

# %% tags=["check"]
if fooled_too is not ...:
    right = int((second_opinion(pixels.counterfactual) == 9).sum())
    assert fooled_too == right, "Use second_opinion(pixels.counterfactual)."
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# fooled_too = int((second_opinion(pixels.counterfactual) == 9).sum())
# ```
#
# The attack was made for one network. Another one mostly still sees the old digit.
# </details>

# %% [markdown]
# **Exercise 3.** `latent.do` names what REVISE sets. Which sites are they? Give a set of names. (One of them throws away what the code cannot
# draw.)

# %% tags=["exercise"]
sites = ...

# %% tags=["check"]
if sites is not ...:
    assert set(sites) == set(latent.do), "Look at latent.do.keys()."
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# sites = {"image.z", "image.eps"}
# ```
#
# The code z is moved, and the residual eps is set to 0: else the old digit would shine through.
# </details>
#
# ## What to keep
#
# - Every explanation is an intervention. Say on what: pixels, or the code of a model.
# - The classifier that is explained must not be the judge of the explanation.
# - A change can be small and still mean nothing. Look at the picture, and ask a second judge.
#
# Next: [9. A table: Adult](09_adult.ipynb).
