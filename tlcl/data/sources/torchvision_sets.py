"""The data sets that torchvision reads: how the parts of each are made, and where its files lie and come from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from operator import attrgetter
from typing import Any, NamedTuple

from tlcl.errors import UserError

NEAREST = 3  # names that are offered in the place of one that is not known


class Part(NamedTuple):
    """The reader's arguments for a part, and how many images that part has where it is whole."""

    arguments: Mapping[str, Any]
    images: int


@dataclass(frozen=True)
class TorchvisionSet:
    """One data set.

    Attributes:
        reader: its class in `torchvision.datasets`.
        parts: `train`, and those that there are of `val` and `test`, in this order.
        labels: of an open part, the labels of its images in their order.
        files: what it is read from, folders and files below the root.
        archives: what torchvision unpacks them from, below the root; their MD5 is checked before.
        origin: where the archives are offered.
        names: the open part's attribute with the names of the classes; empty: none is asked for.
        count: of the classes, whose names are numbers where there is no such attribute.
        first: the label and the place among the names of the first class.
        transposed: whether rows and columns of the pixels are exchanged in the files.
        test_origin: see `tlcl.data.image_tensors.Source`.
        unordered: whether the files come in the order of the disk, which another machine does not share.
        package: what has to be installed besides.
        extra: of this project, which brings it.
        md5: of the one archive, where torchvision knows none.
    """

    reader: str
    parts: Mapping[str, Part]
    labels: Callable[[Any], Any]
    files: tuple[str, ...]
    archives: tuple[str, ...]
    origin: str
    names: str = "classes"
    count: int | None = None
    first: int = 0
    transposed: bool = False
    test_origin: str = ""
    unordered: bool = False
    package: str = ""
    extra: str = ""
    md5: str = ""

    @property
    def wanted(self) -> str:
        """What to put below the root."""
        return ", ".join(self.archives or self.files)


def _split(train: int, test: int, val: int = 0, names: tuple[str, str, str] = ("train", "val", "test")) -> Any:
    """Parts that the argument `split` tells apart."""
    sizes = dict(zip(("train", "val", "test"), (train, val, test), strict=True))
    return {
        part: Part({"split": name}, sizes[part]) for part, name in zip(sizes, names, strict=True) if sizes[part]
    }


def _train(train: int, test: int, **more: str) -> Any:
    """Parts that the argument `train` tells apart."""
    return {"train": Part({"train": True, **more}, train), "test": Part({"train": False, **more}, test)}


def _pairs(part: Any) -> list[int]:
    """The labels of a list of (file, label)."""
    return [label for _, label in part._samples]


def _pcam_labels(part: Any) -> Any:
    with part.h5py.File(part._base_folder / part._FILES[part._split]["targets"][0]) as file:
        return file["y"][:].reshape(-1)


def _mnist(name: str, origin: str) -> TorchvisionSet:
    """The sets in the form of MNIST."""
    raw = tuple(
        f"{name}/raw/{part}-{kind}-ubyte"
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    )
    archives = tuple(f"{file}.gz" for file in raw)
    # Digits have plain numbers for names, so that one set of them adapts to another; torchvision has "0 - zero".
    names, count = ("", 10) if name == "MNIST" else ("classes", None)
    return TorchvisionSet(
        name, _train(60_000, 10_000), attrgetter("targets"), raw, archives, origin, names=names, count=count
    )


def _emnist(split: str, train: int, test: int, first: int = 0) -> TorchvisionSet:
    """A split of EMNIST, whose files hold the columns of each image as its rows (Cohen et al. 2017)."""
    files = tuple(
        f"EMNIST/raw/emnist-{split}-{part}-{kind}-ubyte"
        for part in ("train", "test")
        for kind in ("images-idx3", "labels-idx1")
    )
    return TorchvisionSet(
        "EMNIST", _train(train, test, split=split), attrgetter("targets"), files, ("EMNIST/raw/gzip.zip",),
        "biometrics.nist.gov/cs_links/EMNIST", first=first, transposed=True,
    )  # fmt: skip


def _cifar(name: str, folder: str, archive: str) -> TorchvisionSet:
    return TorchvisionSet(
        name, _train(50_000, 10_000), attrgetter("targets"), (folder,), (archive,), "www.cs.toronto.edu/~kriz"
    )


