"""Runs measurements, a table for each: `python -m benchmarks [process|kernels|scale|models]`."""

import os
import sys

from benchmarks import kernels, models, process, scale

SUITES = {
    "process": process.table,
    "kernels": kernels.table,
    "scale": scale.table,
    "models": models.table,
}


def main(names: list[str]) -> None:
    """Print the tables of the named suites, or of all."""
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    for name in names or SUITES:
        print("\n".join(["", name, *SUITES[name]()]))


if __name__ == "__main__":
    main(sys.argv[1:])
