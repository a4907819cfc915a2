# %% [markdown]
# # 2. Seeing and doing
#
# **The question.** Doctors compare two treatments of kidney stones, A and B. For *small* stones A heals more often.
# For *large* stones A heals more often. For *all* patients together, B heals more often.
# Which treatment do you take?
#
# The numbers are real (Charig and others, British Medical Journal, 1986).

# %%
import causalcf as ccf
import matplotlib as mpl
import pandas as pd
from causalcf.plots.style import STYLE, WORLDS, new_figure

mpl.rcParams.update(STYLE)
counts = pd.DataFrame(
    [
        ("small", "A", 81, 87),
        ("small", "B", 234, 270),
        ("large", "A", 192, 263),
        ("large", "B", 55, 80),
    ],
    columns=["stone", "treatment", "healed", "patients"],
)
figure = new_figure(6.4, 2.6, layout="constrained")
panels = figure.subplots(1, 3, sharey=True)
for ax, (title, part) in zip(
    panels, [*counts.groupby("stone"), ("everybody", counts)], strict=True
):
    total = part.groupby("treatment")[["healed", "patients"]].sum()
    share = total["healed"] / total["patients"]
    bars = ax.bar(share.index, share, color=[WORLDS[0], WORLDS[1]])
    ax.bar_label(
        bars,
        [f"{s:.0%}\n{n} patients" for s, n in zip(share, total["patients"], strict=True)],
        fontsize=7,
    )
    ax.set(title=title if title == "everybody" else f"{title} stones", ylim=(0, 1.15))
panels[0].set_ylabel("share healed")
figure

# %% [markdown]
# This is **Simpson's paradox**. Look at the numbers of patients: large stones, which heal less often, were mostly given
# A. So A was given to the harder cases.
#
# In arrows: the size of the stone decides the treatment **and** the healing. Size is a *confounder*.

# %%
graph = ccf.CausalGraph([("stone", "treatment"), ("stone", "healed"), ("treatment", "healed")])
graph.draw().figure

# %% [markdown]
# ## Two different questions
#
# - **Seeing**: among the patients *who got A*, how many healed? P(healed | treatment = A).
# - **Doing**: if we *give* A to everybody, how many heal? P(healed | do(treatment = A)).
#
# To do is to cut the arrow `stone → treatment`. Then the stones of the treated are those of all patients.
# We can do this sum by hand: the healing of each size, weighed by how common **that size is among everybody**.
#
# $$P(\text{healed} \mid do(A)) = \sum_{\text{size}} P(\text{healed} \mid A, \text{size}) \, P(\text{size})$$

# %%
by_size = counts.set_index(["stone", "treatment"])
size = counts.groupby("stone")["patients"].sum() / counts["patients"].sum()
heals = by_size["healed"] / by_size["patients"]
for treatment in ("A", "B"):
    both = counts[counts["treatment"] == treatment]
    seen = both["healed"].sum() / both["patients"].sum()
    done = sum(heals[s, treatment] * size[s] for s in ("small", "large"))
    print(f"{treatment}: seeing {seen:.3f}, doing {done:.3f}")

# %% [markdown]
# Seeing prefers B. Doing prefers A. **Take A**: you do not care who got which treatment, but what it does to you.
#
# ## The same with a model
#
# We write the 700 patients as a table of rows, fit a model of the graph, and ask both questions.

# %%
rows = []
for stone, treatment, healed, patients in counts.itertuples(index=False):
    rows += [(stone, treatment, i < healed) for i in range(patients)]
patients = pd.DataFrame(rows, columns=["stone", "treatment", "healed"])
scm = ccf.SCM(graph).fit(patients, seed=0, validation=patients, progress=False)

drawn = scm.sample(20_000, seed=1)
for code, treatment in enumerate(scm.variables["treatment"].categories):
    seen = drawn["healed"][drawn["treatment"] == code].float().mean()
    done = scm.sample(20_000, do={"treatment": treatment}, seed=1)["healed"].float().mean()
    print(f"{treatment}: seeing {seen:.2f}, doing {done:.2f}")