_OXFORD = "www.robots.ox.ac.uk/~vgg/data"
_HELD_OUT = "held out of the same set"
SETS = {
    "Caltech101": TorchvisionSet(
        "Caltech101", {"train": Part({}, 8_677)}, attrgetter("y"), ("caltech101/101_ObjectCategories",),
        ("caltech101/caltech-101.zip",), "data.caltech.edu/records/mzrjq-6wc02", names="categories",
        test_origin=_HELD_OUT,
    ),
    "CIFAR10": _cifar("CIFAR10", "cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "CIFAR100": _cifar("CIFAR100", "cifar-100-python", "cifar-100-python.tar.gz"),
    "Country211": TorchvisionSet(
        "Country211", _split(31_650, 21_100, 10_550, ("train", "valid", "test")), attrgetter("targets"),
        ("country211",), ("country211.tgz",), "openaipublic.azureedge.net/clip/data",
    ),
    "DTD": TorchvisionSet(
        "DTD", _split(1_880, 1_880, 1_880), attrgetter("_labels"), ("dtd/dtd",), ("dtd/dtd-r1.0.1.tar.gz",),
        f"{_OXFORD}/dtd/download",
    ),
    "EMNIST-balanced": _emnist("balanced", 112_800, 18_800),
    "EMNIST-letters": _emnist("letters", 124_800, 20_800, first=1),
    "EuroSAT": TorchvisionSet(
        "EuroSAT", {"train": Part({}, 27_000)}, attrgetter("targets"), ("eurosat/2750",), ("eurosat/EuroSAT.zip",),
        "huggingface.co/datasets/torchgeo/eurosat", test_origin=_HELD_OUT,
    ),
    "FashionMNIST": _mnist("FashionMNIST", "github.com/zalandoresearch/fashion-mnist"),
    "FGVCAircraft": TorchvisionSet(
        "FGVCAircraft", _split(3_334, 3_333, 3_333), attrgetter("_labels"), ("fgvc-aircraft-2013b",),
        ("fgvc-aircraft-2013b.tar.gz",), f"{_OXFORD}/fgvc-aircraft/archives",
        md5="d4acdd33327262359767eeaa97a4f732",
    ),
    "Flowers102": TorchvisionSet(
        "Flowers102", _split(1_020, 6_149, 1_020), attrgetter("_labels"), ("flowers-102",),
        ("flowers-102/102flowers.tgz", "flowers-102/imagelabels.mat", "flowers-102/setid.mat"),
        f"{_OXFORD}/flowers/102", count=102,
    ),
    "Food101": TorchvisionSet(
        "Food101", _split(75_750, 25_250), attrgetter("_labels"), ("food-101",), ("food-101.tar.gz",),
        "data.vision.ee.ethz.ch/cvl",
    ),
    "GTSRB": TorchvisionSet(
        "GTSRB", _split(26_640, 12_630), _pairs, ("gtsrb",),
        (
            "gtsrb/GTSRB-Training_fixed.zip", "gtsrb/GTSRB_Final_Test_Images.zip", "gtsrb/GTSRB_Final_Test_GT.zip",
        ),
        "sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370", count=43,
    ),
    "Imagenette": TorchvisionSet(
        "Imagenette", _split(9_469, 3_925, names=("train", "", "val")), _pairs, ("imagenette2",),
        ("imagenette2.tgz",), "s3.amazonaws.com/fast-ai-imageclas", test_origin="its own val part",
    ),
    "KMNIST": _mnist("KMNIST", "codh.rois.ac.jp/kmnist"),
    "MNIST": _mnist("MNIST", "ossci-datasets.s3.amazonaws.com/mnist"),
    "OxfordIIITPet": TorchvisionSet(
        "OxfordIIITPet", _split(3_680, 3_669, names=("trainval", "", "test")), attrgetter("_labels"),
        ("oxford-iiit-pet",), ("oxford-iiit-pet/images.tar.gz", "oxford-iiit-pet/annotations.tar.gz"),
        f"{_OXFORD}/pets/data",
    ),
    "PCAM": TorchvisionSet(
        "PCAM", _split(262_144, 32_768, 32_768), _pcam_labels, ("pcam",),
        tuple(
            f"pcam/camelyonpatch_level_2_split_{part}_{kind}.h5.gz"
            for part in ("train", "valid", "test")
            for kind in "xy"
        ),
        "github.com/basveeling/pcam", count=2, package="h5py", extra="pcam",
    ),
    "RenderedSST2": TorchvisionSet(
        "RenderedSST2", _split(6_920, 1_821, 872), _pairs, ("rendered-sst2",), ("rendered-sst2.tgz",),
        "openaipublic.azureedge.net/clip/data",
    ),
    "StanfordCars": TorchvisionSet(
        "StanfordCars", _split(8_144, 8_041), _pairs, ("stanford_cars",), (),
        "a copy (cars_train, cars_test, devkit, cars_test_annos_withlabels.mat), as its authors offer none",
    ),
    "STL10": TorchvisionSet(
        "STL10", _split(5_000, 8_000), attrgetter("labels"), ("stl10_binary",), ("stl10_binary.tar.gz",),
        "ai.stanford.edu/~acoates/stl10", count=10,
    ),
    "SUN397": TorchvisionSet(
        "SUN397", {"train": Part({}, 108_754)}, attrgetter("_labels"), ("SUN397",), ("SUN397.tar.gz",),
        "vision.princeton.edu/projects/2010/SUN", test_origin=_HELD_OUT, unordered=True,
    ),
    "SVHN": TorchvisionSet(
        "SVHN", _split(73_257, 26_032), attrgetter("labels"), ("train_32x32.mat", "test_32x32.mat"),
        ("train_32x32.mat", "test_32x32.mat"), "ufldl.stanford.edu/housenumbers", count=10,
    ),
    "USPS": TorchvisionSet(
        "USPS", _train(7_291, 2_007), attrgetter("targets"), ("usps.bz2", "usps.t.bz2"),
        (), "www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass", count=10,
    ),
}  # fmt: skip


def known_set(name: str) -> TorchvisionSet:
    """The set of this name.

    Raises:
        UserError: there is none; those with the nearest names are said.
    """
    if name in SETS:
        return SETS[name]
    plain = {known.casefold(): known for known in SETS}
    near = [plain[one] for one in get_close_matches(name.casefold(), plain, NEAREST)]
    offer = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(SETS)}"
    raise UserError(f"data.name={name} is no data set that data=torchvision knows; {offer}")
