# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2 · What does the network forget, and what stops it?
#
# A network that knows ten digits is trained on *0 and 1* alone, then on *2 and 3* alone, and so on. After each
# task it is tested on all classes so far, and may answer any of them. You will
#
# 1. watch the accuracy fall,
# 2. read the accuracy matrix and compute forgetting and backward transfer from it, by the formulas,
# 3. put methods side by side that stop the fall: rehearsal (`er`), and closed-form heads on frozen features
#    (`slda`, `ranpac`).

# %%
# %matplotlib inline
import os

import matplotlib.pyplot as plt
import numpy as np

from tlcl.api import run
from tlcl.continual.metrics import (
    average_incremental_accuracy,
    backward_transfer,
    cumulative_accuracy,
    forgetting,
)
from tlcl.reports.compare import verdict_of

QUICK = "TLCL_NOTEBOOK_QUICK" in os.environ  # a short run, for tests; the text speaks of the full one
EPOCHS, TASK_EPOCHS = (2, 1) if QUICK else (12, 3)
METHODS = ["naive", "slda"] if QUICK else ["naive", "er", "slda", "ranpac projection=500", "joint"]
BASICS = ["logger=none", "data.crop_padding=0", *(["data.train_size=150"] if QUICK else [])]

# %% [markdown]
# ## A network that knows all ten digits
#
# First the fine-tuned network of [notebook 1](1_layerwise_finetuning.ipynb), a little shorter.

# %%
tuned = run(
    [
        "thaw=milestones", "+thaw.0=[head]", f"+thaw.{EPOCHS // 3 or 1}=[layer4,layer3]",
        f"trainer.epochs={EPOCHS}", "name=tuned", *BASICS,
    ]
)  # fmt: skip
print(tuned)

# %% [markdown]
# ## The same digits again, two at a time
#
# The network keeps its trained head (`continual.head=kept`) and is trained on task after task. It knows
# everything already, and each task has only its own images: nothing *new* is learnt, so whatever is lost is
# forgotten. `method=naive` does nothing against it.

# %%
falls = run(
    [
        "+experiment=continual_digits", f"model.weights={tuned.path}", "continual.head=kept", "method=naive",
        "optim.lr=0.03", f"trainer.epochs={TASK_EPOCHS}", "name=naive_kept_head", *BASICS,
    ]
)  # fmt: skip
falls.plot("cumulative")

# %% [markdown]
# The newest task is known almost perfectly (orange), while the accuracy on all classes so far (blue) falls. The
# network has not become bad at telling digits apart; it has learnt that the answer is always one of the last two.

# %% [markdown]
# ## The accuracy matrix
#
# $R_{ij}$ is the accuracy on the test images of task $j$ after training on task $i$. Everything else is a
# function of this one table. Read it **down a column**: that is one task's memory over time.

# %%
falls.plot("matrix")

# %% [markdown]
# With $n_j$ test images in task $j$ and $T$ tasks:
#
# $$\text{cumulative accuracy:}\quad C_i = \frac{\sum_{j \le i} n_j R_{ij}}{\sum_{j \le i} n_j}
# \qquad\qquad \text{forgetting:}\quad f_j = \max_{j \le i < T} R_{ij} - R_{Tj}$$
#
# $$\text{backward transfer:}\quad \mathrm{BWT} = \frac{1}{T-1} \sum_{j < T} \left( R_{Tj} - R_{jj} \right)$$
#
# $f_j$ compares the end with the *best* moment since the task was trained, $\mathrm{BWT}$ with the moment right
# after it. $\mathrm{BWT}$ may be positive: later tasks can help earlier ones.

# %%
measured = falls.matrix
R, sizes = measured.matrix, measured.sizes
print("tasks              ", "  ".join("+".join(classes) for classes in measured.tasks))
print("cumulative accuracy", np.round(cumulative_accuracy(R, sizes), 3))
print("forgetting by task ", np.round(forgetting(R), 3), " mean", round(forgetting(R).mean(), 3))
print("backward transfer  ", round(backward_transfer(R), 3))

# %% [markdown]
# The same by hand, from the formulas, and from the run's own record:

