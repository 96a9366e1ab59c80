"""One training run as a process of its own: ``python -m opalign.training CONFIG.yaml FOLDER``.

What cross-validation starts; a run that stands in the folder is resumed. In several processes,
which share every batch: ``torchrun --nproc_per_node 2 -m opalign.training CONFIG.yaml FOLDER``.
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
        from opalign.training import distributed
        from opalign.training.run import train

        with distributed.started(config.accelerator):
            train(config, out, resume=True)
    except OpalignError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        from opalign.training import distributed

        if distributed.count() == 1 or not distributed.is_lost_connection(error):
            raise
        print("Error: another process of this run has ended", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
