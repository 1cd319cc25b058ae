"""`python -m torture`: faults done to real processes of `tlcl`; what came of each goes into a table.

Exit code 1 when a promise was not kept. What a broken case left stays in its folder, which is named.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tqdm import tqdm

from tlcl.system.files import atomic_write_text
from torture import damage, disks, kills, numerics, pictures, signals, surroundings
from torture.case import Broken, Case, Outcome, Skipped
from torture.table import csv_text, markdown
from torture.workplace import Hanging, Shared

RESULTS = Path(__file__).parent.parent / "docs" / "faults.md"


def all_cases(count: int, seed: int) -> list[Case]:
    """Every case of the campaign, in the table's order."""
    families = (signals, disks, damage, pictures, numerics, surroundings)
    return [*kills.cases(count, seed), *(case for family in families for case in family.cases())]


def attempt(case: Case, shared: Shared) -> Outcome:
    """Run one case in a folder of its own, which stays only when the promise is broken."""
    began = time.perf_counter()
    place = shared.workplace(case.name.replace("/", "-").replace(" ", "_"))
    try:
        status, happened = "kept", case.check(place)
    except Skipped as reason:
        status, happened = "skipped", str(reason)
    except (Broken, Hanging) as reason:
        status, happened = "broken", str(reason)
    except Exception as error:  # of the case itself; the others go on
        status, happened = "broken", f"the case failed: {type(error).__name__}: {error}"
    if status != "broken":
        shutil.rmtree(place.path, ignore_errors=True)
    return Outcome(case, status, happened, time.perf_counter() - began)


def campaign(cases: Sequence[Case], folder: Path, jobs: int) -> list[Outcome]:
    """Run the cases, `jobs` at once, and say at once which is broken; returned in their order."""
    shared, done = Shared(folder), {}
    with ThreadPoolExecutor(jobs) as pool, tqdm(total=len(cases), desc="torture", unit=" faults") as bar:
        waiting = [pool.submit(attempt, case, shared) for case in cases]
        try:
            for future in as_completed(waiting):
                outcome = future.result()
                done[outcome.case.name] = outcome
                if outcome.status == "broken":
                    tqdm.write(f"broken: {outcome.case.name}: {outcome.happened}", file=sys.stderr)
                bar.update()
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [done[case.name] for case in cases]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, metavar="N", help="random kills (default 50)")
    parser.add_argument("--seed", type=int, default=0, help="of their moments (default 0)")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="cases with one of these texts")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once (default: cores)")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="table, with a .csv beside it; default "
                        "docs/faults.md, or the standard output with --only")  # fmt: skip
    parser.add_argument("--list", action="store_true", help="name the cases and do nothing")
    options = parser.parse_args()
    cases = [
        case
        for case in all_cases(options.kills, options.seed)
        if not options.only or any(text in f"{case.family}: {case.name}" for text in options.only)
    ]
    if options.list:
        print("\n".join(f"{case.family}: {case.name}" for case in cases))
        return
    if not cases:
        raise SystemExit(f"no case has {' or '.join(options.only or [])} in its name; --list names them")
    began = time.perf_counter()
    folder = Path(tempfile.mkdtemp(prefix="tlcl-torture-"))
    outcomes = campaign(cases, folder, options.jobs)
    command = " ".join(["python -m torture", *sys.argv[1:]])
    page = markdown(outcomes, command, time.perf_counter() - began)
    out = options.out or (None if options.only else RESULTS)
    if out is None:
        print(page)
    else:
        atomic_write_text(out, page)
        atomic_write_text(out.with_suffix(".csv"), csv_text(outcomes))
    broken = sum(outcome.status == "broken" for outcome in outcomes)
    if broken:
        raise SystemExit(f"{broken} of {len(outcomes)} promises broken; what is left of them lies in {folder}")
    shutil.rmtree(folder)
    print(f"{len(outcomes)} faults, every promise kept or its case skipped")


if __name__ == "__main__":
    main()
