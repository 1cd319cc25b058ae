"""Outputs of frozen blocks: computed once, in memory or in a mapped file that is found again by its content."""

import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from tlcl.config.schema import Config
from tlcl.data.image_tensors import ImageSubset
from tlcl.data.versions import Versions
from tlcl.distributed.collectives import in_group
from tlcl.models.blocks import BESIDE, FEATURES, Blocks, are_vectors, places_of
from tlcl.models.inference import outputs, whole_batches
from tlcl.prefix_cache.shares import ALONE, Shares
from tlcl.system.figures import counted
from tlcl.system.mapped_file import build_mapped, open_mapped
from tlcl.system.memory import available_memory

log = logging.getLogger(__name__)
VERSION = "2"  # part of every key: raise it when the same weights and images give other activations
BATCH = 256


@dataclass
class Keeping:
    """Where activations are kept, by `data.cache_prefix`, `cache_gib` and `cache_dtype`.

    Attributes:
        mode: `ram`, `disk`, or `auto`: features, which are small, in files, so that other runs find them; the rest
            in memory as far as `budget` goes and in files beyond it.
        budget: bytes of memory that are left for activations; each process of a node has an equal part.
        dtype: `float32`, or `bfloat16`: rounded to half the bytes.
        folder: of the files.
    """

    mode: str
    budget: int
    dtype: str
    folder: Path

    @classmethod
    def of(cls, config: Config) -> "Keeping":
        data = config.data
        quarter = available_memory() // 4
        budget = quarter if data.cache_gib is None else int(data.cache_gib * 2**30)
        if in_group():
            budget //= config.trainer.devices
        return cls(data.cache_prefix, budget, data.cache_dtype, Path(config.cache_dir) / "prefix")

    def release(self, held: "Held") -> None:
        """What these outputs took of the memory is there for others."""
        if held.where == "memory":
            self.budget += held.values.nbytes

    def where(self, place: str, size: int) -> str:
        """`memory`, `file` or `nowhere` for `size` bytes of the outputs of `place`."""
        if self.mode == "disk" or (self.mode == "auto" and are_vectors(place)):
            return "file"
        if size <= self.budget:
            return "memory"
        return "file" if self.mode == "auto" else "nowhere"


