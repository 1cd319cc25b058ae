"""What a fine-tuning run finds in its images: labels that look wrong, and images that are alike, by their files."""

import logging
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tlcl.data.image_tensors import Source
from tlcl.data.splits import Split
from tlcl.jobs.first_answer import FirstAnswer
from tlcl.reports.verdict import label_doubt
from tlcl.statistics.label_issues import knows_the_classes, label_issues
from tlcl.statistics.near_duplicates import SMALLEST, alike, small_pictures
from tlcl.tracking.findings import LABEL_ISSUES, NEAR_DUPLICATES, write_findings

log = logging.getLogger(__name__)
MOST_IMAGES = 50_000  # among which near duplicates are looked for
GATHERED = 256  # images that are copied at once
SHOWN = 10  # rows with pictures in the report


def find_label_issues(run_dir: Path, source: Source, first: FirstAnswer) -> dict[str, Any]:
    """Write `label_issues.csv` by what the cross-validation of the head said of held-out images.

    Returns:
        For the summary: `label_issues`, how many labels look wrong, among how many, and how many of these the heads
        have right. Empty without folds, and where the heads are right no more often than chance is.
    """
    chosen, pool = first.chosen, source.pool
    if not chosen.folds:
        return {}
    indices = first.indices[chosen.which]
    labels, probabilities = pool.labels[indices], chosen.held_out.softmax(1)
    right = int((probabilities.argmax(1) == labels).sum())
    if not knows_the_classes(labels.numpy(), probabilities.argmax(1).numpy()):
        log.info(
            "wrong labels are not looked for: the cross-validated head is right on %d of %d images, as chance is",
            right, len(labels),
        )  # fmt: skip
        return {}
    found, suggested = label_issues(labels.numpy(), probabilities.double().numpy())
    rows = []
    for place, other in zip(found.tolist(), suggested.tolist(), strict=True):
        index, label = int(indices[place]), int(labels[place])
        mine, theirs = (f"{float(probabilities[place, k]):.4f}" for k in (label, other))
        file = pool.names[index] if pool.names else f"image {index}"
        rows.append((file, pool.classes[label], pool.classes[other], mine, theirs))
    if rows:
        header = ("file", "label", "suggested_label", "p_label", "p_suggested_label")
        pictures = pool.images[indices[torch.from_numpy(found[:SHOWN])]][:, None]
        write_findings(run_dir, LABEL_ISSUES, header, rows, pictures)
    return {"label_issues": len(rows), "label_issues_among": len(indices), "label_issues_right": right}


def find_near_duplicates(run_dir: Path, source: Source, split: Split) -> dict[str, Any]:
    """Write `near_duplicates.csv`: pairs of files that are alike, those of a test image and another first.

    Images that are equal pixel for pixel are left out: a look at the images has told of them.

    Returns:
        For the summary: `near_duplicates`, how many pairs, and `near_duplicates_of_test`, how many of them are of a
        test image and another. Empty where nothing was looked for: images without names, too many, or too small.
    """
    pool, test = source.pool, source.test
    used = torch.cat([split.train, split.val]).sort().values
    total = len(used) + len(test)
    if not pool.names or not test.names or min(pool.images.shape[2:]) < SMALLEST:
        return {}
    if total > MOST_IMAGES:
        log.info(
            "near duplicates are looked for among up to %s images; there are %s", f"{MOST_IMAGES:,}", f"{total:,}"
        )
        return {}
    pictures = [small_pictures(pool.images[part]) for part in used.split(GATHERED)]
    pairs = alike(torch.cat([*pictures, small_pictures(test.images)]), len(used))
    training = set(split.train.tolist())

    def describe(place: int) -> tuple[Tensor, str, str, str]:
        """Image, file, part of the split and class."""
        if place < len(used):
            index = int(used[place])
            part = "train" if index in training else "val"
            return pool.images[index], pool.names[index], part, pool.classes[int(pool.labels[index])]
        index = place - len(used)
        return test.images[index], test.names[index], "test", test.classes[int(test.labels[index])]

    rows: list[tuple[str, ...]] = []
    shown: list[Tensor] = []
    count, across = pairs.total, pairs.across
    for first, second, similarity in zip(*(column.tolist() for column in pairs[2:]), strict=True):
        (image, *ours), (other, *theirs) = describe(first), describe(second)
        if torch.equal(image, other):
            count, across = count - 1, across - (first < len(used) <= second)
            continue
        rows.append((*chain(*zip(ours, theirs, strict=True)), f"{similarity:.4f}"))
        if len(shown) < SHOWN:
            shown.append(torch.stack([image, other]))
    if rows:
        header = ("file", "other_file", "split", "other_split", "label", "other_label", "similarity")
        write_findings(run_dir, NEAR_DUPLICATES, header, rows, torch.stack(shown))
    return {"near_duplicates": count, "near_duplicates_of_test": across}


def finding_lines(summary: dict[str, Any], run_dir: Path) -> list[str]:
    """What is said at the end of what was found; nothing of what was not."""
    lines = []
    wrong, pairs, tested = (
        summary.get(key, 0) for key in ("label_issues", "near_duplicates", "near_duplicates_of_test")
    )
    if wrong:
        looks = "label looks" if wrong == 1 else "labels look"
        lines.append(f"{wrong:,} {looks} wrong{label_doubt(summary)}: {run_dir / f'{LABEL_ISSUES}.csv'}")
    if pairs:
        are = "pair of images is" if pairs == 1 else "pairs of images are"
        of = f", {tested:,} of a test image and another (the test accuracy may be too high)" if tested else ""
        lines.append(f"{pairs:,} {are} alike{of}: {run_dir / f'{NEAR_DUPLICATES}.csv'}")
    return lines
