"""Images that show little: too dark, too bright, blurred, blank, or of an odd shape; by their working copies."""

import torch

from dsopt.audit.contract import Found, Seen, check, worst


@check(needs="looks", unit="99th percentile of the brightness, 0..1")
def dark(seen: Seen, *, below: float = 0.25) -> Found:
    """Images without a light pixel: the 99th percentile of the brightness is below a bound."""
    return worst(seen.looks["light"] < below, seen.looks["light"])


@check(needs="looks", unit="5th percentile of the brightness, 0..1")
def bright(seen: Seen, *, above: float = 0.9) -> Found:
    """Images without a dark pixel: the 5th percentile of the brightness is above a bound."""
    return worst(seen.looks["shade"] > above, seen.looks["shade"], largest=True)


@check(needs="looks", unit="variance of the Laplacian over the variance of the brightness")
def blurred(seen: Seen, *, below: float = 0.01) -> Found:
    """Images without edges, by the variance of the Laplacian (Pech-Pacheco et al. 2000) over that of the brightness.

    Working copies are looked at: a blur of less than their pixels is gone with it. Blank images are left to `blank`.
    """
    sharpness = seen.looks["sharpness"]
    return worst((sharpness < below) & (sharpness > 0), sharpness)


@check(needs="looks", unit="standard deviation of the pixels, 0..0.5")
def blank(seen: Seen, *, below: float = 0.02) -> Found:
    """Images of nearly one color: the standard deviation of the pixels, in every channel, is below a bound."""
    return worst(seen.looks["contrast"] < below, seen.looks["contrast"])


@check(needs="looks", unit="long side over short side")
def odd_aspect(seen: Seen, *, above: float = 3.0) -> Found:
    """Images whose original is longer than wide, or wider than long, by more than a factor."""
    sides = torch.stack([seen.looks["width"], seen.looks["height"]]).float()
    ratio = torch.where(sides.amin(0) > 0, sides.amax(0) / sides.amin(0).clamp(min=1), 1.0)
    return worst(ratio > above, ratio, largest=True)
