"""Train one network on all workers: the autoencoder, or a classifier on a subset and then on everything.

python jobs/train.py train.learner=autoencoder cluster.workers=4
python jobs/train.py train.split=0.9 train.subset=s3://bucket/runs/select/...
"""

import sys

sys.path[0] += "/.."  # the repository instead of jobs/, whose select.py would hide Python's own

from dsopt.jobs.main import main
from dsopt.jobs.optimize import job as optimize

if __name__ == "__main__":
    sys.exit(main(__file__, __doc__, optimize.stages(optimize.plan_train), optimize.plan_train))
