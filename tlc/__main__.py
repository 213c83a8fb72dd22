"""`python -m tlc` and the console script."""

import sys


def main() -> int:
    """Run the command line; the exit code."""
    try:
        from tlc.cli import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:  # before or behind what the command line waits for
        return 130


if __name__ == "__main__":
    sys.exit(main())
