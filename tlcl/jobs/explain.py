"""Where a run's network looks in images, and which training images are alike: what `tlcl explain` writes."""

import csv
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from io import BytesIO, StringIO
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from tlcl.data.datamodule import EVAL_BATCH
from tlcl.data.images.decode import BadImage, decode_image
from tlcl.data.images.pixel_range import PixelRange
from tlcl.data.images.user_images import read_contents, read_images
from tlcl.errors import UserError
from tlcl.explain.gradcam import block_of_maps, class_maps, last_asked, network_of
from tlcl.explain.neighbours import Neighbour, nearest_training_images
from tlcl.jobs.finished import class_probabilities, device_for, load_run, pixel_range_of
from tlcl.reports.explain import Alike, ClassMap, Explained, data_uri, overlay, write_explain_page
from tlcl.system.files import atomic_open, atomic_write_text
from tlcl.system.text import plain
from tlcl.tracking.calibration import read_calibration
from tlcl.tracking.csv_cells import to_cell

SIDE = 224  # pixels of the pictures
SHOWN = 200  # images on the page, at most
PREDICTED, RUNNER_UP = "predicted", "runner-up"


def classes_wanted(wanted: Sequence[str], probabilities: Tensor, names: Sequence[str]) -> Tensor:
    """int64 (N, M): the classes of each image that maps are wanted of.

    Args:
        wanted: `predicted`, `runner-up`, or names of classes.
        probabilities: (N, K).

    Raises:
        UserError: no such class.
    """
    ranked = probabilities.argsort(stable=True, dim=1, descending=True)
    columns = []
    for name in wanted:
        if name in (PREDICTED, RUNNER_UP):
            columns.append(ranked[:, 0 if name == PREDICTED else 1])
        elif unicodedata.normalize("NFC", name) in names:  # as the names of folders are
            columns.append(torch.full((len(ranked),), list(names).index(unicodedata.normalize("NFC", name))))
        else:
            raise UserError(f"--classes={name} is none of {PREDICTED}, {RUNNER_UP}, {', '.join(names)}")
    return torch.stack(columns, 1)


def pictures(paths: list[Path], files: list[Path], limits: PixelRange | None) -> Iterator[Tensor]:
    """The images of `files` among `paths`, in colour, as they are shown: uint8 (3, 224, 224)."""
    wanted = iter(files)
    file = next(wanted, None)
    for found, content in read_contents(paths):
        if found != file:
            continue  # left out as unreadable
        if isinstance(content, BadImage):
            raise UserError(f"{found} cannot be read any more: {content}")
        yield decode_image(content, SIDE, 3, limits)
        file = next(wanted, None)


def class_text(one: Neighbour) -> str:
    """A training image's class, with its domain behind it in an adaptation."""
    label = one.label or "no label"
    return f"{label} ({one.domain})" if one.domain else label


class Results(NamedTuple):
    """Of N images: file names, probabilities (N, K), classes (N, M) and their maps (N, M, h, w), neighbours."""

    files: list[Path]
    names: list[str]
    probabilities: Tensor
    classes: Tensor
    maps: Tensor
    neighbours: list[list[Neighbour]]


