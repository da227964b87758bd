"""Functional forms of accuracy against images and steps.

A run of `steps` batches on `images` images sees `seen = steps x batch` images, of which at most `images` are different. A form is
made of two parts: an *inner* one says how many fresh images such a run is worth, an *outer* one how accuracy grows with these. So
what pilots on few images tell about many passes is known of many images and many steps, too.

- Inner: repeated images are worth less with every pass, and all passes together no more than so many (Muennighoff et al. 2023,
  arXiv:2305.16264, equation 5). A power of the passes, which has no bound, was too hopeful of few images.
- Outer: the power law with an offset, the logarithm, the curves of Janoschek (an exponential) and of Morgan, Mercer and Flodin
  (MMF), and a logistic curve of the logarithm: the last three were the best of sixteen in the learning-curve database (Mohr et al.
  2022, "LCDB 1.0"; Viering and Loog 2023, arXiv:2103.10948, table 1).

`additive` is none of these: two power laws that are added, as in Hoffmann et al. (2022, arXiv:2203.15556, equation 2).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Values = Float[np.ndarray, " m"]
Array = np.ndarray  # of floats, of any shape: in what a fit calls hundreds of times, checks of shapes would take most of its time
Predict = Callable[[Array, Array, Array], Array]


@dataclass(frozen=True)
class Form:
    """A form with what is believed of its parameters before any run.

    Args:
        predict: (parameters, images, images seen) -> accuracy; images seen in units of those of the shortest run.
        means, deviations: of the normal prior of each parameter.
        low, high: its bounds.
    """

    name: str
    predict: Predict
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class _Part:
    """The prior of each parameter of a part, as (mean, deviation, low, high), and its function of one variable or two."""

    value: Callable[..., Array]
    priors: tuple[tuple[float, float, float, float], ...]


TOP = (0.9, 0.2, 0.05, 1.0)  # accuracy after endless training on endless data
START = (0.2, 0.2, 0.0, 0.95)  # accuracy with no data


def _power(p: Array, u: Array) -> Array:
    return p[0] - p[1] * u ** -p[2]


def _logarithm(p: Array, u: Array) -> Array:
    return p[0] + p[1] * np.log(u)


def _janoschek(p: Array, u: Array) -> Array:
    return p[0] - (p[0] - p[1]) * np.exp(-np.exp(p[2]) * u ** p[3])


def _mmf(p: Array, u: Array) -> Array:
    return p[1] + (p[0] - p[1]) / (1 + np.exp(-p[2]) * u ** -p[3])


def _logistic(p: Array, u: Array) -> Array:
    return p[0] / (1 + np.exp(-p[1] - p[2] * np.log(u)))


OUTER = {
    "power": _Part(_power, (TOP, (0.5, 0.3, 0.0, 1.5), (0.4, 0.3, 0.02, 2.0))),
    "logarithm": _Part(_logarithm, ((0.4, 0.3, 0.0, 1.0), (0.08, 0.08, 0.0, 0.5))),
    "janoschek": _Part(_janoschek, (TOP, START, (-1.0, 1.5, -6.0, 3.0), (0.5, 0.3, 0.05, 2.0))),
    "mmf": _Part(_mmf, (TOP, START, (-0.5, 1.5, -6.0, 4.0), (0.6, 0.4, 0.05, 3.0))),
    "logistic": _Part(_logistic, (TOP, (-0.5, 1.5, -5.0, 5.0), (0.5, 0.3, 0.02, 3.0))),
}


def _repeated(p: Array, passes: Array) -> Array:
    """`p[0]`: the logarithm of the passes after which repeating is worth next to nothing."""
    worth = np.exp(p[0])
    return 1 + worth * (1 - np.exp(-(passes - 1) / worth))


INNER = _Part(_repeated, ((2.5, 1.2, -1.0, 6.0),))


def _composed(outer: str) -> Form:
    out = OUTER[outer]
    count = len(out.priors)

    def predict(p: Array, images: Array, seen: Array) -> Array:
        different = np.minimum(images, seen)
        return out.value(p[:count], different * INNER.value(p[count:], np.maximum(seen / images, 1.0)))

    return _form(outer, predict, [*out.priors, *INNER.priors])


def _additive(p: Array, images: Array, seen: Array) -> Array:
    return p[0] - p[1] * seen ** -p[2] - p[3] * images ** -p[4]


def _form(name: str, predict: Predict, priors: list[tuple[float, float, float, float]]) -> Form:
    means, deviations, low, high = (tuple(values) for values in zip(*priors, strict=True))
    return Form(name, predict, means, deviations, low, high)


POWERS = [TOP, (0.3, 0.3, 0.0, 1.5), (0.5, 0.3, 0.02, 2.0), (0.2, 0.3, 0.0, 1.5), (0.5, 0.3, 0.02, 2.0)]
FORMS = [*map(_composed, OUTER), _form("additive", _additive, POWERS)]
