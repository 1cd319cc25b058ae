"""The bytes of a user's image files, from a folder or a tar file; only what is a file of them is ever read.

In a folder links are followed wherever they lead, as one made by hand often is all links. A tar file may come from
anybody: it is never unpacked, and a link in it is followed by name to another of its own files and nowhere else.
"""

import posixpath
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tlcl.data.images.decode import BadImage
from tlcl.data.images.walk import image_paths, is_image_name
from tlcl.errors import UserError

LARGEST = 1 << 30  # bytes; as many pixels as Pillow decodes take less, and a packed file may claim any size
Content = bytes | BadImage  # BadImage: why a file was not read


def read_file(path: Path) -> Content:
    """The bytes of one file; a pipe or a device, which could go on for ever, is none."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            return BadImage("no ordinary file")
        return path.read_bytes() if about.st_size <= LARGEST else BadImage("larger than 1 GiB")
    except (OSError, ValueError) as error:
        return BadImage(getattr(error, "strerror", None) or str(error))


def read_files(path: Path) -> Iterator[tuple[PurePosixPath, Content]]:
    """(class/.../name, bytes) of every file that should be an image: no hidden files, no system litter.

    Raises:
        UserError: `path` is neither a folder that can be listed nor a readable tar file.
    """
    if path.is_dir():
        return _folder_files(path)
    if path.is_file():
        return _tar_files(path)
    raise UserError(f"{path} does not exist; give a folder with one folder a class, or a tar file of one")


def _folder_files(root: Path) -> Iterator[tuple[PurePosixPath, Content]]:
    for path in image_paths(root):
        yield PurePosixPath(path.relative_to(root).as_posix()), read_file(path)


def _tar_files(path: Path) -> Iterator[tuple[PurePosixPath, Content]]:
    try:
        with tarfile.open(path) as archive:
            members = _members(archive)
            named = [name for name, member in members.items() if not member.isdir() and _is_image_name(name)]
            found = {name: _resolve_links(name, members) for name in named}
            # In the archive's order, as a packed one can only be read forwards.
            for name, member in sorted(found.items(), key=lambda item: getattr(item[1], "offset_data", 0)):
                if isinstance(member, BadImage):
                    yield name, member
                    continue
                content = archive.extractfile(member)
                assert content is not None
                yield name, content.read()
    except Exception as error:  # zlib.error, LZMAError and others besides TarError and OSError
        reason = str(error).partition("\n")[0].rstrip(":")
        raise UserError(f"{path} cannot be read as a tar file: {reason}") from None


def _members(archive: tarfile.TarFile) -> dict[PurePosixPath, tarfile.TarInfo]:
    """Everything in the archive, after a look at its end; of several of one name the last, as when unpacked."""
    members = {_relative(member.name): member for member in archive}
    # tarfile takes a damaged header for the end; the true one is a block of zeros, or nothing more.
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError("a file header in it is damaged")
    while archive.fileobj.read(1 << 20):
        pass  # on to the end, where compressed files keep their checksum
    return members


def _relative(name: str) -> PurePosixPath:
    """Without a leading slash, as tar unpacks it, and without `.`."""
    return PurePosixPath(*[part for part in PurePosixPath(name).parts if part.strip("/") not in ("", ".")])


def _is_image_name(name: PurePosixPath) -> bool:
    return is_image_name(PurePosixPath(*[part for part in name.parts if part != ".."]))


def _resolve_links(
    name: PurePosixPath, members: dict[PurePosixPath, tarfile.TarInfo]
) -> tarfile.TarInfo | BadImage:
    """The member with the content of the file `name`, through links; or why it is not read."""
    if ".." in name.parts:
        return BadImage("a name that leads out of the tar file")
    member, passed = members[name], {name}
    while member.issym() or member.islnk():
        if member.issym():  # relative to its own folder; the other kind names a member
            target = posixpath.normpath(posixpath.join(*name.parts[:-1], member.linkname))
        else:
            target = str(_relative(member.linkname))
        name = PurePosixPath(target)
        if name in passed:
            return BadImage("a link to itself")
        if name not in members:
            return BadImage("a link to what is not in the tar file")
        passed.add(name)
        member = members[name]
    if not member.isreg():
        return BadImage("no ordinary file")
    return member if member.size <= LARGEST else BadImage("larger than 1 GiB")