# %% [markdown]
# The model's mechanisms, with the data: lines hold the size of the stone, rings do not. Where line and ring differ,
# seeing and doing differ.

# %%
scm.plot(patients, nodes=["healed"])

# %% [markdown]
# ## How strong must the confounder be?
#
# Suppose doctors choose A for a large stone with probability p, and for a small stone with probability 1 - p.
# With p = 0.5 they toss a coin: a randomised trial. Nothing is confounded, and seeing *is* doing.

# %%
ps = [i / 20 for i in range(1, 20)]


def difference(p):
    """How much better A looks than B when A is chosen so."""
    chance = {"large": p, "small": 1 - p}

    def seen(treatment):
        weight = {s: size[s] * (chance[s] if treatment == "A" else 1 - chance[s]) for s in chance}
        return sum(weight[s] * heals[s, treatment] for s in chance) / sum(weight.values())

    return seen("A") - seen("B")


figure = new_figure(4.6, 2.5, layout="constrained")
ax = figure.subplots()
ax.plot(ps, [difference(p) for p in ps], color=WORLDS[0], label="seeing: A minus B")
ax.axhline(
    sum((heals[s, "A"] - heals[s, "B"]) * size[s] for s in size.index),
    color=WORLDS[1],
    label="doing: A minus B",
)
ax.axhline(0, color="black", lw=0.5)
ax.set(xlabel="probability that a large stone is given A", ylabel="difference of healing")
ax.legend()
figure

# %% [markdown]
# ## Exercises
#
# **Exercise 1.** In another hospital 80 % of the stones are large; the treatments work there as here.
# What is P(healed | do(treatment = A)) there?

# %% tags=["exercise"]
there = ...

# %% tags=["check"]
if there is not ...:
    right = 0.8 * heals["large", "A"] + 0.2 * heals["small", "A"]
    assert abs(there - right) < 1e-3, (
        "Weigh the healing of each size by how common the size is there."
    )
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# there = 0.8 * 192 / 263 + 0.2 * 81 / 87
# ```
#
# About 0.77, lower than here: more cases are hard. The treatment is not worse.
# </details>

# %% [markdown]
# **Exercise 2.** For which p in the last figure do seeing and doing agree? Give the number.

# %% tags=["exercise"]
agree = ...

# %% tags=["check"]
if agree is not ...:
    done = sum((heals[s, "A"] - heals[s, "B"]) * size[s] for s in size.index)
    assert abs(difference(agree) - done) < 0.005, "Where do the two lines cross?"
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# agree = 0.5
# ```
#
# At p = 0.5 the size of the stone does not decide the treatment: the arrow is gone, as after do().
# </details>

# %% [markdown]
# **Exercise 3.** Now another story with the same numbers. The treatment comes **first**, and it changes the stone:
# `treatment → stone`, `stone → healed`, `treatment → healed`. Which treatment heals more of those who are given it?
# Answer `"A"` or `"B"`.

# %% tags=["exercise"]
better = ...

# %% tags=["check"]
if better is not ...:
    other = ccf.SCM([("treatment", "stone"), ("stone", "healed"), ("treatment", "healed")])
    other.fit(patients, seed=0, validation=patients, progress=False)
    give = {
        t: other.sample(20_000, do={"treatment": t}, seed=1)["healed"].float().mean()
        for t in ("A", "B")
    }
    assert better == max(give, key=give.get), (
        "Nothing causes the treatment in this story. What is there to adjust for?"
    )
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# better = "B"
# ```
#
# Now nothing confounds treatment and healing, so seeing is doing, and B heals 83 % against 78 %. The *same* numbers, another
# graph, another answer: **the data alone cannot tell you which**.
# </details>
#
# ## What to keep
#
# - Seeing mixes two things: what the treatment does, and who gets it.
# - Doing asks about the treatment alone. With the confounder measured, we can compute it without a trial.
# - Whether to adjust is a question about arrows, not about numbers.
#
# Next: [3. Colliders and selection](03_colliders.ipynb).
