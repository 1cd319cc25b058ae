"""`python -m benchmarks.record NAME ARGUMENTS`: run one benchmark and keep what it measured in the register.

NAME is that of a file of `benchmarks/`, ARGUMENTS are its own, as `python -m benchmarks.finetune --help` says them.
`make pages` then writes the pages anew.
"""

import importlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import Benchmark, facts, progress
from benchmarks.figure import Figure, parts_of
from benchmarks.register import here_and_now, write
from tlcl.errors import UserError
from tlcl.models.weights import file_sha256


def load(name: str) -> Benchmark:
    benchmark: Benchmark = importlib.import_module(f"benchmarks.{name}").BENCHMARK
    return benchmark


def typed(benchmark: Benchmark, arguments: Sequence[str]) -> str:
    """The command; of a file's or folder's path only the name, the rest is of this machine."""
    shown = [Path(one).name if "/" in one and Path(one).exists() else one for one in arguments]
    return f"python -m {benchmark.module} {shlex.join(shown)}".strip()


def record(benchmark: Benchmark, section: str, arguments: Sequence[str]) -> Path:
    """A benchmark's section into `benchmark_NAME.json`, with the hashes of the files that it read."""
    options = benchmark.parser().parse_args(arguments)
    digests = {name: file_sha256(path) for name, path in benchmark.files(options).items()}
    weights = {name: one for name, one in digests.items() if name.startswith("weights/")}
    data = {name: one for name, one in digests.items() if name not in weights}
    return write(Figure(
        f"benchmark_{benchmark.name}", (typed(benchmark, arguments),), benchmark.seeds(options), data, weights,
        parts=parts_of(section), measured=here_and_now() | {"facts": facts()},
    ))  # fmt: skip


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    name, *arguments = sys.argv[1:]
    benchmark = load(name)
    try:
        progress(f"written: {record(benchmark, benchmark.run(arguments), arguments)}")
    except UserError as error:
        benchmark.parser().error(str(error))


if __name__ == "__main__":
    main()
