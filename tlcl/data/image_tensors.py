"""The one type that every image data set becomes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tlcl.errors import UserError

UNKNOWN = -1  # the label of an image whose class nobody knows


@dataclass(frozen=True)
class ImageTensors:
    """Images and labels of one split, immutable; a subset is an index tensor over it, never a copy.

    Attributes:
        images: uint8 (N, C, H, W), C = 1 or 3.
        labels: int64 (N,), values 0..len(classes)-1; or all of them -1, where nobody knows them.
        classes: class names, in the order of the labels.
        names: the files that the images come from, below the folder or in the tar file; empty where there are none.
        sizes: int32 (N, 2), width and height in pixels of those files' images, turned upright by EXIF; None where
            there are no files.
        digests: uint8 (N, 16), of each image's pixels (`tlcl.data.equal_images`), where they are known already.

    Raises:
        UserError: fewer than two classes, no images, or shapes and types other than these.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    names: tuple[str, ...] = ()
    sizes: Tensor | None = None
    digests: Tensor | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or self.images.shape[1] not in (1, 3):
            raise UserError(f"images must be uint8 (N, 1 or 3, H, W), not {self.images.dtype} {self.images.shape}")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise UserError(f"labels must be int64 ({len(self.images)},), not {self.labels.shape}")
        if len(self.classes) < 2:
            raise UserError(f"a classifier needs at least two classes; found {list(self.classes)}")
        if self.names and len(self.names) != len(self.labels):
            raise UserError(f"{len(self.labels)} images cannot have {len(self.names)} names")
        if self.sizes is not None and (
            self.sizes.dtype != torch.int32 or self.sizes.shape != (len(self.labels), 2)
        ):
            raise UserError(
                f"sizes must be int32 ({len(self.labels)}, 2), not {self.sizes.dtype} {self.sizes.shape}"
            )
        if self.digests is not None and self.digests.shape != (len(self.labels), 16):
            raise UserError(f"{len(self.labels)} images cannot have {len(self.digests)} digests")
        if len(self.labels) == 0:
            raise UserError("the data set holds no images")
        if self.labelled and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise UserError(f"labels must lie in 0..{len(self.classes) - 1}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def labelled(self) -> bool:
        """Whether the labels are known."""
        return bool((self.labels != UNKNOWN).any())

    def part(self, start: int, stop: int) -> "ImageTensors":
        """Images from `start` to before `stop`, with all that belongs to them; their pixels are not copied."""
        chosen = slice(start, stop)
        return ImageTensors(
            self.images[chosen],
            self.labels[chosen],
            self.classes,
            self.names[chosen],
            None if self.sizes is None else self.sizes[chosen],
            None if self.digests is None else self.digests[chosen],
        )


class ImageSubset:
    """Some images of a tensor, gathered when they are asked for: a set larger than memory has large subsets.

    Args:
        images: uint8 (N, C, H, W).
        index: int64 (n,).
    """

    def __init__(self, images: Tensor, index: Tensor) -> None:
        self.images, self.index = images, index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, part: int | slice | Tensor) -> Tensor:
        """A copy of one, (C, H, W), or several, (m, C, H, W)."""
        return self.images[self.index[part]]

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.index), *self.images.shape[1:]))


@dataclass(frozen=True)
class Source:
    """What a data source yields: a pool to train and validate on, and a test set that is never touched by either.

    Attributes:
        skipped: how many unreadable files were left out on the user's word.
        test_origin: where the test images come from, as what follows "100 to test"; empty where that is known of
            the data set.
        val: int64 (V,), images of the pool that are for validation because the user said so; None: any may be.
        domains: where the classes are those of several domains, each domain's one after another, `DOMAIN/CLASS`.
    """

    pool: ImageTensors
    test: ImageTensors
    skipped: int = 0
    test_origin: str = ""
    val: Tensor | None = None
    domains: tuple[str, ...] = ()

    @property
    def domain_classes(self) -> tuple[str, ...]:
        """The classes that every domain has; empty where there are none."""
        size = len(self.pool.classes) // max(1, len(self.domains))
        return tuple(name.partition("/")[2] for name in self.pool.classes[:size]) if self.domains else ()

    def __post_init__(self) -> None:
        if self.pool.classes != self.test.classes:
            raise UserError(
                "training and test data have different classes: "
                + difference("training", self.pool.classes, "test", self.test.classes)
            )
        if self.pool.images.shape[1:] != self.test.images.shape[1:]:
            raise UserError("training and test images have different shapes")


def difference(first: str, left: Sequence[str], second: str, right: Sequence[str]) -> str:
    """Which classes one of two data sets has alone: `only in photo ['ox'], only in sketch []`."""
    only_left, only_right = sorted(set(left) - set(right)), sorted(set(right) - set(left))
    return f"only in {first} {only_left}, only in {second} {only_right}"
