"""A study: a grid of any settings, every combination trained with several seeds, or a search; one table and one page for all.

    python jobs/sweep.py 'sweep.grid.select.name=[random_balanced,kcenter]' 'sweep.grid.train.split=[0,0.5,1]' sweep.seeds=5
    python jobs/sweep.py preset=study_split data.name=cifar10 data.root=...    # the selection paper's studies: study_*
    python jobs/sweep.py sweep.searcher=random sweep.scheduler=asha 'sweep.space.train.learning_rate={log: [0.001, 0.5]}'

Trials run side by side on Ray Tune, with cluster.workers=0 one after another. Stages that they share are made once.
Stages that are done are reused; the same command goes on where an interrupted one stopped.
"""

import sys

sys.path[0] += "/.."  # the repository instead of jobs/, whose select.py would hide Python's own

from dsopt.jobs.main import main
from dsopt.jobs.sweep import job as sweep

if __name__ == "__main__":
    sys.exit(main(__file__, __doc__, sweep.sweep, sweep.plan_sweep))