@dataclass(frozen=True)
class Held:
    """The outputs of one place for n images.

    Attributes:
        values: (n, ...), or (n, V, ...) for V > 1 versions of each image.
        where: `memory` or `file`.
        found: whether they were there already.
        seconds: to compute or find them.
    """

    place: str
    values: Tensor
    versions: int
    where: str
    found: bool
    seconds: float

    def version(self, number: int) -> Tensor:
        """(n, ...) of one version."""
        return self.values[:, number] if self.versions > 1 else self.values

    def record(self) -> dict[str, Any]:
        """What a run's summary says of them."""
        return {
            "place": self.place,
            "images": len(self.values),
            "versions": self.versions,
            "dtype": str(self.values.dtype).removeprefix("torch."),
            "mib": round(self.values.nbytes / 2**20, 1),
            "kept_in": self.where,
            "found": self.found,
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True)
class Layout:
    """How activations lie in memory: (n, V, H, W, C) when they are channels_last, else (n, V, ...)."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    channels_last: bool

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def example_shape(self) -> tuple[int, ...]:
        """(C, H, W) or (D,) of one version, (V, ...) of several."""
        versions, *one = self.shape[1:]
        if self.channels_last:
            one = [one[2], one[0], one[1]]
        return (versions, *one) if versions > 1 else tuple(one)

    def view(self, flat: Tensor) -> Tensor:
        """(n, V, C, H, W) or (n, V, D) of the flat memory."""
        values = flat.view(self.shape)
        return values.permute(0, 1, 4, 2, 3) if self.channels_last else values


@dataclass(frozen=True)
class FrozenBlocks:
    """Blocks that do not change while what they compute of `images` is used.

    Attributes:
        images: uint8 (n, C, H, W), or a subset of such.
        precision: as `trainer.precision`, resolved.
        progress: whether to show progress bars in a terminal.
        shares: whose work it is, where all processes of a run compute them together.
    """

    net: Blocks
    images: Tensor | ImageSubset
    versions: Versions
    device: torch.device
    precision: str
    progress: bool
    shares: Shares = ALONE

    @cached_property
    def images_content(self) -> str:
        """A hash of the images, for the keys of all their outputs."""
        return _content(self.images) if isinstance(self.images, Tensor) else _content_of_subset(self.images)

    def run(self, batches: Iterable[Tensor], start: str | None, stop: str) -> Iterator[Tensor]:
        """The outputs of `stop`, on the device."""
        return outputs(
            lambda x: self.net(x, start=start, stop=stop), batches, device=self.device, precision=self.precision
        )

    def layout(self, place: str, dtype: str) -> Layout:
        """What the outputs of `place` look like; `dtype` as in `Keeping`."""
        sample = next(self.run([self.images[:2]], None, place))
        shape, kept = tuple(sample.shape[1:]), sample.dtype
        if dtype == "bfloat16":
            kept = torch.bfloat16
        elif are_vectors(place):
            kept = torch.float32  # closed-form methods add them up
        both = sample.is_contiguous()  # one pixel has both formats, and kept as channels_last it would pass it on
        channels_last = sample.ndim == 4 and not both and sample.is_contiguous(memory_format=torch.channels_last)
        if channels_last:
            shape = (shape[1], shape[2], shape[0])
        return Layout((len(self.images), self.versions.count, *shape), kept, channels_last)

    def fill(self, values: Tensor, place: str, before: "Held | None") -> None:
        """Write the outputs of `place` to `values` (n, V, ...), from those of a place before or the images.

        Of several processes each computes its share of the batches, which are those of one process, and all write
        all of them.
        """
        slices = whole_batches(len(self.images), BATCH)
        label = f"{place} of {counted(len(self.images), 'image')}, once"
        total = len(slices) * self.versions.count
        silent = not self.progress or self.shares.rank > 0 or None
        with tqdm(total=total, desc=label, unit=" batches", disable=silent) as bar:
            if bar.disable:
                log.info("computing the outputs of %s", label)
            for number in range(self.versions.count):
                batches = self._batches(slices, number, before)
                results = self.run(batches, before.place if before else None, place)
                every = self.shares.exchanged(slices, results, values[:, number], self.device)
                for part, result in zip(slices, every, strict=True):
                    values[part, number] = result.cpu()
                    bar.update()

    def _batches(self, slices: list[slice], number: int, before: "Held | None") -> Iterator[Tensor]:
        """This process's share of the inputs, of one version."""
        source: Tensor | ImageSubset = self.images if before is None else before.version(number)
        if before is not None:
            return (source[part] for part in self.shares.mine(slices))
        if number and self.versions.crops:  # drawn for one batch after the other, those of other processes too
            drawn = self.versions.render((source[part] for part in slices), number)
            return islice(drawn, self.shares.rank, None, self.shares.world)
        return self.versions.render((source[part] for part in self.shares.mine(slices)), number)


def activations(blocks: FrozenBlocks, places: Sequence[str], keeping: Keeping) -> dict[str, Held]:
    """The outputs of `places` for all images, in eval mode; each place is computed from the one before it.

    On a CPU they equal, to the bit, what the network computes of any batch of two images or more. What cannot be
    kept is missing from the result, with a warning.

    Args:
        places: in the network's order.
    """
    blocks.net.to(blocks.device).eval()
    held: dict[str, Held] = {}
    for place in places:
        one = _hold(blocks, place, keeping, list(held.values()))
        if one is not None:
            held[place] = one
    return held


def _hold(blocks: FrozenBlocks, place: str, keeping: Keeping, before: Sequence[Held]) -> Held | None:
    """The outputs of `place` from the last of those held before it, each of which came from the one before."""
    began = time.perf_counter()
    layout = blocks.layout(place, keeping.dtype)
    keeping.budget = blocks.shares.lowest(keeping.budget, blocks.device)  # so that all processes decide alike
    size = layout.count * layout.dtype.itemsize
    where, found = keeping.where(place, size), False

    def fill(flat: Tensor) -> None:
        blocks.fill(layout.view(flat), place, before[-1] if before else None)

    if where == "file":
        name = "beside" if BESIDE in place else place
        path = keeping.folder / f"{_key(blocks, place, layout, before, keeping)}.{name}.bin"
        try:
            flat, found = _in_file(blocks, path, layout, fill)
        except OSError as error:
            log.warning("warning: the outputs of %s cannot be kept in a file: %s", place, error)
            if keeping.mode == "disk":
                return None
            where = "memory" if size <= keeping.budget else "nowhere"
    if where == "nowhere":
        log.warning(
            "warning: the outputs of %s need %.1f GiB, more than is left of data.cache_gib, and are not cached; "
            "raise it, or set data.cache_prefix=disk", place, size / 2**30,
        )  # fmt: skip
        return None
    if where == "memory":
        keeping.budget -= size
        flat = torch.empty(layout.count, dtype=layout.dtype)
        fill(flat)
    values = layout.view(flat)
    versions = blocks.versions.count
    seconds = time.perf_counter() - began
    return Held(place, values[:, 0] if versions == 1 else values, versions, where, found, seconds)


