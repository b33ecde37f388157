"""`python -m helios_trio`: the same commands as the script `helios`."""

from __future__ import annotations

import sys

from helios_trio.cli import main

if __name__ == "__main__":
    sys.exit(main())
