"""One training run as a process of its own: ``python -m opalign.training CONFIG.yaml FOLDER``.

What cross-validation starts; a run that stands in the folder is resumed.
"""

from __future__ import annotations

import sys

from opalign.errors import OpalignError


def main(arguments: list[str]) -> int:
    """Train; 2 for an error a user can mend, 130 when interrupted."""
    path, out = arguments
    try:
        from opalign.training.config_file import read_config

        config = read_config(path)
        from opalign.training.run import train

        train(config, out, resume=True)
    except OpalignError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
