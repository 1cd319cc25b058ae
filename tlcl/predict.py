"""`tlcl-predict RUN_DIR IMAGES...`: classify your own images with the model of a finished run.

Prints a table, or writes it with --csv: file, predicted class, confidence, and the probability of each class. The
model is the run's chosen checkpoint; a continual run answers by its method's own rule, with all classes competing.
"""

import argparse
import csv
import sys
import tarfile
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from tlcl.atomic import atomic_write_text
from tlcl.config import Config
from tlcl.continual.learner import trained_classifier
from tlcl.data.decode import BadImage, decode_image
from tlcl.data.files import Content, read_file, read_files
from tlcl.data.image_folder import LISTED
from tlcl.data.walk import image_paths
from tlcl.errors import UserError, run_cli
from tlcl.finetuning.prefix import classify, split_at_frozen
from tlcl.models.blocks import Blocks
from tlcl.models.build import build_model
from tlcl.models.tail import Split
from tlcl.models.weights import RUN_MODEL, read_state
from tlcl.parse import parse_config
from tlcl.recorded import Labels, recorded_config, recorded_labels
from tlcl.texts import plain
from tlcl.tracking.csv_cells import to_cell


def load_run(run_dir: Path) -> tuple[Blocks | Split, Labels, Config]:
    """What classifies after a finished run (uint8 images -> logits), its `labels.json` and its config.

    Raises:
        UserError: `run_dir` holds no finished run, or its files do not fit together.
    """
    for name in ("config.yaml", "labels.json", RUN_MODEL):
        if not (run_dir / name).is_file():
            raise UserError(f"{run_dir} is no finished tlcl run: it has no {name}")
    config = parse_config(recorded_config(run_dir))
    labels = recorded_labels(run_dir)
    net, backbone = build_model(config.model, len(labels.classes), config.seed)
    state = read_state(run_dir / RUN_MODEL)
    try:
        net.load_state_dict({key: state[backbone.native_key(key)] for key in net.state_dict()})
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{run_dir / RUN_MODEL} does not fit its config.yaml: {error}") from None
    return trained_classifier(config, labels, net, run_dir), labels, config


def find_images(paths: list[Path]) -> list[Path]:
    """Every file named, and every file below every folder named, in order; hidden files are passed over.

    Raises:
        UserError: a path that does not exist or cannot be listed, or no files at all.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += image_paths(path)
        elif path.exists():
            found.append(path)
        else:
            raise UserError(f"{path} does not exist")
    if not found:
        raise UserError(f"no image files in {', '.join(map(str, paths))}")
    return found


def read_contents(paths: list[Path]) -> Iterator[tuple[Path, Content]]:
    """(name, bytes) of all that `find_images` finds, or why it cannot be read; a tar file named is what it holds.

    Raises:
        UserError: as `find_images`, and a damaged tar file.
    """
    for path in find_images(paths):
        if path in paths and _is_tar(path):
            yield from ((path / name, inside) for name, inside in read_files(path))
        else:
            yield path, read_file(path)


def _is_tar(path: Path) -> bool:
    try:
        return path.is_file() and tarfile.is_tarfile(path)
    except OSError:
        return False


class Images(NamedTuple):
    """The readable images: uint8 (N, channels, size, size), and the names of their files."""

    files: list[Path]
    images: Tensor


def read_images(paths: list[Path], size: int, channels: int, *, skip_bad: bool, progress: bool) -> Images:
    """Decode a user's images as the run's own were decoded.

    Raises:
        UserError: unreadable images, all of them named, unless `skip_bad`, which names them on standard error.
    """
    files, images, bad = [], [], []
    for file, content in tqdm(read_contents(paths), desc="decode", unit=" images", disable=not progress):
        try:
            if isinstance(content, BadImage):
                raise content
            images.append(decode_image(content, size, channels))
            files.append(file)
        except BadImage as error:
            bad.append(f"{str(file)!r} ({error})")
    if bad and not skip_bad:
        more = f"; and {len(bad) - LISTED} more" if len(bad) > LISTED else ""
        raise UserError(
            f"{len(bad)} files are not readable images: {'; '.join(bad[:LISTED])}{more} "
            "(leave them out with --skip-bad)"
        )
    if not images:
        raise UserError("none of the files is a readable image")
    for line in bad:
        print(f"left out {line}", file=sys.stderr)
    return Images(files, torch.stack(images))


def device_for(config: Config) -> torch.device:
    """Where a finished run's network works: a GPU if there is one, unless the run was kept on the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() and config.trainer.accelerator != "cpu" else "cpu")


def class_probabilities(
    net: Blocks | Split, images: Tensor, config: Config, *, batch_size: int, progress: bool
) -> Tensor:
    """What the network and config of `load_run` say of images: float32 (N, K), rows sum to 1."""
    return classify(
        net if isinstance(net, Split) else split_at_frozen(net, config),
        images,
        config,
        device_for(config),
        batch_size=batch_size,
        progress="predict" if progress else None,
    )


def predictions(run_dir: Path, paths: list[Path], *, batch_size: int, skip_bad: bool, progress: bool) -> str:
    """CSV text: file, prediction, confidence, and one probability column a class; names as `csv_cells` writes them.

    Raises:
        UserError: as `load_run` and `read_images`.
    """
    net, labels, config = load_run(run_dir)
    files, images = read_images(paths, labels.size, labels.channels, skip_bad=skip_bad, progress=progress)
    probabilities = class_probabilities(net, images, config, batch_size=batch_size, progress=progress)
    text, names = StringIO(), [plain(name) for name in labels.classes]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "prediction", "confidence", *(f"p({name})" for name in names)])
    for file, row in zip(files, probabilities.tolist(), strict=True):
        best = max(range(len(row)), key=row.__getitem__)
        cells = to_cell(plain(file)), to_cell(names[best])
        writer.writerow([*cells, f"{row[best]:.6f}", *(f"{probability:.6f}" for probability in row)])
    return text.getvalue()


def _program() -> None:
    parser = argparse.ArgumentParser(
        prog="tlcl-predict",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: tlcl-predict runs/finetune_layerwise/DATE NEW_IMAGES/ --csv predictions.csv",
    )
    parser.add_argument("run_dir", type=Path, help="directory of a finished run")
    parser.add_argument("images", type=Path, nargs="+", help="image files, folders or tar files of them")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table here instead of printing it")
    parser.add_argument("--batch-size", type=int, default=256, metavar="N", help="images at once (default 256)")
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable files out and name them")
    options = parser.parse_args()
    if options.batch_size < 1:
        raise UserError(f"--batch-size={options.batch_size} must be at least 1")
    table = predictions(
        options.run_dir,
        options.images,
        batch_size=options.batch_size,
        skip_bad=options.skip_bad,
        progress=sys.stderr.isatty(),
    )
    if options.csv is None:
        print(table, end="")
        return
    try:
        atomic_write_text(options.csv, table)
    except OSError as error:
        raise UserError(f"--csv={options.csv} cannot be written: {error.strerror or error}") from None
    print(f"{len(table.splitlines()) - 1} predictions in {options.csv}")


def main() -> None:
    """Command line entry."""
    run_cli(_program)


if __name__ == "__main__":
    main()
