"""The command `idhand` as `python -m idhand`."""

import sys

from idhand.cli import main

if __name__ == "__main__":
    sys.exit(main())
