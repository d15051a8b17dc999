"""`python -m tests.fuzzing --seed 1 --payloads 2000`: the whole campaign, with a table of what became of the payloads of each source."""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from collections import Counter
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT / "plugins"), str(PROJECT)]


def main() -> int:
    from tests import conftest  # noqa: F401  the environment of the tests
    from tests.fuzzing import campaign, config_files
    from tests.fuzzing.seeds import SEEDS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--payloads", type=int, default=2000, help="payloads a source")
    parser.add_argument("--only", action="append", help="name of a seed; several are allowed")
    parser.add_argument("--show", type=int, default=5, help="examples of each kind of failure")
    given = parser.parse_args()
    columns = ("landed", "quarantined", "refused", "stumbled", "crashed", "lost")
    print(
        f"{'source or file':<38}{'payloads':>9}" + "".join(f"{one:>12}" for one in columns) + f"{'seconds':>9}{'peak MiB':>10}", flush=True
    )
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        files = config_files.names(config_files.make(Path(folder)))
    for name in given.only or [*sorted(SEEDS), *files]:
        one = campaign if name in SEEDS else config_files
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
            report = one.run(name, Path(folder), seed=given.seed, payloads=given.payloads)
        counts = [report.count(one) if one != "stumbled" else sum(found.stumbled for found in report.outcomes) for one in columns]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        row = f"{name:<38}{len(report.outcomes):>9}" + "".join(f"{one:>12}" for one in counts)
        print(row + f"{report.seconds:>9.1f}{peak:>10}", flush=True)
        failed += len(report.bad)
        shown: Counter[str] = Counter()
        for one in report.bad:
            kind = one.said.split(" at ")[-1][-60:]
            shown[kind] += 1
            if shown[kind] <= 2 and len(shown) <= given.show:
                print(f"    {one}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
