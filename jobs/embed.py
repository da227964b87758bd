"""The same as `dsopt embed`, for `ray job submit --working-dir . -- python jobs/embed.py ...`."""

import sys

sys.path[0] += "/.."  # the repository instead of jobs/, whose select.py would hide Python's own

from dsopt.jobs.main import main

if __name__ == "__main__":
    sys.exit(main("embed", sys.argv[1:]))
