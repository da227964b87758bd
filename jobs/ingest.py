"""Read any data set into the images table: decoded once, checked, of one size.

python jobs/ingest.py data.name=folder data.root=photos storage=runs
"""

import sys

sys.path[0] += "/.."  # the repository instead of jobs/, whose select.py would hide Python's own

from dsopt.jobs.main import main
from dsopt.jobs.optimize import job as optimize

if __name__ == "__main__":
    sys.exit(main(__file__, __doc__, optimize.stages(optimize.plan_ingest), optimize.plan_ingest))
