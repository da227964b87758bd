"""Choose the images that matter and write them as a small data set; makes what it needs first.

python jobs/select.py preset=cifar10 data.root=... select.name=top_activation select.budget=4320
"""

import sys

sys.path[0] += "/.."  # the repository instead of jobs/, whose select.py would hide Python's own

from dsopt.jobs.main import main
from dsopt.jobs.optimize import job as optimize

if __name__ == "__main__":
    sys.exit(main(__file__, __doc__, optimize.stages(optimize.plan_select), optimize.plan_select))
