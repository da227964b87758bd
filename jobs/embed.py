"""Embed every training image with the autoencoder, which is trained first if it is not there.

python jobs/embed.py preset=cifar10 data.root=... cluster.workers=8
"""

import sys

sys.path[0] += "/.."  # the repository instead of jobs/, whose select.py would hide Python's own

from dsopt.jobs.main import main
from dsopt.jobs.optimize import job as optimize

if __name__ == "__main__":
    sys.exit(main(__file__, __doc__, optimize.stages(optimize.plan_embed), optimize.plan_embed))
