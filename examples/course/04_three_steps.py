# %% [markdown]
# # 4. Mechanisms and noise: three steps by hand
#
# **The question.** Joe did some homework and got a score. What would **Joe** have scored, had he done **twice** the homework?
#
# Not "what do students score who do so much homework". This question is about Joe. The example is from Pearl, Glymour and
# Jewell, *Causal Inference in Statistics: A Primer* (2016), section 4.2.

# %%
import causalcf as ccf
import matplotlib as mpl
import torch
from causalcf.plots.style import STYLE, WORLDS, new_figure

mpl.rcParams.update(STYLE)
graph = ccf.CausalGraph([("tutoring", "homework"), ("tutoring", "score"), ("homework", "score")])
graph.draw().figure

# %% [markdown]
# ## Mechanisms
#
# A graph says *what* decides a value. A **mechanism** says *how*. Here all three are lines; numbers are in standard
# deviations, so 0 is an average student.
#
# $$\text{tutoring} := u_1 \qquad \text{homework} := 0.5\,\text{tutoring} + u_2 \qquad
# \text{score} := 0.7\,\text{tutoring} + 0.4\,\text{homework} + u_3$$
#
# The **noise** u is all that we did not write down about a student: talent, sleep, luck. Two students with the same noise and the
# same tutoring have the same score. The noise is what makes Joe *Joe*.

# %%
joe = {"tutoring": 0.5, "homework": 1.0, "score": 1.5}


def homework(tutoring, u):
    return 0.5 * tutoring + u


def score(tutoring, homework, u):
    return 0.7 * tutoring + 0.4 * homework + u


# %% [markdown]
# ## Step 1: abduction. Who is Joe?
#
# We know Joe's values, so we can solve for his noise.

# %%
u1 = joe["tutoring"]
u2 = joe["homework"] - homework(joe["tutoring"], 0.0)
u3 = joe["score"] - score(joe["tutoring"], joe["homework"], 0.0)
print(f"u1 = {u1:.2f}, u2 = {u2:.2f}, u3 = {u3:.2f}")

# %% [markdown]
# Joe works more than his tutoring explains (u2 > 0) and scores more than his work explains (u3 > 0).
#
# ## Step 2: action. Change the model.
#
# Homework is set to 2. The arrow into it is cut: the old equation of `homework` is gone.

# %%
graph.draw(do=["homework"]).figure

# %% [markdown]
# ## Step 3: prediction. Run the changed model with Joe's noise.

# %%
tutoring_star = u1
homework_star = 2.0
score_star = score(tutoring_star, homework_star, u3)
print(f"Joe's score would have been {score_star:.2f}; it was {joe['score']:.2f}.")

figure = new_figure(6.2, 1.9, layout="constrained")
ax = figure.subplots()
for y, (t, h) in enumerate(((joe["tutoring"], joe["homework"]), (tutoring_star, homework_star))):
    left = 0.0
    parts = {"0.7 tutoring": 0.7 * t, "0.4 homework": 0.4 * h, "u3": u3}
    for (name, part), colour in zip(parts.items(), (WORLDS[0], WORLDS[1], "#a3abb8"), strict=True):
        ax.barh(y, part, left=left, color=colour, label=None if y else name)
        ax.text(left + part / 2, y, f"{part:.2f}", ha="center", va="center", color="white")
        left += part
ax.set_yticks([0, 1], ["as it was", "had homework been 2"])
ax.set(xlabel="Joe's score", ylim=(1.6, -0.6))
ax.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
figure

# %% [markdown]
# Compare with rung 2, where we set everybody's homework to 2. On average the noise is 0 and the tutoring is 0, so
# the average score is 0.4 · 2 = 0.8. **Joe's answer is 1.90, the average's is 0.80.** Both are right; they
# answer different questions.
#
# ## The same, learned from data
#
# In the world we do not know the equations. We see many students, and fit the mechanisms.

# %%
truth = ccf.datasets.synthetic.LinearGaussian(
    {("tutoring", "homework"): 0.5, ("tutoring", "score"): 0.7, ("homework", "score"): 0.4}
)
students = truth.sample(5000, seed=0)
linear = ccf.mechanisms.LinearGaussian()
scm = ccf.SCM(graph, mechanisms=dict.fromkeys(graph.nodes, linear)).fit(
    students, seed=0, progress=False
)

row = {name: [value] for name, value in joe.items()}
noise = scm.abduct(row)  # step 1
cf = scm.predict(noise, do={"homework": 2.0})  # steps 2 and 3
print(f"score: {cf['score'].item():.2f} (by hand {score_star:.2f})")
cf

# %% [markdown]
# `scm.counterfactual(row, do=...)` is the same three steps in one call. Here for 60 students at once: everyone's homework is set to 2,
# and every student moves in his own way, along lines of the same slope.

# %%
everyone = scm.counterfactual(students[:60], do={"homework": 2.0})
everyone.plot(kind="pair", nodes=("homework", "score"))

# %% [markdown]
# ## Exercises
#
# **Exercise 1.** Ann has tutoring 1.0, homework 0.0 and score 0.2. What is her noise u3?

# %% tags=["exercise"]
ann_u3 = ...

# %% tags=["check"]
if ann_u3 is not ...:
    assert abs(ann_u3 - (0.2 - score(1.0, 0.0, 0.0))) < 1e-6, (
        "Her score minus what the equation gives without noise."
    )
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# ann_u3 = 0.2 - (0.7 * 1.0 + 0.4 * 0.0)
# ```
#
# It is -0.5: she scored less than her tutoring and homework would make one expect.
# </details>

# %% [markdown]
# **Exercise 2.** What would *Joe's* score have been, had his **tutoring** been 1 instead of 0.5? Take care: what else moves?

# %% tags=["exercise"]
tutored = ...

# %% tags=["check"]
if tutored is not ...:
    right = score(1.0, homework(1.0, u2), u3)
    assert abs(tutored - right) < 1e-6, "Tutoring also changes the homework: use u2 again."
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# tutored = 0.7 * 1.0 + 0.4 * (0.5 * 1.0 + 0.75) + 0.75
# ```
#
# It is 1.95. His homework becomes 1.25, by the same noise u2 = 0.75; then the score follows both.
# </details>

# %% [markdown]
# **Exercise 3.** Ask the fitted model: by how much would each student's score move, had each done **half a unit more** homework
# than he did? Use `ccf.shift(0.5)` as the action. Give one number (they are all equal).

# %% tags=["exercise"]
moved = ...

# %% tags=["check"]
if moved is not ...:
    more = scm.counterfactual(students, do={"homework": ccf.shift(0.5)})
    each = more["score"] - more.factual["score"]
    assert torch.allclose(each, torch.as_tensor(float(moved)).to(each), atol=0.02), (
        "more['score'] - more.factual['score']"
    )
    print("Right.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# more = scm.counterfactual(students, do={"homework": ccf.shift(0.5)})
# moved = float((more["score"] - more.factual["score"]).mean())
# ```
#
# About 0.2 = 0.4 · 0.5. In a linear model the noise cancels, so all move alike. In other models they do not.
# </details>
#
# ## What to keep
#
# - A counterfactual takes three steps: **abduction** (who is this?), **action** (cut and set), **prediction** (run again).
# - The noise carries the person from one world into the other.
# - The answer for one person and the average over all are different numbers.
#
# Next: [5. The ladder on digits](05_the_ladder.ipynb).
