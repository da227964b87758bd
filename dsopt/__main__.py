"""`python -m dsopt JOB key=value ...`"""

import sys

from dsopt.jobs.main import command

if __name__ == "__main__":
    sys.exit(command())
