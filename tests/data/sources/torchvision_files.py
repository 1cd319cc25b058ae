"""Data sets of torchvision's as they lie on a disk, a few made-up images each."""

import bz2
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

Pixels = dict[str, list[np.ndarray]]  # part -> images, (H, W, 3) or (H, W), in torchvision's order


def noise(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *shape), dtype=np.uint8)


def photo(path: Path, value: int, width: int = 12, height: int = 12) -> None:
    """An image file with a gradient, so that a crop or a turn is seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.add.outer(np.arange(height) * 3, np.arange(width) * 7)
    Image.fromarray(np.stack([rows + value, rows, 255 - rows], axis=2).clip(0, 255).astype(np.uint8)).save(path)


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def cifar100(root: Path) -> Pixels:
    """Six images to train and four to test, of three classes."""
    folder, rows = root / "cifar-100-python", noise(10, 3072)
    folder.mkdir(parents=True)
    for name, chosen in (("train", slice(0, 6)), ("test", slice(6, 10))):
        labels = [index % 3 for index in range(len(rows[chosen]))]
        part = {"data": rows[chosen], "fine_labels": labels, "coarse_labels": [0] * len(labels)}
        (folder / name).write_bytes(pickle.dumps(part))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": ["apple", "bear", "cup"]}))
    images = list(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return {"train": images[:6], "test": images[6:]}


def svhn(root: Path) -> Pixels:
    """Ten images of each digit once, in the files' own numbering, where 10 is the digit 0."""
    root.mkdir(parents=True, exist_ok=True)
    pixels = {}
    for part in ("train", "test"):
        images = noise(10, 32, 32, 3) ^ (part == "test")
        labels = np.arange(1, 11, dtype=np.uint8)[:, None]
        savemat(root / f"{part}_32x32.mat", {"X": images.transpose(1, 2, 3, 0), "y": labels})
        pixels[part] = list(images)
    return pixels


def stl10(root: Path) -> Pixels:
    """Images of 96 x 96, colour by colour and column by column, labels from 1 on."""
    folder, images = root / "stl10_binary", noise(7, 96, 96, 3)
    folder.mkdir(parents=True)
    for part, chosen in (("train", slice(0, 4)), ("test", slice(4, 7))):
        (folder / f"{part}_X.bin").write_bytes(images[chosen].transpose(0, 3, 2, 1).tobytes())
        (folder / f"{part}_y.bin").write_bytes(bytes(range(1, 1 + len(images[chosen]))))
    (folder / "unlabeled_X.bin").write_bytes(b"")
    names = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]
    (folder / "class_names.txt").write_text("\n".join(names) + "\n")
    return {"train": list(images[:4]), "test": list(images[4:])}


def eurosat(root: Path) -> list[Path]:
    """Ten images of each of two classes."""
    paths = [root / f"eurosat/2750/{name}/{name}_{i}.jpg" for name in ("Forest", "River") for i in range(10)]
    for value, path in enumerate(paths):
        photo(path, 5 * value)
    return paths


def imagenette(root: Path) -> dict[str, list[Path]]:
    found = {}
    for part, count in (("train", 2), ("val", 1)):
        paths = [
            root / f"imagenette2/{part}/{wnid}/{wnid}_{index}.JPEG"
            for wnid in ("n01440764", "n03888257")
            for index in range(count)
        ]
        for value, path in enumerate(paths):
            photo(path, 20 * value, width=30, height=20)
        found[part] = paths
    return found


def pets(root: Path) -> dict[str, list[Path]]:
    """Lines `name class species breed`, in no order of the classes."""
    folder, found = root / "oxford-iiit-pet", {}
    for part, names in (
        ("trainval", ["yorkshire_terrier_3", "Abyssinian_2", "Abyssinian_1"]),
        ("test", ["Abyssinian_9", "yorkshire_terrier_8"]),
    ):
        lines = [f"{name} {1 if name.startswith('A') else 2} 1 1\n" for name in names]
        write_text(folder / f"annotations/{part}.txt", "".join(lines))
        found[part] = [folder / f"images/{name}.jpg" for name in names]
        for value, path in enumerate(found[part]):
            photo(path, 30 * value, width=16)
    return found


