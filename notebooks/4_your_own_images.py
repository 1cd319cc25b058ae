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
# # 4 · Your own images
#
# A folder with one folder a class is all that is needed. This notebook writes such a folder, of drawn shapes, so
# that it runs anywhere; **replace one path** and it works on yours. You will
#
# 1. look at the folder, and at what happens to files that are no images,
# 2. fine-tune an ImageNet network on it, which takes seconds,
# 3. classify new images, see how sure the network is of them, and where it looks.
#
# The network is EfficientNet-Lite0, whose ImageNet weights come with `tlcl`.

# %%
# %matplotlib inline
# %config InlineBackend.figure_formats = ["jpeg"]
import csv
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tlcl.api import run
from tlcl.errors import UserError
from tlcl.reports.report import report_pair

QUICK = "TLCL_NOTEBOOK_QUICK" in os.environ  # a short run, for tests; the text speaks of the full one
EACH, EPOCHS, SIZE = (12, 3, 48) if QUICK else (50, 12, 96)

IMAGES = Path("shapes")  # <- your own folder: IMAGES/CLASS/*.jpg
NEW = Path("new")  # <- images to be classified afterwards

# %% [markdown]
# ## A folder of images
#
# Circles, hexagons, squares, stars and triangles, of any colour, size and place, on a noisy ground. Skip this
# cell with your own images.


