# %% [markdown]
# # 3. Colliders and selection
#
# **The question.** You are in a game show. A car stands behind one of three doors. You pick door 1. The host, who knows
# where the car is, opens door 3: no car. He lets you change to door 2. Do you?
#
# This is the *Monty Hall* problem. First the answer, then the reason.

# %%
import causalcf as ccf
import matplotlib as mpl
import torch
from causalcf.plots.style import STYLE, WORLDS, new_figure

mpl.rcParams.update(STYLE)
n, coin = 60_000, torch.Generator().manual_seed(0)
car = torch.randint(3, (n,), generator=coin)  # doors are 0, 1, 2
pick = torch.randint(3, (n,), generator=coin)


def host(car, pick):
    """The host opens a door that is neither the car's nor yours; of two such doors, one by a coin."""
    shuffled = torch.rand(len(car), 3, generator=coin)
    doors = torch.arange(3)
    shuffled[(doors == car[:, None]) | (doors == pick[:, None])] = -1.0
    return shuffled.argmax(1)


opened = host(car, pick)
stay, switch = (car == pick).float().mean(), (car == 3 - pick - opened).float().mean()
figure = new_figure(3.4, 2.3, layout="constrained")
ax = figure.subplots()
ax.bar_label(ax.bar(["stay", "change"], [stay, switch], color=WORLDS[:2]), fmt="{:.2f}")
ax.set(ylabel="share of games won", ylim=(0, 0.8))
figure

# %% [markdown]
# **Change.** It wins two games of three. Most people do not believe it at first, because the car and your pick are
# independent, and "he only opened an empty door".
#
# The picture tells why. Two arrows meet at the opened door: it is a **collider**.

# %%
door = ccf.Categorical(3)
graph = ccf.CausalGraph(
    [("car", "opened"), ("pick", "opened")], {"car": door, "pick": door, "opened": door}
)
graph.draw().figure

# %% [markdown]
# Car and pick are independent. But once we **look** at the opened door, they are not: if you picked 0 and he opened 2,
# then the car made him do so, unless it is behind your own door.

# %%
import pandas as pd

games = pd.DataFrame({"car": car, "pick": pick, "opened": opened})
you = games[games["pick"] == 0]
print(
    "P(car), you picked door 0:",
    (you["car"].value_counts(normalize=True).sort_index().round(2)).to_dict(),
)
third = you[you["opened"] == 2]
print(
    "... and the host opened 2:",
    (third["car"].value_counts(normalize=True).sort_index().round(2)).to_dict(),
)

# %% [markdown]
# ## Seeing a door open, and making it open
#
# Suppose the *wind* blows door 2 open, whatever lies behind it: do(opened = 2). The arrows into `opened` are cut. The door
# then tells nothing about the car.

# %%
few = {"car": car[:4000], "pick": pick[:4000], "opened": opened[:4000]}
scm = ccf.SCM(graph).fit(few, seed=0, progress=False)
drawn = scm.sample(40_000, seed=1)
seen = drawn["car"][(drawn["pick"] == 0) & (drawn["opened"] == 2)]
wind = scm.sample(40_000, do={"opened": 2}, seed=1)
wind = wind["car"][wind["pick"] == 0]
figure = new_figure(5.4, 2.3, layout="constrained")
titles = ("the host opened door 2", "the wind opened door 2")
for ax, values, title in zip(figure.subplots(1, 2, sharey=True), (seen, wind), titles, strict=True):
    share = torch.bincount(values, minlength=3) / len(values)
    ax.bar_label(
        ax.bar(["door 0\n(yours)", "door 1", "door 2"], share, color=WORLDS[0]), fmt="{:.2f}"
    )
    ax.set(title=title, ylim=(0, 0.85))
figure.axes[0].set_ylabel("the car is there")
figure