def dtd(root: Path) -> dict[str, list[Path]]:
    folder, found = root / "dtd/dtd", {}
    for part, number in (("train", 0), ("val", 1), ("test", 2)):
        names = [f"{name}/{name}_{number:04d}.jpg" for name in ("woven", "banded")]
        write_text(folder / f"labels/{part}1.txt", "\n".join(names) + "\n")
        found[part] = [folder / "images" / name for name in names]
        for value, path in enumerate(found[part]):
            photo(path, 40 * value + 10 * number)
    return found


def food101(root: Path) -> dict[str, list[Path]]:
    folder, found = root / "food-101", {}
    for part in ("train", "test"):
        listed = {name: [f"{name}/{part}{index}" for index in range(2)] for name in ("waffles", "apple_pie")}
        write_text(folder / f"meta/{part}.json", json.dumps(listed))
        found[part] = [folder / f"images/{name}.jpg" for names in listed.values() for name in names]
        for value, path in enumerate(found[part]):
            photo(path, 15 * value)
    return found


def flowers102(root: Path) -> dict[str, list[Path]]:
    """Six images, two in each part, of classes 1 and 102."""
    folder = root / "flowers-102"
    folder.mkdir(parents=True)
    savemat(folder / "imagelabels.mat", {"labels": np.array([[1, 102, 1, 102, 1, 102]], dtype=np.uint8)})
    ids = {"trnid": [[2, 1]], "valid": [[3, 4]], "tstid": [[5, 6]]}
    savemat(folder / "setid.mat", {name: np.array(numbers, dtype=np.uint16) for name, numbers in ids.items()})
    for number in range(1, 7):
        photo(folder / f"jpg/image_{number:05d}.jpg", 20 * number)
    return {
        part: [folder / f"jpg/image_{number:05d}.jpg" for number in ids[name][0]]
        for part, name in (("train", "trnid"), ("val", "valid"), ("test", "tstid"))
    }


