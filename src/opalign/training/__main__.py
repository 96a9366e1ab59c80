"""One training run as a process of its own: ``python -m opalign.training CONFIG.yaml FOLDER``.

What cross-validation starts; a run that stands in the folder is resumed.
"""

from __future__ import annotations

import sys

from opalign.errors import OpalignError
from opalign.training.config_file import read_config
from opalign.training.run import train


def main(arguments: list[str]) -> int:
    """Train; 2 for an error a user can mend, 130 when interrupted."""
    config, out = arguments
    try:
        train(read_config(config), out, resume=True)
    except OpalignError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