# %%
last = len(R) - 1
by_hand = np.mean([R[j:last, j].max() - R[last, j] for j in range(last)])
print(by_hand, forgetting(R).mean(), falls.summary["forgetting"])

# %% [markdown]
# ## Cures
#
# Now from the backbone that knows letters only, with a new head, as one would meet a new problem:
#
# - **`naive`** is the lower end of the scale.
# - **`er`**, experience replay: a buffer of 200 images, a fair sample of all that came by (reservoir sampling:
#   the $n$-th image enters with probability $200/n$). Each step trains on a batch of the task and one from the
#   buffer.
# - **`slda`**: the backbone stays frozen; class means $\mu_k$ and one covariance $\Sigma$ of the features are
#   updated image by image. An image goes to the class with the largest $\mu_k^\top \Sigma^{-1} z - \frac{1}{2}
#   \mu_k^\top \Sigma^{-1} \mu_k$. Sums do not depend on the order in which they are added, so there is nothing to
#   forget.
# - **`ranpac`**: ridge regression on $\mathrm{relu}(W z)$ with a random $W$; again only sums are kept.
# - **`joint`**: all classes at once, which no continual learner can do: the upper end.
#
# One job runs them one after another and makes the table.

# %%
cures = run(
    [
        "+experiment=continual_compare", f"compare.methods={METHODS!r}", "compare.seeds=[0]",
        f"trainer.epochs={TASK_EPOCHS}", "name=cures", *BASICS,
    ]
)  # fmt: skip
for row in cures.table:
    lost = "     -" if row["forgetting"] is None else f"{row['forgetting']:6.3f}"
    final, seconds = row["final_accuracy"], row["seconds"]
    print(f"{row['method']:22} all classes {final:6.1%}   forgetting {lost}   {seconds:5.1f} s")
print(verdict_of(cures.path))

# %%
cures.plot("curves")

# %% [markdown]
# The matrices beside each other. Without a cure only the diagonal is bright: each task is known until the next
# one comes. With one, the lower triangle stays bright.

# %%
streams = {name: one.matrix for name, one in cures.runs.items() if not name.startswith("joint")}
figure, axes = plt.subplots(1, len(streams), figsize=(3 * len(streams), 3.1), layout="constrained", squeeze=False)
for axis, (name, stream) in zip(axes[0], streams.items(), strict=True):
    image = axis.imshow(stream.matrix, vmin=0, vmax=1, cmap="viridis")
    axis.set_title(name.split("_")[0])
    axis.set_xlabel("tested on task")
    axis.set_xticks(range(len(R)), range(1, len(R) + 1))
    axis.set_yticks(range(len(R)), range(1, len(R) + 1))
axes[0, 0].set_ylabel("after training on task")
bar = figure.colorbar(image, ax=axes, label="accuracy", shrink=0.9)

# %%
print(f"{'':22} average incremental   forgetting   backward transfer")
for name, stream in streams.items():
    matrix = stream.matrix
    print(
        f"{name:22} {average_incremental_accuracy(matrix, stream.sizes):19.3f} "
        f"{forgetting(matrix).mean():12.3f} {backward_transfer(matrix):19.3f}"
    )

# %% [markdown]
# ## What to make of it
#
# - Rehearsal works with few images: 200 here are about 20 a class. It costs memory, training time, and that you
#   may keep the images at all.
# - The closed-form methods never forget *by construction*; what they cannot do is improve the features. They are
#   as good as the backbone: the letters happen to suit digits. That is a question about your data, which notebook
#   1's head-only figure answers before you start.
# - Numbers without the ends of the scale say little: report `naive` and `joint` beside every method.
#
# ## Questions
#
# 1. How small may the buffer be? `compare.methods=['er buffer_size=20','er buffer_size=100','er
#    buffer_size=500']`.
# 2. If the task of a test image is known (`continual=task_incremental`), what does `naive` forget? Why so much
#    less?
# 3. Penalties on weights (`ewc`, `si`) and distillation (`lwf`) keep no images. Do they help here? What about
#    question 2's setting?
# 4. Does the order matter? `continual.class_order=shuffled` with a few seeds.
# 5. `der` keeps logits besides images. Compare it with `er` at a buffer of 50.
#
# Next: [new images without labels](3_domain_adaptation.ipynb).