# %%
def drawn(shape: str, random: np.random.Generator) -> Image.Image:
    """One image of 80 x 80 pixels."""
    ground, colour = random.integers(0, 256, 3), random.integers(0, 256, 3)
    while np.abs(ground - colour).sum() < 90:
        colour = random.integers(0, 256, 3)
    image = Image.new("RGB", (80, 80), tuple(map(int, ground)))
    (x, y), radius, turn = random.uniform(28, 52, 2), random.uniform(8, 22), random.uniform(0, 2 * np.pi)
    corners = {"circle": 60, "hexagon": 6, "square": 4, "star": 10, "triangle": 3}[shape]
    angles = turn + 2 * np.pi * np.arange(corners) / corners
    lengths = np.where(np.arange(corners) % 2, 0.45, 1.0) if shape == "star" else np.ones(corners)
    outline = [
        (x + radius * length * np.cos(angle), y + radius * length * np.sin(angle))
        for angle, length in zip(angles, lengths, strict=True)
    ]
    ImageDraw.Draw(image).polygon(outline, fill=tuple(map(int, colour)))
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(1)), dtype=float) + random.normal(0, 12, (80, 80, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


random = np.random.default_rng(0)
for shape in ("circle", "hexagon", "square", "star", "triangle"):
    for folder, count in ((IMAGES / shape, EACH), (NEW, 3)):
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            drawn(shape, random).save(folder / f"{shape}_{number:02}.png")

# %%
classes = sorted(folder.name for folder in IMAGES.iterdir() if folder.is_dir())
figure, axes = plt.subplots(len(classes), 10, figsize=(10, 1.05 * len(classes)), squeeze=False)
for row, name in zip(axes, classes, strict=True):
    files = sorted(file for file in (IMAGES / name).iterdir() if file.is_file())
    row[0].text(-0.15, 0.5, f"{name} ({len(files)})", ha="right", va="center", transform=row[0].transAxes)
    for axis in row:
        axis.axis("off")
    for axis, file in zip(row, files, strict=False):
        axis.imshow(Image.open(file))

# %% [markdown]
# ## Files that are no images
#
# A download that broke off, a text file with the wrong ending: every collection has some. By default a run stops
# before it begins and names *all* of them in one sentence, so that you can look at them. From Python that
# sentence is a `UserError`, and so is every other mistake in a config.

# %%
(IMAGES / classes[0] / "broken.png").write_bytes(b"no picture at all")
FOLDER = [
    "data=image_folder", f"data.train={IMAGES}", f"data.size={SIZE}", "data.crop_padding=0", "data.batch_size=16",
    "model=efficientnet_lite0", f"model.input_size={SIZE}", "logger=none",
]  # fmt: skip
try:
    run(FOLDER)
except UserError as error:
    print(error)

# %% [markdown]
# With `data.on_bad_image=skip` they are left out, and the record says how many.
#
# ## Fine-tune
#
# A fifth of the images is held out as the test set, the same for every seed; a tenth of the rest chooses the
# checkpoint. First the head alone. The frozen part is computed once for each image and its mirror image
# (`data.flip`, on by default for folders), so the epochs cost nearly nothing.

# %%
SHAPES = [*FOLDER, "data.on_bad_image=skip", "optim.name=adamw", "optim.lr=0.003", f"trainer.epochs={EPOCHS}"]
head_only = run([*SHAPES, "thaw.depth=0", "name=head_only"])
print(head_only)
print("files left out:", head_only.summary["skipped_images"])

# %% [markdown]
# Then the last block as well, gently, from two thirds of the epochs on:

# %%
deeper = run(
    [*SHAPES, "thaw=milestones", "+thaw.0=[head]", f"+thaw.{2 * EPOCHS // 3}=[layer4]", "name=deeper",
     "+optim.block_lr.layer4=0.0003"]
)  # fmt: skip
print(deeper)
deeper.plot("curves")

# %% [markdown]
# Did it help? The test images must not decide which of the two is used: the validation images do. Among equals
# the one that trains less is the better choice. Whether the two differ by more than chance is another question;
# `tlcl report A B` answers it on the same test images, and says how many would tell where these cannot.

# %%
for one in (head_only, deeper):
    summary = one.summary
    seconds = summary["seconds_by_part"]["prefix"] + summary["seconds_by_part"]["tail"]
    print(f"{one.config.name:10} validation {summary['selected']['val_acc']:.1%}, {seconds:.1f} s in the network")
chosen = max((head_only, deeper), key=lambda one: one.summary["selected"]["val_acc"])
print("chosen:", chosen)
print(report_pair(head_only.path, deeper.path, Path("pair.html")))

# %%
chosen.plot("confusion")

# %% [markdown]
# ## New images
#
# `predict` decodes new files just as the training images were decoded. On a command line: `tlcl predict RUN_DIR
# new/ --csv predictions.csv`.

# %%
answers = chosen.predict(NEW)
columns = min(5, len(answers))
figure, axes = plt.subplots(-(-len(answers) // columns), columns, figsize=(1.75 * columns, 5.8), squeeze=False)
for axis in axes.flat:
    axis.axis("off")
for axis, answer in zip(axes.flat, answers, strict=False):
    axis.imshow(Image.open(answer["file"]))
    axis.set_title(f"{answer['prediction']}, {answer['confidence']:.0%}", fontsize=9)

# %% [markdown]
# ## Where it looks
#
# Grad-CAM weighs the channels $A^k$ of a late block by how much the class's score $y$ depends on them, and adds
# them up: bright places speak for the class.
#
# $$\alpha_k = \frac{1}{Z} \sum_{ij} \frac{\partial y}{\partial A^k_{ij}}, \qquad
# L = \mathrm{ReLU}\Big(\sum_k \alpha_k A^k\Big)$$
#
# A map that lights up on the ground, a corner or a watermark is a warning: the network may have learnt how the
# pictures were taken. `explain` also finds the training images whose features are nearest, and makes a page of it
# all (`tlcl explain RUN_DIR new/` on a command line).

# %%
page = chosen.explain(NEW, neighbours=3)
overlays = sorted((page.parent / "overlays").glob("*.png"))
figure, axes = plt.subplots(-(-len(overlays) // columns), columns, figsize=(1.6 * columns, 5.2), squeeze=False)
for axis in axes.flat:
    axis.axis("off")
for axis, file, answer in zip(axes.flat, overlays, answers, strict=False):
    axis.imshow(Image.open(file))
    axis.set_title(answer["prediction"], fontsize=9)

# %%
with open(page.parent / "explain.csv") as table:
    for row in list(csv.DictReader(table))[:5]:
        near = ", ".join(f"{row[f'class_{rank}']} ({float(row[f'distance_{rank}']):.2f})" for rank in (1, 2, 3))
        print(f"{row['file']:24} {row['prediction']:9} nearest: {near}")

# %% [markdown]
# **Confidence is not knowledge.** The network can only choose among its classes, and a picture of something else
# gets one of their names as well:

# %%
odd = Path("odd")
odd.mkdir(exist_ok=True)
Image.effect_noise((80, 80), 60).convert("RGB").save(odd / "noise.png")
Image.linear_gradient("L").resize((80, 80)).convert("RGB").save(odd / "gradient.png")
for answer in chosen.predict(odd):
    print(f"{answer['file']:17} {answer['prediction']:9} {answer['confidence']:.0%}")

# %% [markdown]
# ## Which weights to begin with
#
# Is a network that knows photographs the right one? The same images, the head alone, from ImageNet and from
# nothing:

# %%
nothing = run([*SHAPES, "model.weights=none", "thaw.depth=0", "name=random_features"])
for one in (head_only, nothing):
    print(f"{one.config.name:16} {one.summary['test_acc']:.1%} of {one.summary['test_size']} test images")
print(report_pair(nothing.path, head_only.path, Path("weights.html")))

# %% [markdown]
# ## Questions
#
# 1. How few images a class are enough? `data.train_size=40` (it is the total).
# 2. `data.size` and `model.input_size` set what the network sees. What do 64 and 128 cost, and bring?
# 3. Draw the test images with a different noise into a folder of their own and give it as `data.test`. How much
#    is lost? ([Notebook 3](3_domain_adaptation.ipynb) is about that.)
# 4. Your images come class after class? [Notebook 2](2_forgetting_and_cures.ipynb) works on folders too:
#    `+experiment=continual_digits data=image_folder data.train=...`
#
# The model file, `model.safetensors` in the run's directory, has timm's own key names, and `labels.json` the
# classes: it can be used without this project.
