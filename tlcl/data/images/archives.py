"""Tar and zip files of images: never unpacked; a link in one is followed by name to another of its own files."""

import posixpath
import stat
import tarfile
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tlcl.data.images.decode import BadImage
from tlcl.data.images.walk import counts, is_other
from tlcl.errors import UserError

NO_IMAGE = "no image by its name"
# Pillow would take the small preview in some of them for the photo.
RAW = {".cr2", ".cr3", ".nef", ".nrw", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw", ".3fr", ".x3f"}
LARGEST = 1 << 30  # bytes; as many pixels as Pillow decodes take less, and a packed file may claim any size
UNKNOWN = "file could not be opened successfully"  # what tarfile says of a file that is no archive


def by_name(name: str) -> BadImage | None:
    """Why a file of this name is not read at all; None where it is."""
    if PurePosixPath(name).suffix.lower() in RAW:
        return BadImage("a camera's raw file; save it as JPEG or PNG")
    return BadImage(NO_IMAGE) if is_other(name) else None


@dataclass(frozen=True)
class Member:
    """One entry of an archive.

    Attributes:
        size: bytes; None when it is neither an ordinary file nor a link.
        link: the name of the entry whose content it has; None when it is no link.
        place: where it begins.
        read: its bytes.
    """

    size: int | None
    link: str | None
    place: int
    read: Callable[[], bytes]


def kind_of_archive(path: Path) -> str:
    """`tar file` or `zip file`: by its beginning, as the end of a tar file may be a zip file packed in it."""
    with suppress(OSError):
        if not tarfile.is_tarfile(path) and (zipfile.is_zipfile(path) or path.suffix.lower() == ".zip"):
            return "zip file"
    return "tar file"


def is_archive(path: Path) -> bool:
    """Whether it can be opened as one."""
    try:
        return path.is_file() and (tarfile.is_tarfile(path) or zipfile.is_zipfile(path))
    except OSError:
        return False


def archive_files(path: Path, names: Collection[str] | None) -> Iterator[tuple[str, bytes | BadImage]]:
    """(name, bytes) of every file in it but system litter, or of those `names`, in the archive's order.

    A packed archive can only be read forwards.

    Raises:
        UserError: it is damaged or none.
    """
    kind = kind_of_archive(path)
    try:
        if kind == "zip file":
            with zipfile.ZipFile(path) as packed:
                yield from _chosen(_zip_members(packed), names, kind)
        else:
            with tarfile.open(path) as archive:
                yield from _chosen(_tar_members(archive), names, kind)
    except UserError:
        raise
    except Exception as error:  # zlib.error, LZMAError and others besides TarError, BadZipFile and OSError
        reason = str(error).partition("\n")[0].rstrip(":")
        if reason == UNKNOWN:
            reason = "it is none, and no folder of images; give a folder, or a tar or zip file of one"
        raise UserError(f"{path} cannot be read as a {kind}: {reason}") from None


def _chosen(
    members: Mapping[str, Member | None], names: Collection[str] | None, kind: str
) -> Iterator[tuple[str, bytes | BadImage]]:
    """Contents of the files that count; None stands for a folder."""
    found = {
        name: _resolved(name, members, kind)
        for name, member in members.items()
        if member is not None and counts(part for part in name.split("/") if part not in ("..", "."))
        and (names is None or name in names)
    }  # fmt: skip
    for name, member in sorted(found.items(), key=lambda item: getattr(item[1], "place", 0)):
        refused = by_name(name) or member
        yield name, refused if isinstance(refused, BadImage) else refused.read()


def _tar_members(archive: tarfile.TarFile) -> dict[str, Member | None]:
    """Everything in it, after a look at its end; of several of one name the last, as when unpacked."""

    def member(entry: tarfile.TarInfo) -> Member | None:
        if entry.isdir():
            return None
        link = None
        if entry.issym():  # relative to its own folder; the other kind names an entry
            link = posixpath.normpath(posixpath.join(*_relative(entry.name).split("/")[:-1], entry.linkname))
        elif entry.islnk():
            link = _relative(entry.linkname)

        def read() -> bytes:
            content = archive.extractfile(entry)
            assert content is not None
            return content.read()

        return Member(entry.size if entry.isreg() else None, link, getattr(entry, "offset_data", 0), read)

    members = {_relative(entry.name): member(entry) for entry in archive}
    # tarfile takes a damaged header for the end; the true one is a block of zeros, or nothing more.
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError("a file header in it is damaged")
    while archive.fileobj.read(1 << 20):
        pass  # on to the end, where compressed files keep their checksum
    return members


def _zip_members(archive: zipfile.ZipFile) -> dict[str, Member | None]:
    """The same of a zip file; zip files made on Windows may have backslashes in the place of slashes."""
    members: dict[str, Member | None] = {}
    for entry in archive.infolist():
        name = entry.filename if entry.create_system else entry.filename.replace("\\", "/")
        mode = entry.external_attr >> 16
        folder = name.endswith("/") or stat.S_ISDIR(mode)
        link = None
        if stat.S_ISLNK(mode) and entry.file_size < 4096 and not entry.flag_bits & 1:
            target = archive.read(entry).decode("utf-8", "surrogateescape")
            link = posixpath.normpath(posixpath.join(*_relative(name).split("/")[:-1], target))
        ordinary = not mode or stat.S_ISREG(mode) or not stat.S_IFMT(mode)

        def read(entry: zipfile.ZipInfo = entry) -> bytes:
            if entry.flag_bits & 1:
                raise zipfile.BadZipFile(f"{entry.filename!r} is encrypted")
            return archive.read(entry)

        size = entry.file_size if ordinary else None
        members[_relative(name)] = None if folder else Member(size, link, entry.header_offset, read)
    return members


def _relative(name: str) -> str:
    """Without a leading slash, as it is unpacked, and without `.`."""
    return "/".join(part for part in PurePosixPath(name).parts if part.strip("/") not in ("", ".")) or "."


def _resolved(name: str, members: Mapping[str, Member | None], kind: str) -> Member | BadImage:
    """The entry with the content of the file `name`, through links; or why it is not read."""
    if ".." in name.split("/"):
        return BadImage(f"a name that leads out of the {kind}")
    member, passed = members[name], {name}
    while member is not None and member.link is not None:
        name = member.link
        if name in passed:
            return BadImage("a link to itself")
        if name not in members:
            return BadImage(f"a link to what is not in the {kind}")
        passed.add(name)
        member = members[name]
    if member is None or member.size is None:
        return BadImage("no ordinary file")
    return member if member.size <= LARGEST else BadImage("larger than 1 GiB")
