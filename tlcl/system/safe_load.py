"""Files that torch has saved, read as tensors and plain values alone, whoever made them."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch


class NotTensors(ValueError):
    """The file is damaged or holds more than tensors and plain values; the message says which in a few words."""


def _begins_as_torchs(path: Path) -> bool:
    """Whether a file begins as an archive, of which the end may be missing, or as a pickle, as before torch 1.6.

    An empty one may be of torch's too, written while a disk was full.
    """
    with path.open("rb") as file:
        first = file.read(2)
    return first in (b"", b"PK") or first[:1] == pickle.PROTO


def load_tensors(path: Path) -> Any:
    """What `torch.save` wrote, on the CPU.

    Each record's checksum is checked, and that they claim no more bytes than the file has: torch packs nothing, so
    a small file that fills the memory is nobody's checkpoint. Files from before torch 1.6 are no archives.

    Raises:
        NotTensors: see there.
        OSError: the file cannot be read.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if sum(record.file_size for record in archive.infolist()) > path.stat().st_size:
                    raise NotTensors("it claims to hold more than it does")
                damaged = archive.testzip()
            if damaged is not None:
                raise NotTensors(f"{damaged} fails its checksum")
        elif not _begins_as_torchs(path):
            raise NotTensors("it is no file that torch.save writes")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, NotTensors):
        raise
    except pickle.UnpicklingError:
        raise NotTensors("it holds Python objects beside tensors, which could run code") from None
    except Exception as error:  # damaged files make torch raise nearly anything
        raise NotTensors(str(error).partition("\n")[0] or type(error).__name__) from None
