"""Command line as a module, for launchers: torchrun --nproc-per-node 2 -m infoprune prune ..."""

import sys

from infoprune.cli import main

if __name__ == "__main__":
    sys.exit(main())
