"""The main job: make a data set smaller and training on it faster, and show what that bought.

    python jobs/optimize.py preset=demo                                # real digits, minutes on 2 cores
    python jobs/optimize.py preset=cifar10 data.root=... storage=...   # the selection paper's 4,320 images

ingest -> autoencoder -> embed -> select -> train (subset, then everything; and the baselines) -> report.
Stages that are done are reused; the same command goes on where an interrupted one stopped.
"""

import sys

sys.path[0] += "/.."  # the repository instead of jobs/, whose select.py would hide Python's own

from dsopt.jobs.main import main
from dsopt.jobs.optimize import job as optimize

if __name__ == "__main__":
    sys.exit(main(__file__, __doc__, optimize.optimize, optimize.plan))
