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
# # 1 · How much of the network should be retrained?
#
# You have a network that was trained on something else, and a small set of new images. Between *new head,
# everything else frozen* and *train it all* lies a scale, and where the best place on it is depends on how many
# labels you have.
#
# Here: ResNet-18 pretrained on **letters rendered from fonts**, new data **real handwritten digits**. You will
#
# 1. fine-tune it layer by layer, and read the plots that a run leaves,
# 2. see what "frozen" means, in the weights themselves,
# 3. see why training with frozen blocks is nearly free,
# 4. measure accuracy against depth and number of labels.
#
# The first run on a machine pretrains the letters once (a minute or two) and keeps them.

# %%
# %matplotlib inline
import os

import matplotlib.pyplot as plt
import numpy as np
from omegaconf import OmegaConf

from tlcl.api import Run, rows, run

QUICK = "TLCL_NOTEBOOK_QUICK" in os.environ  # a short run, for tests; the text speaks of the full one
EPOCHS, LAYER4, LAYER3 = (3, 1, 2) if QUICK else (18, 6, 12)
DEPTHS, SIZES, GRID_EPOCHS = ([0, 2], [50], 1) if QUICK else ([0, 1, 2, 5], [50, 200, 600], 12)
BASICS = ["logger=none", "data.crop_padding=0", *(["data.train_size=150"] if QUICK else [])]

# %% [markdown]
# ## The two domains
#
# Both are 8 × 8 grey images of pen- or font-like strokes. The shapes differ, the strokes do not: that is what
# makes early layers worth keeping.

# %%
from tlcl.data.sources.digits import load_digits
from tlcl.data.sources.letters import load_letters

letters, digits = load_letters(images_per_class=4).pool, load_digits().pool
figure, axes = plt.subplots(2, 12, figsize=(11, 2.1))
for row, (name, source) in zip(axes, {"letters": letters, "digits": digits}.items(), strict=True):
    for place, axis in zip(np.linspace(0, len(source) - 1, 12).astype(int), row, strict=True):
        axis.imshow(source.images[place, 0], cmap="gray")
        axis.set_title(source.classes[source.labels[place]], fontsize=9)
        axis.axis("off")
    row[0].text(-3, 4, name, ha="right", va="center")

# %% [markdown]
# ## Layer by layer
#
# The network is a chain of blocks, `stem → layer1 → layer2 → layer3 → layer4 → head`. The set of blocks that are
# trained is a function of the epoch $e$, given by milestones:
#
# $$T(e) = \bigcup_{m \le e} \text{blocks that thaw at } m$$
#
# The head comes first: while it is still random, its gradients would only spoil the blocks below. Each block
# further from the head learns at half the rate of the one above it (`optim.block_lr_decay`).
#
# `run([...])` is the command line `tlcl train ...`, word for word; its result is the directory that the run
# leaves.

# %%
tuned = run(
    [
        "thaw=milestones", "+thaw.0=[head]", f"+thaw.{LAYER4}=[layer4]", f"+thaw.{LAYER3}=[layer3]",
        f"trainer.epochs={EPOCHS}", "name=layerwise", *BASICS,
    ]
)  # fmt: skip
print(tuned)
print(OmegaConf.to_yaml(tuned.config.thaw))

# %% [markdown]
# ### The curves
#
# Read them from milestone to milestone (the dashed lines). A step upwards in the *validation* curve just after a
# line says that this block had something to learn. If only the *training* curve moves, the new freedom is spent
# on memorising; you could have stopped one milestone earlier.

# %%
tuned.plot("curves")

# %% [markdown]
# ### Who was trained when
#
# Grey is frozen. The colours are learning rates, on a logarithmic scale: a cosine takes them to zero.

# %%
tuned.plot("thaw")

# %% [markdown]
# ### Which classes, which images
#
# The checkpoint was chosen on 100 validation images; the 400 test images are looked at once, at the end. A row of
# the confusion matrix is a true class. The surest mistakes are the first thing to look at with data of your own:
# they are where wrong labels show.

# %%
tuned.plot("confusion")

# %%
tuned.plot("mistakes")

# %% [markdown]
# ### How sure is that number?
#
# $n$ test images of which a share $p$ is right give it a standard error of
#
# $$\mathrm{SE} = \sqrt{p\,(1-p)/n}$$
#
# Differences between runs that are smaller than about two of these mean nothing. (A second source of noise is the
# seed; `seed=1` shows it.)

# %%
accuracy, tested = tuned.summary["test_acc"], tuned.summary["test_size"]
error = np.sqrt(accuracy * (1 - accuracy) / tested)
print(f"test accuracy {accuracy:.1%} ± {error:.1%} on {tested} images")

# %% [markdown]
# Everything above, and more, is in one page, `report.html` in the run's directory. Open it in a browser.

# %% [markdown]
# ## What "frozen" means
#
# No gradient, no weight decay, no momentum, and BatchNorm statistics that do not move. So the frozen blocks after
# the run must be *equal* to the pretrained ones. The run's directory has the weights, under torchvision's own
# names:

