"""Train fresh networks on a distilled set, or on any small images table, and test them after the last step.

python jobs/evaluate.py input=runs/distill/digits-dd-...
python jobs/evaluate.py input=... evaluate.beside=[runs/distill/digits-random-...] evaluate.networks=[lenet,convnet]
"""

import sys

sys.path[0] += "/.."  # the repository instead of jobs/, whose select.py would hide Python's own

from dsopt.jobs.distill import job as evaluate
from dsopt.jobs.main import main

if __name__ == "__main__":
    sys.exit(main(__file__, __doc__, evaluate.evaluate, evaluate.plan))
