"""The same as `dsopt audit`, for `ray job submit --working-dir . -- python jobs/audit.py ...`."""

import sys

sys.path[0] += "/.."  # the repository instead of jobs/, whose select.py would hide Python's own

from dsopt.jobs.main import main

if __name__ == "__main__":
    sys.exit(main("audit", sys.argv[1:]))
