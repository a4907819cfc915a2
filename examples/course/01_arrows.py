# %% [markdown]
# # 1. What an arrow says
#
# **The question.** In these handwritten digits, thick strokes are bright and thin strokes are dark.
# If somebody makes a digit *brighter*, do its strokes become *thicker*?
#
# A table of numbers cannot answer this. A picture with arrows can.

# %%
import causalcf as ccf
import matplotlib as mpl
import networkx as nx
from causalcf.plots.style import STYLE, WORLDS, new_figure

mpl.rcParams.update(STYLE)
digits = ccf.datasets.Digits("test")
digits.graph

# %% [markdown]
# Read an arrow `cause → effect` like this:
#
# > If I set the **cause** from outside, the **effect** may change.
# > If I set the **effect** from outside, the **cause** stays as it is.
#
# The small circles `u` are the *noise*: all that also decides a value, and that we did not measure.

# %%
digits[:6]

# %% [markdown]
# ## The arrow that is not there
#
# An arrow allows an influence. A **missing** arrow forbids one, so it says more.
# There is no arrow between `digit` and `thickness`: sevens are not thicker than ones. Let us look.

# %%
figure = new_figure(7, 2.4, layout="constrained")
left, right = figure.subplots(1, 2)
left.scatter(digits["thickness"], digits["intensity"], s=6, color=WORLDS[0])
left.set(
    xlabel="thickness (px)", ylabel="intensity (grey levels)", title="an arrow: they go together"
)
right.boxplot(
    [digits["thickness"][digits["digit"] == k] for k in range(10)], tick_labels=list(range(10))
)
right.set(
    xlabel="digit", ylabel="thickness (px)", title="no arrow: every digit has all thicknesses"
)
figure

# %% [markdown]
# ## To act is to cut
#
# When we set `intensity` ourselves, thickness has no say in it any more. So the arrow into `intensity` is **cut**.
# All other arrows stay. This small surgery on the picture is the whole idea of `do(...)`.

# %%
digits.graph.draw(do=["intensity"]).figure

# %% [markdown]
# Now the answer to our question. A model that was fitted to such digits comes with causalcf. We ask it twice:
# we set the intensity, then we set the thickness, of the same four digits.

# %%
scm = ccf.pretrained("morphomnist-hvae")
x = digits[:4]
brighter = scm.counterfactual(x, do={"intensity": 230.0})
thicker = scm.counterfactual(x, do={"thickness": 4.0})
print("thickness before:                  ", [round(v, 2) for v in x["thickness"].tolist()])
print("thickness after do(intensity = 230):", [round(v, 2) for v in brighter["thickness"].tolist()])
print("intensity before:                  ", [round(v) for v in x["intensity"].tolist()])
print("intensity after do(thickness = 4): ", [round(v) for v in thicker["intensity"].tolist()])
thicker

# %% [markdown]
# **Answer.** No. Brighter digits keep their strokes. But thicker digits become bright: the arrow goes one way.
#
# ## Three small pictures
#
# With three nodes there are three ways to meet in the middle. Every graph is built of them.

# %%
figure = new_figure(9, 3)
for ax, name in zip(figure.subplots(1, 3), ("chain", "fork", "collider"), strict=True):
    ccf.load_graph(name).draw(noise=False, ax=ax)
    ax.set_title(name)
figure

# %% [markdown]
# | picture | the ends go together? | and when we look at one value of the middle only? |
# |---|---|---|
# | **chain** `a → b → c` | yes | no: the middle blocks the way |
# | **fork** `a ← b → c` | yes | no: the common cause explains it |
# | **collider** `a → b ← c` | no | **yes**: looking opens the way (page 3) |
#
# The rule for any graph is called *d-separation* (Pearl 2009, section 1.2.3). networkx knows it:

# %%
chain = ccf.load_graph("chain").networkx
print("exercise and pulse, nothing held:", nx.is_d_separator(chain, {"exercise"}, {"pulse"}, set()))
print(
    "exercise and pulse, fitness held:",
    nx.is_d_separator(chain, {"exercise"}, {"pulse"}, {"fitness"}),
)

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of `...`, then run the cell below it.
#
# **Exercise 1.** Which nodes of the digits' graph can change under do(intensity = 200)? Give a set of names, with
# `intensity` itself.

# %% tags=["exercise"]
changed = ...

# %% tags=["check"]
if changed is not ...:
    assert set(changed) == {"intensity", *digits.graph.descendants(["intensity"])}, (
        "Follow the arrows forwards only."
    )
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# changed = {"intensity", "image"}
# ```
#
# Only what lies *after* intensity along the arrows. Thickness lies before it; digit lies beside it.
# </details>

# %% [markdown]
# **Exercise 2.** Write this story as a list of arrows (cause, effect): *Sleep decides how much coffee I drink.
# Sleep and coffee both decide my mood.* Use the names `sleep`, `coffee`, `mood`.

# %% tags=["exercise"]
arrows = ...

# %% tags=["check"]
if arrows is not ...:
    story = ccf.CausalGraph(arrows)
    assert story.parents("mood") == ("sleep", "coffee"), (
        f"Mood has the causes {story.parents('mood')}."
    )
    assert story.parents("coffee") == ("sleep",), (
        f"Coffee has the causes {story.parents('coffee')}."
    )
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# arrows = [("sleep", "coffee"), ("sleep", "mood"), ("coffee", "mood")]
# ```
#
# Coffee and mood go together for two reasons: coffee causes mood, and sleep causes both.
# </details>

# %% [markdown]
# **Exercise 3.** In the fork `ice-cream ← temperature → drownings`: are ice cream and drownings separated when
# nothing is held? And when temperature is held? Answer with two truth values, such as `(True, True)`.

# %% tags=["exercise"]
separated = ...

# %% tags=["check"]
if separated is not ...:
    fork = ccf.load_graph("fork").networkx
    held = [
        nx.is_d_separator(fork, {"ice-cream"}, {"drownings"}, given)
        for given in (set(), {"temperature"})
    ]
    assert list(separated) == held, "Look at the table of the three pictures again."
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# separated = (False, True)
# ```
#
# Hot days sell ice cream, and fill the lakes. Among days of one temperature, nothing is left that ties them.
# </details>

# %% [markdown]
# ## What to keep
#
# - An arrow says what may change when we act. It does not say what goes together.
# - A missing arrow is a claim. It can be wrong, so it can be tested.
# - To act on a node is to cut the arrows into it.
#
# Next: [2. Seeing and doing](02_seeing_and_doing.ipynb).
