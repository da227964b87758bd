"""Search for a network, cheaply: children are tried on a stand-in for the data, the best in full; and how far that can be trusted.

    python jobs/search.py preset=search_demo                                # 216 small networks on real digits: minutes on 2 cores
    python jobs/search.py preset=search_dc720 data.name=cifar10 data.root=...     # the 720 ConvNets of the condensation papers
    python jobs/search.py search.strategy.name=evolution 'search.proxy={data: random_balanced, images: 100, steps: 200}'

Children that are done are never trained again: the same command goes on where an interrupted one stopped, to the same children.
"""

import sys

sys.path[0] += "/.."  # the repository instead of jobs/, whose select.py would hide Python's own

from dsopt.jobs.main import main
from dsopt.jobs.search import job as search

if __name__ == "__main__":
    sys.exit(main(__file__, __doc__, search.search, search.plan))