# %% [markdown]
# (The bars are draws of a model that was fitted to the games; it has seen no formula.) After the wind, door 2 hides the
# car in one game of three, as before.
#
# ## The same in your life
#
# Talent and beauty are independent. Who has much of both, together, becomes famous. Look at the famous only:

# %%
talent, beauty, luck = torch.randn(3, 2000, generator=coin)
famous = talent + beauty + 0.5 * luck > 1.5


def correlation(keep):
    """Correlation of talent and beauty in a part of the people."""
    return torch.corrcoef(torch.stack([talent[keep], beauty[keep]]))[0, 1].item()


figure = new_figure(3.8, 3.0, layout="constrained")
ax = figure.subplots()
ax.scatter(
    talent[~famous],
    beauty[~famous],
    s=4,
    color="#c3c9d3",
    label=f"others ({correlation(~famous):.1f})",
)
ax.scatter(
    talent[famous],
    beauty[famous],
    s=6,
    color=WORLDS[0],
    label=f"famous ({correlation(famous):.1f})",
)
ax.set(xlabel="talent", ylabel="beauty")
ax.legend(title="correlation", loc="lower left")
figure

# %% [markdown]
# Among the famous, the beautiful have less talent. Beauty does not harm talent: **we selected**.
# Whenever data are collected by a rule, ask which arrows meet in that rule: patients *in hospital*, papers that were
# *published*, users who *answered*.
#
# ## Exercises
#
# **Exercise 1.** A *drunk* host opens any door that is not yours, by a coin. You picked 0, he opened 2, and it was empty.
# What is the probability that you win if you change?

# %% tags=["exercise"]
drunk = ...

# %% tags=["check"]
if drunk is not ...:
    any_door = (pick + 1 + torch.randint(2, (n,), generator=coin)) % 3
    happened = (pick == 0) & (any_door == 2) & (car != 2)
    right = (car[happened] == 1).float().mean().item()
    assert abs(drunk - right) < 0.03, (
        f"In {int(happened.sum())} such games, changing won a share of {right:.2f}."
    )
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# drunk = 1 / 2
# ```
#
# He opened a door without knowing, so that it was empty speaks for your door as much as for the other one. You see the
# *same* door open; only the **mechanism** behind it is another. Data without a mechanism cannot tell the two shows apart.
# </details>

# %% [markdown]
# **Exercise 2.** Four doors. You pick one, the host opens one empty door of the other three, you change to one of the two
# that are left. What is the probability that you win?

# %% tags=["exercise"]
four_doors = ...

# %% tags=["check"]
if four_doors is not ...:
    assert abs(four_doors - (3 / 4) / 2) < 1e-3, (
        "The car is elsewhere with 3/4. Then two doors share that."
    )
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# four_doors = 3 / 8
# ```
#
# With probability 3/4 the car is not behind your door, and then it is behind one of two doors.
# </details>

# %% [markdown]
# **Exercise 3.** A hospital admits who has a broken leg **or** a fever (or both). In the town the two are independent.
# In the hospital, do people with a fever have broken legs *more* often or *less* often than people without?

# %% tags=["exercise"]
in_hospital = ...

# %% tags=["check"]
if in_hospital is not ...:
    leg, fever = torch.rand(2, 50_000, generator=coin) < torch.tensor([[0.1], [0.2]])
    admitted = leg | fever
    with_fever, without = (leg[admitted & f].float().mean() for f in (fever, ~fever))
    assert in_hospital == ("more" if with_fever > without else "less"), (
        "Who is in hospital without a fever?"
    )
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# in_hospital = "less"
# ```
#
# Without a fever, one is there *because* of the leg: all of them have a broken one. (Berkson, 1946.)
# </details>
#
# ## What to keep
#
# - A collider is closed by itself. Looking at it, or at what it causes, opens it.
# - Selection is looking. Data that were selected can show dependence that no cause has made.
# - Making a thing happen tells nothing about its causes. Seeing it happen does.
#
# Next: [4. Mechanisms and noise](04_three_steps.ipynb).
