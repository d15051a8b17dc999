"""Compare what Spark built with the warehouse of a home, or publish it: the same versioned file and Parquet as `aftercast run` publishes.

.venv/bin/python spark/publish.py --home var             # compare, row for row; ends red where a row differs
.venv/bin/python spark/publish.py --home var --publish   # load Spark's tables and publish their marts
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from aftercast import publishing, second_engine, warehouse
from aftercast.errors import AftercastError
from aftercast.settings import Settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--home", type=Path, default=Path(os.environ.get("AFTERCAST_HOME", "var")), help="AFTERCAST_HOME of a finished refresh"
    )
    parser.add_argument("--publish", action="store_true", help="publish Spark's marts instead of comparing them")
    arguments = parser.parse_args()
    os.environ["AFTERCAST_HOME"] = str(arguments.home.resolve())
    settings = Settings.from_environment()
    try:
        if arguments.publish:
            file = settings.home / "spark" / "warehouse.duckdb"
            tables = second_engine.load(settings, file)
            as_of = warehouse.query(file, "select as_of from marts.mart_run")["as_of"].item()
            print(f"{tables} tables loaded; {publishing.publish(settings, version=f'{as_of:%Y%m%dT%H%M}-spark', source=file)}")
            return
        compared = second_engine.compare(settings)
    except AftercastError as error:
        sys.exit(str(error))
    for one in compared:
        if not one.equal:
            print(f"{one.table}: {one.only_here} rows only in the warehouse, {one.only_spark} only on Spark")
    equal = [one for one in compared if one.equal]
    print(f"{len(equal)} of {len(compared)} tables equal, {sum(one.rows for one in equal):,} rows")
    sys.exit(len(equal) < len(compared))


if __name__ == "__main__":
    main()
