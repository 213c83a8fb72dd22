"""`python -m tlc` and the console script."""

import sys


def main() -> int:
    """Run the command line; the exit code."""
    from tlc.cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
