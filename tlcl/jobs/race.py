"""The settings of what is retrained, in a race on the folds of a cross-validation; no test image has a say.

All train from the same fitted head and the same outputs of frozen blocks. Each training is a line of `race.jsonl`.
"""

import logging
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from tlcl.config.candidates import Candidate, candidates
from tlcl.config.schema import Config
from tlcl.data.splits import stratified_order
from tlcl.errors import Stopped, TrainingError, is_out_of_memory
from tlcl.finetuning.fitted_head import FittedHead
from tlcl.jobs.first_answer import FirstAnswer
from tlcl.jobs.shared_start import SharedStart
from tlcl.prefix_cache.activations import Keeping
from tlcl.statistics.racing import FEWEST, starters, survivors
from tlcl.tracking.records import RACED, RunDirectory, read_lines

log = logging.getLogger(__name__)
PLACES = "places.json"
MOST = 5_000  # images that take part; a difference of one point shows among them


def taking_part(labels: Tensor, seed: int) -> Tensor:
    """All images, or `MOST` of them with the classes in proportion: int64, sorted."""
    return stratified_order(labels, seed, "how_deep/part")[:MOST].sort().values


def folds_of(labels: Tensor, folds: int, seed: int) -> list[Tensor]:
    """So many stratified parts of all images: int64, sorted."""
    order = stratified_order(labels, seed, "how_deep")
    edges = [len(order) * fold // folds for fold in range(folds + 1)]
    return [order[begin:end].sort().values for begin, end in pairwise(edges)]


@dataclass(frozen=True)
class Asked:
    """One training and what it answers: a line of `race.jsonl`.

    Attributes:
        setting: the candidate's name.
        fold: the part that was held out.
        share: of the other images that were trained on, above 0, at most 1.
        right: a 1 or 0 for each held-out image.
        stopped: why there is no answer; empty where there is.
    """

    setting: str
    fold: int
    share: float
    right: str
    seconds: float
    bytes: int
    epochs: int
    stopped: str = ""


class Race:
    """The settings of one network on one set of labelled images.

    Args:
        first: the head's answer and the images that take part.
        start: the network and the outputs of its blocks.

    Attributes:
        done: every training, in the order in which it was done; `raced`: those of the race, without the curve's.
        out: by name, why and after which fold a setting left.
        head_right: float (N,), 1 where the head alone is right, of the folds' images one after the other.
        gains: float (M, N), of each setting over it: -1, 0 or 1; NaN where it was not asked.
    """

    def __init__(self, config: Config, directory: RunDirectory, first: FirstAnswer, start: SharedStart) -> None:
        assert config.depth is not None
        self.config, self.keys, self.directory = config, config.depth, directory
        self.first, self.start = first, start
        self.field = candidates(self.keys.settings, start.net.names)
        self.folds = folds_of(start.labels, self.keys.folds, config.seed)
        self.images = sum(map(len, self.folds))
        directory.keep_lines(RACED, lambda line: True)  # a line that a kill cut short goes
        self.done = [Asked(**line) for line in read_lines(directory.path / RACED)]
        self.out: dict[str, dict[str, Any]] = {}
        self.raced: list[Asked] = []
        self.head_right, self.gains = np.empty(0), np.empty((0, 0))

    def run(self) -> None:
        """Race, or what is left of it."""
        parts = [self.rest(fold) for fold in range(len(self.folds))]
        self.heads = [self.head_of(rows) for rows in parts]
        head_right = [
            self.right_of(head, fold) for head, fold in zip(self.heads, self.folds, strict=True)
        ]
        self.head_right = np.concatenate(head_right)
        alive = self._starters()
        configs = [self._config(self.field[model], len(parts[0])) for model in alive]
        before = (self.directory.read_json(PLACES) or {}).get("places")
        places = self.start.fill(configs, Keeping.of(self.config), before)
        if before is None:
            self.directory.write_json(PLACES, {"places": places})
        total = len(alive) * len(self.folds)
        gains = np.full((len(self.field), self.images), np.nan)
        shown = None if self.config.trainer.progress else True
        with tqdm(total=total, desc="how deep", unit=" trainings", disable=shown) as bar:
            for fold, rows in enumerate(parts):
                for model in alive:
                    asked = self.ask(self.field[model], fold, rows, self.heads[fold], 1.0)
                    self.raced.append(asked)
                    if not asked.stopped:
                        gains[model, self._slice(fold)] = bits_of(asked.right) - self.head_right[self._slice(fold)]
                    bar.update()
                alive = self._left(gains, alive, fold)
                if not alive:
                    break
        self.gains = gains

    def _starters(self) -> list[int]:
        everybody = list(range(len(self.field)))
        surgical = {one.name for one in self.field if one.depth is None}
        if not self.keys.race or self.keys.settings:
            return everybody
        if any(asked.setting in surgical and asked.share == 1 for asked in self.done):
            return everybody  # a race that began with all of them goes on so
        alive = starters([one.name in surgical for one in self.field], self.images, len(self.folds))
        waiting = [self.field[model].name for model in everybody if model not in alive]
        if waiting:
            self.out |= {name: {"why": "few", "after": 0} for name in waiting}
            log.info(
                "with fewer than %d images in a fold depths alone race, without %s; depth.settings=[...] asks "
                "those that it names",
                FEWEST, ", ".join(waiting),
            )  # fmt: skip
        return alive

    def rest(self, fold: int) -> Tensor:
        """All images but a fold's: int64, sorted."""
        return torch.cat([part for number, part in enumerate(self.folds) if number != fold]).sort().values

    def _slice(self, fold: int) -> slice:
        begin = sum(map(len, self.folds[:fold]))
        return slice(begin, begin + len(self.folds[fold]))

    def head_of(self, rows: Tensor) -> FittedHead:
        """The head, fitted to these images."""
        return self.first.fit(rows, self._labels_of_pool, self.start.classes)

    @property
    def _labels_of_pool(self) -> Tensor:
        labels = torch.zeros(int(self.first.indices.max()) + 1, dtype=torch.int64)
        labels[self.first.indices] = self.start.labels
        return labels

    def right_of(self, head: FittedHead, held_out: Tensor) -> np.ndarray:
        """Of each of these images 1.0 where a head is right, else 0.0."""
        answers = head.logits(self.first.features[held_out, 0]).argmax(1)
        return (answers == self.start.labels[held_out]).numpy().astype(float)

    def _config(self, one: Candidate, images: int) -> Config:
        return self.start.config_for(one.thaw, images, self.keys.steps)

    def ask(self, one: Candidate, fold: int, rows: Tensor, head: FittedHead, share: float) -> Asked:
        """From the record, or trained and asked now."""
        known = next((a for a in self.done if (a.setting, a.fold, a.share) == (one.name, fold, share)), None)
        if known is not None:
            return known
        config, held_out = self._config(one, len(rows)), self.folds[fold]
        size, right, stopped, began = 0, "", "", time.perf_counter()
        try:
            size = self._bytes(one, config)
            began = time.perf_counter()
            self.start.train(config, rows, head)
            answers = self.start.logits(config, held_out).argmax(1)
            right = "".join("1" if hit else "0" for hit in (answers == self.start.labels[held_out]).tolist())
        except Stopped:
            raise
        except TrainingError as error:  # a loss that is not finite: the setting is out, the others go on
            stopped = str(error)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            stopped = f"no memory was left for it: {str(error).partition(chr(10))[0]}"
        seconds = round(time.perf_counter() - began, 2)
        asked = Asked(one.name, fold, share, right, seconds, size, config.trainer.epochs, stopped)
        self.done.append(asked)
        self.directory.append(RACED, asdict(asked))
        self.directory.keep_seconds()
        return asked

    def _bytes(self, one: Candidate, config: Config) -> int:
        known = next((asked.bytes for asked in self.done if asked.setting == one.name), None)
        return self.start.step_bytes(config) if known is None else known

    def _left(self, gains: np.ndarray, alive: list[int], fold: int) -> list[int]:
        """Who goes on after this fold."""
        here = self._slice(fold)
        failed = [model for model in alive if np.isnan(gains[model, here]).any()]
        for model in failed:
            self.out[self.field[model].name] = {"why": "stopped", "after": fold + 1}
        alive = [model for model in alive if model not in failed]
        if not self.keys.race or fold + 1 == len(self.folds):
            return alive
        alive, out = survivors(gains, alive, fold + 1, self.images)
        for model, why in out.items():
            self.out[self.field[model].name] = {"why": why, "after": fold + 1}
        return alive


def number_asked(gains: np.ndarray) -> int:
    """How many settings were asked about any image: of these gains (M, N), which are NaN where none was."""
    return int((~np.isnan(gains)).any(1).sum())


def bits_of(right: str) -> np.ndarray:
    """Of each answer of `Asked.right`, 1.0 or 0.0."""
    return np.array([bit == "1" for bit in right], dtype=float)