def idx(path: Path, array: np.ndarray) -> None:
    """Bytes in the format of MNIST: magic number, sizes, values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


def mnist(root: Path, name: str = "MNIST") -> Pixels:
    images = noise(30, 28, 28)
    for part, chosen in (("train", slice(0, 20)), ("t10k", slice(20, 30))):
        labels = np.arange(len(images[chosen]), dtype=np.uint8)[::-1] % 10
        idx(root / name / "raw" / f"{part}-images-idx3-ubyte", images[chosen])
        idx(root / name / "raw" / f"{part}-labels-idx1-ubyte", np.ascontiguousarray(labels))
    return {"train": list(images[:20]), "test": list(images[20:])}


def emnist_letters(root: Path) -> Pixels:
    """Upright images; the files hold them with rows and columns exchanged, and labels 1 to 26."""
    images = noise(52, 28, 28)
    for part, chosen in (("train", slice(0, 26)), ("test", slice(26, 52))):
        start = root / "EMNIST" / "raw" / f"emnist-letters-{part}"
        idx(Path(f"{start}-images-idx3-ubyte"), np.ascontiguousarray(images[chosen].transpose(0, 2, 1)))
        idx(Path(f"{start}-labels-idx1-ubyte"), np.arange(1, 27, dtype=np.uint8))
    return {"train": list(images[:26]), "test": list(images[26:])}


def usps(root: Path) -> Pixels:
    """Lines `label 1:value ...`, values from -1 to 1, the label one more than the digit."""
    root.mkdir(parents=True, exist_ok=True)
    pixels = {}
    for part, file in (("train", "usps.bz2"), ("test", "usps.t.bz2")):
        images = np.repeat(np.array([0, 255], dtype=np.uint8), 128).reshape(1, 16, 16).repeat(10, 0)
        images[np.arange(10), 15, np.arange(10)] = 0
        lines = [
            " ".join([str(digit + 1), *(f"{i + 1}:{2 * int(v) / 255 - 1:g}" for i, v in enumerate(image.flat))])
            for digit, image in enumerate(images)
        ]
        (root / file).write_bytes(bz2.compress(("\n".join(lines) + "\n").encode()))
        pixels[part] = list(images)
    return pixels


def caltech101(root: Path) -> list[Path]:
    folder = root / "caltech101/101_ObjectCategories"
    photo(folder / "BACKGROUND_Google/image_0001.jpg", 0)
    paths = [folder / f"{name}/image_{i:04d}.jpg" for name in ("ant", "yin_yang") for i in range(1, 6)]
    for value, path in enumerate(paths):
        photo(path, 10 * value)
    return paths


def gtsrb(root: Path) -> dict[str, list[Path]]:
    folder = root / "gtsrb"
    train = [folder / f"GTSRB/Training/{label:05d}/00000_0000{i}.ppm" for label in range(3) for i in range(2)]
    test = [folder / f"GTSRB/Final_Test/Images/{number:05d}.ppm" for number in range(3)]
    for value, path in enumerate([*train, *test]):
        photo(path, 10 * value)
    lines = [f"{path.name};12;12;0;0;12;12;{2 - number}\n" for number, path in enumerate(test)]
    write_text(
        folder / "GT-final_test.csv", "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n" + "".join(lines)
    )
    return {"train": train, "test": test}


def aircraft(root: Path) -> dict[str, list[Path]]:
    folder, found = root / "fgvc-aircraft-2013b/data", {}
    write_text(folder / "variants.txt", "707-320\nF/A-18\n")
    for part, number in (("train", 0), ("val", 1), ("test", 2)):
        write_text(folder / f"images_variant_{part}.txt", f"{number}1 F/A-18\n{number}0 707-320\n")
        found[part] = [folder / f"images/{number}{index}.jpg" for index in (1, 0)]
        for value, path in enumerate(found[part]):
            photo(path, 40 * value)
    return found


def sun397(root: Path) -> list[Path]:
    """Its classes have folders in folders; in the order of the names."""
    folder = root / "SUN397"
    write_text(folder / "ClassName.txt", "/a/abbey\n/a/apartment_building/outdoor\n")
    paths = [folder / f"a/abbey/sun_{i}.jpg" for i in range(5)]
    paths += [folder / f"a/apartment_building/outdoor/sun_{i}.jpg" for i in range(5)]
    for value, path in enumerate(paths):
        photo(path, 10 * value)
    return paths


def rendered_sst2(root: Path) -> dict[str, list[Path]]:
    found = {}
    for part, folder in (("train", "train"), ("val", "valid"), ("test", "test")):
        found[part] = [root / f"rendered-sst2/{folder}/{name}/0.png" for name in ("negative", "positive")]
        for value, path in enumerate(found[part]):
            photo(path, 100 * value)
    return found


def country211(root: Path) -> dict[str, list[Path]]:
    found = {}
    for part, folder in (("train", "train"), ("val", "valid"), ("test", "test")):
        found[part] = [root / f"country211/{folder}/{name}/1.jpg" for name in ("AD", "ZW")]
        for value, path in enumerate(found[part]):
            photo(path, 100 * value)
    return found


def cars(root: Path) -> dict[str, list[Path]]:
    folder, found = root / "stanford_cars", {}
    (folder / "devkit").mkdir(parents=True)
    names = np.array(["AM General Hummer SUV 2000", "Acura RL Sedan 2012"], dtype=object)
    savemat(folder / "devkit/cars_meta.mat", {"class_names": names})
    for part, file in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        listed = np.array([("2.jpg", 2), ("1.jpg", 1)], dtype=[("fname", object), ("class", object)])
        savemat(folder / file, {"annotations": listed})
        found[part] = [folder / f"cars_{part}/{name}.jpg" for name in (2, 1)]
        for value, path in enumerate(found[part]):
            photo(path, 50 * value)
    return found


def pcam(root: Path, h5py: Any) -> Pixels:
    """Labels 0 1 0, 1 0 and 1 0."""
    folder, images = root / "pcam", noise(7, 96, 96, 3)
    folder.mkdir(parents=True)
    labels = np.array([0, 1, 0, 1, 0, 1, 0], dtype=np.uint8).reshape(-1, 1, 1, 1)
    found = {}
    for part, chosen in (("train", slice(0, 3)), ("valid", slice(3, 5)), ("test", slice(5, 7))):
        for kind, array in (("x", images), ("y", labels)):
            with h5py.File(folder / f"camelyonpatch_level_2_split_{part}_{kind}.h5", "w") as file:
                file[kind] = array[chosen]
        found[part] = list(images[chosen])
    return found
