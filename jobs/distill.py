"""Condense a data set into a few synthetic images that train a network; makes what it needs first.

python jobs/distill.py data.name=digits distill.name=dd distill.per_class=1
"""

import sys

sys.path[0] += "/.."  # the repository instead of jobs/, whose select.py would hide Python's own

from dsopt.jobs.distill import job as evaluate
from dsopt.jobs.main import main

if __name__ == "__main__":
    sys.exit(main(__file__, __doc__, evaluate.distill, evaluate.plan_distill))