# %%
from safetensors.torch import load_file

before, after = load_file(tuned.summary["weights"]["path"]), load_file(tuned.path / "model.safetensors")
blocks = {"stem": ("conv1", "bn1"), **{f"layer{number}": (f"layer{number}.",) for number in range(1, 5)}}
for block, names in blocks.items():
    keys = [key for key in after if key.startswith(names) and after[key].is_floating_point()]
    moved = sum(float((after[key] - before[key]).norm() ** 2) for key in keys) ** 0.5
    length = sum(float(before[key].norm() ** 2) for key in keys) ** 0.5
    print(f"{block:7} {len(keys):3d} tensors, relative change {moved / length:.6f}")

# %% [markdown]
# Exactly zero for the blocks that never thawed. And where did the blocks that did thaw move to? The report
# compares what each block *answers* before and after; weights may move a lot and answers little.

# %% [markdown]
# ## Frozen blocks are computed once
#
# While $f_{\text{frozen}}$ does not change, neither does $z_i = f_{\text{frozen}}(x_i)$ of image $i$. So $z_i$ is
# computed once, kept, and every epoch trains on $z_i$ alone. Turn that off and compare: the same losses, another
# time.

# %%
head_only = ["thaw.depth=0", f"trainer.epochs={GRID_EPOCHS}", *BASICS]
cached = run([*head_only, "name=cached"])
computed = run([*head_only, "name=computed_every_epoch", "data.cache_prefix=off"])
print("the same metrics in every epoch:", cached.metrics == computed.metrics)
for one in (cached, computed):
    parts = one.summary["seconds_by_part"]
    print(f"{one.config.name:21} {parts['prefix'] + parts['tail']:5.2f} s in the network")

# %%
computed.plot("time")

# %% [markdown]
# Random crops are new in every epoch and cannot be kept, which is why this notebook sets `data.crop_padding=0`.
# (There is a way between, `data.cached_views=8`: eight fixed crops of each image.)

# %% [markdown]
# ## Depth against number of labels
#
# `thaw.depth=N` trains the head and the last $N$ backbone blocks from the start: 0 is the head alone, 5 is
# everything. Now a small grid; where blocks are frozen, the cache makes it quick. On a command line it is
# `tlcl train -m thaw.depth=0,1,2,5 data.train_size=50,200,600 ...`.

# %%
grid = [
    run(
        [*BASICS, f"thaw.depth={depth}", f"data.train_size={size}", f"trainer.epochs={GRID_EPOCHS}",
         "data.batch_size=16", "name=grid"]
    )
    for size in SIZES
    for depth in DEPTHS
]  # fmt: skip

# %%
from tlcl.reports.plots.sweep import heat_map, lines

cells = rows(grid, ["data.train_size", "thaw.depth"])
heat_map(cells, across="thaw.depth", down="data.train_size")

# %%
lines(cells, along="thaw.depth")

# %% [markdown]
# The frame marks what the *validation* images choose in each row, as you would have to; now and then the test
# images would have chosen otherwise, within the error above.
#
# How to read it:
#
# - **Down a column**, more labels help everyone.
# - **Along a row**, the curve rises as long as the pretrained features are worse than what can be learnt from
#   these labels, and falls when there are too few labels for the freedom given.
# - The **gap between depth 0 and the best depth** is the price of leaving the backbone as it is. Compare it with
#   what it costs: the head alone trains in a fraction of the time.

# %%
print("depth  labels  trained weights  test accuracy  seconds in the network")
for one in grid:
    summary = one.summary
    seconds = summary["seconds_by_part"]["prefix"] + summary["seconds_by_part"]["tail"]
    trained, labels = summary["parameters"]["trained"], summary["train_size"]
    print(f"{one.config.thaw.depth:5} {labels:7} {trained:16,} {summary['test_acc']:14.1%} {seconds:12.1f}")

# %% [markdown]
# ## Questions
#
# 1. Why does the head thaw first? Try `+thaw.0=[head,layer4,layer3]` and look at the first epochs.
# 2. What are the letters worth? `model.weights=none thaw=all optim.block_lr_decay=1.0` starts from nothing. With
#    how many labels does it catch up?
# 3. One seed is one draw of 50 labels. Run the grid with `seed=1` and `seed=2` as well and give all runs to
#    `rows`: it pools the seeds, and the plots get bands. Which differences survive?
# 4. `optim.block_lr_decay=1.0` gives all blocks the same rate. Better or worse at depth 5 with 50 labels?
#
# A run that was made before, by whatever means, is opened by its directory:

# %%
again = Run(tuned.path)
print(again.summary["test_acc"] == tuned.summary["test_acc"], again.summary["trained_blocks"])

# %% [markdown]
# Next: [what such a network forgets](2_forgetting_and_cures.ipynb) when the classes come one after another.
