"""Files of tensors as somebody else may have made them: read as what they say, or refused in one sentence."""

import io
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from tests.conftest import refusal
from tlcl.models.weights import read_state
from tlcl.system.safe_load import NotTensors, load_tensors
from tlcl.tracking.checkpoint import read_checkpoint


def saved(legacy: bool) -> bytes:
    content = io.BytesIO()
    state = {"net": {"weight": torch.arange(6.0).reshape(2, 3)}, "epoch": 3, "names": ["a", "b"], "none": None}
    torch.save(state, content, _use_new_zipfile_serialization=not legacy)
    return content.getvalue()


FLIPS = st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=5)
SAVED = {legacy: saved(legacy) for legacy in (False, True)}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "weights.pth"


@given(st.booleans(), FLIPS, st.integers(0, 2000))
@example(False, [], 2000)
@example(True, [], 2000)
@example(False, [], 0)
def test_damaged_tensors_are_refused(file: Path, legacy: bool, flips: list[tuple[int, int]], cut: int) -> None:
    """Whatever torch makes of it; what is in an archive has checksums, so nothing wrong is ever loaded from one."""
    content = bytearray(SAVED[legacy])
    for place, value in flips:
        content[place % len(content)] = value
    file.write_bytes(content[: max(cut, 0)] if cut < len(content) else content)
    refused = refusal(lambda: load_tensors(file), NotTensors)
    refusal(lambda: read_state(file))
    refusal(lambda: read_checkpoint(file), ValueError)
    if refused is None and not legacy:
        assert torch.equal(load_tensors(file)["net"]["weight"], torch.arange(6.0).reshape(2, 3))
    if bytes(content) == SAVED[legacy] and cut >= len(content):
        assert refused is None


def test_a_packed_archive_that_would_fill_the_memory_is_refused(file: Path) -> None:
    """One of 200 MB of zeros takes 200 kB; torch itself would unpack it."""
    with (
        zipfile.ZipFile(io.BytesIO(SAVED[False])) as archive,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out,
    ):
        for record in archive.infolist():
            content = archive.read(record)
            out.writestr(record.filename, bytes(200_000_000) if record.filename.endswith("data/0") else content)
    assert file.stat().st_size < 1_000_000
    with pytest.raises(NotTensors, match="more than it does"):
        load_tensors(file)


def test_objects_beside_tensors_are_refused_by_name(file: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, (f"open({str(mark)!r}, 'w')",))

    for legacy in (False, True):
        torch.save({"weight": Bomb()}, file, _use_new_zipfile_serialization=not legacy)
        for read in (load_tensors, read_state, read_checkpoint):
            assert "could run code" in str(refusal(lambda read=read: read(file), ValueError))  # type: ignore[misc]
    assert not mark.exists()


def test_text_is_called_no_file_of_tensors(tmp_path: Path) -> None:
    """Not one with Python objects in it, nor in the words of the library that tried."""
    for name, words in (("a.pth", "no file that torch.save writes"), ("a.safetensors", "no whole .safetensors")):
        (tmp_path / name).write_text("a page that says 404\n" * 20)
        assert words in str(refusal(lambda name=name: read_state(tmp_path / name)))  # type: ignore[misc]