def _in_file(
    blocks: FrozenBlocks, path: Path, layout: Layout, fill: Callable[[Tensor], None]
) -> tuple[Tensor, bool]:
    """The outputs in a file, and whether they were there already; computed unless every process finds them.

    Where one process cannot have the file, none has it, so that all go on alike.

    Raises:
        OSError: of this process or another one.
    """
    shares, device = blocks.shares, blocks.device
    known = open_mapped(path, layout.count, layout.dtype)
    if shares.all(known is not None, device) and known is not None:
        return known, True
    asked = filling = False
    problem: OSError | None = None

    def fill_with_others(flat: Tensor) -> None:
        nonlocal asked, filling
        asked = True
        if not shares.all(True, device):
            raise OSError("another process cannot write it")
        filling = True
        fill(flat)
        filling = False

    try:
        if known is None and shares.writes:
            build_mapped(path, layout.count, layout.dtype, fill_with_others)
        else:  # what is told here is computed for those who write
            fill_with_others(torch.empty(layout.count, dtype=layout.dtype, device="meta"))
    except OSError as error:
        if filling and shares.world > 1:
            raise  # in the middle of what all compute together
        problem = error
        if not asked:
            shares.all(False, device)
    if shares.all(problem is None, device):
        built = open_mapped(path, layout.count, layout.dtype)
        if shares.all(built is not None, device) and built is not None:
            return built, False
    raise problem or OSError(f"another process cannot write or read {path}")


def _content(tensor: Tensor) -> str:
    """A hash of a tensor; of its strides too, since another memory format is computed by other kernels."""
    about = f"{tensor.dtype} {tuple(tensor.shape)} {tensor.stride()}"
    digest = hashlib.blake2b(about.encode(), digest_size=16)
    content: Any = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    digest.update(content)
    return digest.hexdigest()


def _content_of_subset(images: ImageSubset) -> str:
    """What `_content` says of the images gathered into one tensor."""
    first = images[:1]
    about = f"{first.dtype} {tuple(images.shape)} {first.contiguous().stride()}"
    digest = hashlib.blake2b(about.encode(), digest_size=16)
    for start in range(0, len(images), BATCH):
        content: Any = images[start : start + BATCH].contiguous().flatten().numpy()
        digest.update(content)
    return digest.hexdigest()


def _key(blocks: FrozenBlocks, place: str, layout: Layout, before: Sequence[Held], keeping: Keeping) -> str:
    """A hash of all that the outputs depend on: blocks up to `place`, input transform, images, arithmetic."""
    net = blocks.net
    rounded = [held.place for held in before] if keeping.dtype == "bfloat16" else []
    processor = torch.backends.cpu.get_cpu_capability()
    about = (
        VERSION, torch.__version__, processor, blocks.device.type, blocks.precision, blocks.versions, layout,
        rounded, net.inputs.size, *([net.code] if net.code else []),
        *([net.inputs.mode] if net.inputs.mode != "bilinear" else []),
    )  # fmt: skip
    digest = hashlib.blake2b(repr(about).encode(), digest_size=16)
    last = places_of(place)[-1]
    frozen = [name for name in net.places[: net.places.index(last) + 1] if name != FEATURES]
    body = [(f"{name}.{key}", value) for name in frozen for key, value in net.block(name).state_dict().items()]
    for name, tensor in [*body, ("mean", net.inputs.mean), ("std", net.inputs.std)]:
        digest.update(f"{name} {_content(tensor)}".encode())
    if BESIDE in place:
        digest.update(place.encode())
    digest.update(blocks.images_content.encode())
    return digest.hexdigest()
