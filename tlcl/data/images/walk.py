"""The files below a folder, through links to folders, without being caught in a loop of them."""

import os
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from tlcl.errors import UserError

# What systems, file servers and programs leave beside photos; a name that begins with a dot is one too.
LITTER = {
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "picasa.ini", "__macosx", "@eadir",
    "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@sharebin", "@tmp", "$recycle.bin", "recycler",
    "system volume information", "lost+found", "lost.dir", "network trash folder", "temporary items",
    "found.000", "__pycache__", "_thumbs", "~snapshot",
}  # fmt: skip
# Endings of what lies beside photos and is none: lists, notes, sidecars, films, sound, archives, programs.
OTHER = {
    ".txt", ".md", ".rst", ".rtf", ".pdf", ".doc", ".docx", ".odt", ".xls", ".xlsx", ".ods", ".ppt", ".pptx",
    ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".html", ".htm", ".log",
    ".db", ".sqlite", ".lnk", ".url", ".webloc", ".xmp", ".aae", ".thm", ".mp4", ".mov", ".avi", ".mkv", ".m4v",
    ".wmv", ".webm", ".mp3", ".wav", ".m4a", ".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".npy",
    ".npz", ".mat", ".h5", ".hdf5", ".pkl", ".pt", ".pth", ".parquet", ".py", ".ipynb", ".m", ".r", ".sh", ".bat",
    ".exe", ".dll", ".tmp", ".bak", ".part", ".crdownload", ".md5", ".sha256",
}  # fmt: skip
Identity = tuple[int, int]  # device and inode: the same for every path that leads to a folder


def is_litter(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or what systems leave behind."""
    return name.startswith((".", "__MACOSX")) or name.lower() in LITTER


def counts(parts: Iterable[str]) -> bool:
    """Whether a file with these names of folders and its own last is none of the litter, nor in it."""
    return not any(is_litter(part) for part in parts)


def is_other(name: str) -> bool:
    """Whether a file's ending says that it is no image."""
    return os.path.splitext(name)[1].lower() in OTHER


def files_below(root: Path) -> list[str]:
    """`folder/.../name` of every file below `root` but litter, in order folder by folder.

    Broken links are among them. Links to folders are followed, except one that leads back to a folder it lies in,
    by its path or in truth.

    Raises:
        UserError: a folder that cannot be listed, whose images would be missed in silence.
    """
    start = len(str(root)) + (not str(root).endswith(os.sep))
    names = [path[start:].replace(os.sep, "/") for path in _below(str(root))]
    return in_order(names)


def in_order(names: Iterable[str]) -> list[str]:
    """Folder by folder, the same in every form of Unicode that a file system may keep the names in."""
    return sorted(names, key=lambda name: (unicodedata.normalize("NFC", name).split("/"), name))


def image_paths(root: Path) -> list[Path]:
    """The files of `files_below` that may be images, as paths."""
    return [root / name for name in files_below(root) if not is_other(name)]


def class_folders(root: Path) -> list[str]:
    """The folders in `root` that stand for classes, with images in them or not, sorted."""
    inside = _folders_above(str(root)) | _identities(str(root))
    return sorted(
        path.name
        for path in root.iterdir()
        if path.is_dir() and not is_litter(path.name) and not _identities(str(path)) & inside
    )


def _below(root: str) -> Iterator[str]:
    """Every file below `root`."""
    inside = {root: _folders_above(root) | _identities(root)}  # all that a folder lies in, itself among them
    for folder, folders, files in os.walk(root, onerror=_refuse, followlinks=True):
        yield from (os.path.join(folder, name) for name in files if not is_litter(name))
        around, names, folders[:] = inside.pop(folder), list(folders), []
        for name in names:
            path = os.path.join(folder, name)
            here = _identities(path)
            # A hidden folder may link to half the disk.
            if not is_litter(name) and not here & around:
                folders.append(name)
                inside[path] = around | here | (_folders_above(path) if os.path.islink(path) else frozenset())


def _refuse(error: OSError) -> None:
    raise UserError(f"the folder {error.filename} cannot be listed: {error.strerror or error}") from None


def _identities(*folders: str) -> frozenset[Identity]:
    """Of the folders that can be looked at."""
    found = set()
    for folder in folders:
        try:
            status = os.stat(folder)
        except OSError:
            continue
        found.add((status.st_dev, status.st_ino))
    return frozenset(found)


def _folders_above(folder: str) -> frozenset[Identity]:
    return _identities(*map(str, Path(os.path.realpath(folder)).parents))
