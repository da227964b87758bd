"""The jobs: what `dsopt JOB` and `jobs/JOB.py` run, a folder each."""
