"""Train a generator of images, make images with it, measure them against real ones, and show them on a page.

    python jobs/generate.py preset=dcgan data.name=fashion_mnist    # a family: gan, dcgan, lsgan, ebgan, wgan, sngan, cdcgan, ...
    python jobs/generate.py preset=cdcgan generate.images=subset select.name=random_balanced select.budget=0.1
    python jobs/train.py data.name=... train.subset=runs/samples/... train.split=1    # a classifier on nothing but the images made

Stages that are done are reused; the same command goes on where an interrupted one stopped.
"""

import sys

sys.path[0] += "/.."  # the repository instead of jobs/, whose select.py would hide Python's own

from dsopt.jobs.generate import job as generate
from dsopt.jobs.main import main

if __name__ == "__main__":
    sys.exit(main(__file__, __doc__, generate.generate, generate.plan))
