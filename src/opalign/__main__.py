"""The command ``opalign`` without its script on the path: ``python -m opalign``."""

from __future__ import annotations

from opalign.cli.main import main

if __name__ == "__main__":
    main()
