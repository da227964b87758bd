"""Colour grey photographs with a network that learned it from a colour data set; without `input`: train it, measure it, show it.

    python jobs/colorize.py preset=colorize_gan data.name=cifar10 data.root=...
    python jobs/colorize.py input=photo.jpg output=coloured.jpg colorize.model=runs/colorizer/cifar10-...
    python jobs/colorize.py input=photos output=coloured preset=colorize_gan data.name=cifar10 data.root=...

Photographs may be of any size and kind, grey or not, here or on s3://. Each keeps its own lightness, pixel by pixel: the network
sees it with its shorter side as small as the images that it learned on, and its colours are enlarged.
"""

import sys

sys.path[0] += "/.."  # the repository instead of jobs/, whose select.py would hide Python's own

from dsopt.jobs.colorize import job as colorize
from dsopt.jobs.main import main

if __name__ == "__main__":
    sys.exit(main(__file__, __doc__, colorize.colorize, colorize.plan))
