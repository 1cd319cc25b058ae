"""How much memory there is, where a container may take less than the machine has."""

from pathlib import Path

import psutil
import pytest

from tlcl.system.memory import available_memory

GIB = 2**30


def write(folder: Path, files: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")


def test_without_a_container_it_is_the_machines(tmp_path: Path) -> None:
    write(tmp_path, {"memory.max": "max", "memory.current": 5, "memory.stat": "inactive_file 1"})
    (tmp_path / "groups").write_text("0::/\n")
    machine = psutil.virtual_memory().available
    assert available_memory(tmp_path / "groups", tmp_path) == pytest.approx(machine, rel=0.2)
    assert available_memory(tmp_path / "none", tmp_path / "none") == pytest.approx(machine, rel=0.2)


def test_version_2_and_a_limit_above(tmp_path: Path) -> None:
    stat = "anon 7\ninactive_file 1000\nactive_file 9"
    write(tmp_path / "pod" / "run", {"memory.max": "max", "memory.current": 1, "memory.stat": stat})
    write(tmp_path / "pod", {"memory.max": GIB, "memory.current": GIB // 2, "memory.stat": stat})
    (tmp_path / "groups").write_text("0::/pod/run\n")
    assert available_memory(tmp_path / "groups", tmp_path) == GIB - GIB // 2 + 1000


def test_version_1(tmp_path: Path) -> None:
    files = {"memory.limit_in_bytes": GIB, "memory.usage_in_bytes": 2 * GIB, "memory.stat": "total_inactive_file 5"}
    write(tmp_path / "memory" / "job", files)
    (tmp_path / "groups").write_text("3:cpu:/x\n4:memory:/job\nnonsense\n")
    assert available_memory(tmp_path / "groups", tmp_path) == 0  # above its limit for a moment
