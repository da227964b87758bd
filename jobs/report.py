"""Draw the report of the training runs that are done, with the same arguments that `optimize` had.

python jobs/report.py preset=demo
"""

import sys

sys.path[0] += "/.."  # the repository instead of jobs/, whose select.py would hide Python's own

from dsopt.jobs.main import main
from dsopt.jobs.optimize import job as optimize

if __name__ == "__main__":
    sys.exit(main(__file__, __doc__, optimize.report_done, optimize.plan_report))
