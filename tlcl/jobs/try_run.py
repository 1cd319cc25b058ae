"""What a finished run says of one image at a time: what the page of `tlcl try` answers with."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from tlcl.data.images.decode import BadImage, decode_image
from tlcl.errors import UserError
from tlcl.explain.gradcam import block_of_maps, class_maps, last_asked, network_of
from tlcl.jobs.explain import SIDE
from tlcl.jobs.finished import class_probabilities, device_for, load_run, pixel_range_of
from tlcl.reports.explain import data_uri, overlay
from tlcl.reports.try_run import Answer, answer_html, page_html, problem_html
from tlcl.system.local_page import LocalPage
from tlcl.system.text import plain
from tlcl.tracking.calibration import read_calibration

RANKED = 5  # classes that are shown


class Trial:
    """A finished run, loaded once and asked image by image.

    Raises:
        UserError: as `load_run`.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.classifier, self.labels, self.config = load_run(run_dir)
        self.config.data = replace(self.config.data, cache_prefix="off")  # an image is seen once
        self.calibration, self.names = read_calibration(run_dir), tuple(map(plain, self.labels.classes))
        self.limits = pixel_range_of(self.config)
        net = network_of(self.classifier)
        if self.config.trainer.channels_last:
            net.to(memory_format=torch.channels_last)
        self.classifier.to(device_for(self.config)).eval()
        blank = torch.zeros((1, self.labels.channels, self.labels.size, self.labels.size), dtype=torch.uint8)
        self.block: str | None = None
        try:
            self.block = block_of_maps(net, blank, None, last_asked(self.classifier))
            brighter = "the brighter a place, the more it speaks for the class"
            self.about_maps = f"The heat map is Grad-CAM of {self.block}: {brighter}."
        except UserError:
            size = self.config.model.input_size
            self.about_maps = f"There is no heat map: model.input_size={size} leaves one place for a whole image."

    def answer(self, content: bytes) -> Answer:
        """The answer of `tlcl predict` to the bytes of an image file, and the map of `tlcl explain`.

        Raises:
            BadImage: they are no whole image.
        """
        images = decode_image(content, self.labels.size, self.labels.channels, self.limits)[None]
        picture = decode_image(content, SIDE, 3, self.limits)
        found = class_probabilities(self.classifier, images, self.config, batch_size=1, progress=False)
        (probabilities,) = torch.from_numpy(self.calibration.calibrated(found.numpy()))
        order = probabilities.argsort(stable=True, descending=True)[:RANKED].tolist()
        heat, empty = None, False
        if self.block is not None:
            (maps,) = class_maps(
                self.classifier, images, self.block, torch.tensor([order[:1]]),
                channels_last=self.config.trainer.channels_last, progress=False,
            )  # fmt: skip
            heat, empty = data_uri(overlay(picture, maps[0])), not bool(maps.any())
        ranked = [(self.names[place], float(probabilities[place])) for place in order]
        return Answer(ranked, data_uri(picture.permute(1, 2, 0).numpy()), heat, empty)

    def html(self, content: bytes) -> str:
        """The answer as a part of the page; of what is no image one sentence that says why."""
        try:
            return answer_html(self.answer(content))
        except BadImage as error:
            return problem_html(f"this file is no readable image: {error}")


def open_page(run_dir: Path, port: int | None) -> LocalPage:
    """The page of a finished run, ready to be served.

    Raises:
        UserError: no finished run, or no such port.
    """
    trial = Trial(run_dir)
    return LocalPage(partial(page_html, plain(run_dir), trial.names, trial.about_maps), trial.html, port)