def table(results: Results) -> str:
    """CSV text: file, prediction, probability, and class, distance and name of each neighbour."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    count = len(results.neighbours[0]) if results.neighbours else 0
    columns = [f"{what}_{rank}" for rank in range(1, count + 1) for what in ("class", "distance", "image")]
    writer.writerow(["file", "prediction", "probability", *columns])
    for row, file in enumerate(results.files):
        probability, best = results.probabilities[row].max(0)
        near = results.neighbours[row] if results.neighbours else []
        cells = [cell for one in near for cell in (class_text(one), f"{one.distance:.6f}", plain(one.name))]
        row_cells = [plain(file), plain(results.names[int(best)]), f"{probability:.6f}", *cells]
        writer.writerow([to_cell(cell) for cell in row_cells])
    return text.getvalue()


def draw(results: Results, row: int, picture: Tensor, overlays: Path) -> Explained:
    """Write the overlays of one image; returns what the page says of it."""
    probabilities, file = results.probabilities[row], results.files[row]
    prediction = results.names[int(probabilities.argmax())]
    maps: list[ClassMap] = []
    for column, label in enumerate(results.classes[row].tolist()):
        name, heat = results.names[label], results.maps[row, column]
        if name in [known.label for known in maps]:
            continue
        pixels = overlay(picture, heat)
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", f"{row + 1:04d}_{plain(file.stem)[:80]}_{name[:80]}")
        content = BytesIO()
        Image.fromarray(pixels).save(content, "png")
        with atomic_open(overlays / f"{stem}.png") as target:
            target.write(content.getvalue())
        maps.append(ClassMap(name, float(probabilities[label]), data_uri(pixels), not bool(heat.any())))
    alike = []
    for one in results.neighbours[row] if results.neighbours else []:
        # Classes that are no answers of the network, as in the domain-incremental scenario, contradict none.
        other = one.label in results.names and one.label != prediction
        address = data_uri(one.image.permute(1, 2, 0).numpy())
        alike.append(Alike(class_text(one), plain(one.name), one.distance, address, other))
    original = data_uri(picture.permute(1, 2, 0).numpy())
    return Explained(plain(file), original, prediction, float(probabilities.max()), maps, alike)


def explain(
    run_dir: Path,
    paths: list[Path],
    *,
    out: Path | None = None,
    block: str | None = None,
    classes: Sequence[str] = (PREDICTED,),
    neighbours: int = 5,
    skip_bad: bool = False,
) -> Path:
    """Write the page, the table and the pictures; returns the page's path.

    Args:
        paths: image files, folders or tar files of them.
        out: the folder that they go to; None: RUN_DIR/explain.
        block: whose outputs are mapped; None: the last of 3 x 3 or more.
        classes: whose evidence is mapped: predicted, runner-up, or names of classes.
        neighbours: training images an image.
        skip_bad: leave unreadable files out and name them.

    Raises:
        UserError: no finished run, unreadable images, no such block or class, or a folder that cannot be written.
    """
    progress = sys.stderr.isatty()
    classifier, labels, config = load_run(run_dir)
    names = list(labels.classes)
    limits = pixel_range_of(config)
    files, images = read_images(
        paths, labels.size, labels.channels, limits, skip_bad=skip_bad, progress=progress
    )
    device, net = device_for(config), network_of(classifier)
    if config.trainer.channels_last:  # as in training, so that features are found that the run left in the cache
        net.to(memory_format=torch.channels_last)
    classifier.to(device).eval()
    block = block_of_maps(net, images[:1], block, last_asked(classifier))
    given = class_probabilities(classifier, images, config, batch_size=EVAL_BATCH, progress=progress)
    probabilities = torch.from_numpy(read_calibration(run_dir).calibrated(given.numpy()))
    mapped = classes_wanted(classes, probabilities, names)
    maps = class_maps(
        classifier, images, block, mapped, channels_last=config.trainer.channels_last, progress=progress
    )
    nearest: list[list[Neighbour]] = []
    no_neighbours = ""
    if neighbours:
        try:
            nearest = nearest_training_images(
                net, images, config, run_dir, device, neighbours, progress=progress
            )
        except UserError as error:
            no_neighbours = f"the training data is not to be had any more ({error})"
            print(f"warning: {no_neighbours}", file=sys.stderr)
    results = Results(files, names, probabilities, mapped, maps, nearest)
    out = out or run_dir / "explain"
    try:
        shown: list[Explained] = []
        bar = tqdm(pictures(paths, files, limits), "draw", len(files), unit=" images", disable=not progress)
        for row, picture in enumerate(bar):
            one = draw(results, row, picture, out / "overlays")
            if row < SHOWN:
                shown.append(one)
        atomic_write_text(out / "explain.csv", table(results))
        places = " × ".join(map(str, maps.shape[2:]))
        about = {"images": len(files), "block": block, "places": places, "no_neighbours": no_neighbours}
        return write_explain_page(out, run_dir, shown, about)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}") from None
