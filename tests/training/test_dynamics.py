"""What a run tells about every image: against plain sums over the course of each."""

import torch

from dsopt.training.dynamics import SCORES, WINDOW, Dynamics


def course(n: int, classes: int, visits: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(visits, n, classes, generator=generator) * 2, torch.randint(classes, (n,), generator=generator)


def watched(logits: torch.Tensor, labels: torch.Tensor, batch: int = 5) -> Dynamics:
    visits, n, _ = logits.shape
    dynamics = Dynamics(n, visits)
    for visit in range(visits):
        order = torch.randperm(n, generator=torch.Generator().manual_seed(visit))
        for rows in order.split(batch):
            dynamics(rows, labels[rows], logits[visit, rows])
    return dynamics


def test_scores_are_those_of_a_plain_calculation() -> None:
    logits, labels = course(17, 4, 13)
    found = watched(logits, labels).scores()
    for i, label in enumerate(labels.tolist()):
        p = logits[:, i].softmax(1)
        truth = torch.eye(4)[label]
        others = torch.cat([logits[:, i, :label], logits[:, i, label + 1 :]], 1)
        right = logits[:, i].argmax(1) == label
        forgotten = sum(bool(right[t] and not right[t + 1]) for t in range(12))
        target = p[:, label]
        windows = [target[t : t + WINDOW] for t in range(13 - WINDOW + 1)]
        expected = {
            "el2n": (p - truth).norm(dim=1).mean(),
            "forgetting": torch.tensor(float(forgotten if right.any() else 13)),
            "aum": (logits[:, i, label] - others.amax(1)).mean(),
            "loss": -target.log().mean(),
            "mean_probability": target.mean(),
            "dual": torch.stack([w.std() * (1 - w.mean()) for w in windows]).mean(),
        }
        for name, value in expected.items():
            torch.testing.assert_close(found[name][i], value, msg=f"{name} of image {i}")
    assert set(found) <= set(SCORES)


def test_images_visited_once_less_than_others_still_have_every_score() -> None:
    logits, labels = course(6, 3, 4)
    dynamics = Dynamics(6, 4)
    for visit in range(4):
        rows = torch.arange(6 if visit < 3 else 2)
        dynamics(rows, labels[rows], logits[visit, rows])
    scores = dynamics.scores()
    assert all(value.isfinite().all() for value in scores.values())
    p = logits[:3, 5].softmax(1)[:, labels[5]]
    torch.testing.assert_close(scores["dual"][5], p.std() * (1 - p.mean()))  # its one whole window of three


def test_goes_on_from_its_state() -> None:
    logits, labels = course(9, 3, 4)
    whole = watched(logits, labels).scores()
    half = Dynamics(9, 4)
    for visit in range(4):
        if visit == 2:
            second = Dynamics(9, 4)
            second.load_state_dict({key: value.clone() for key, value in half.state_dict().items()})
            half = second
        half(torch.arange(9), labels, logits[visit])
    for name, value in half.scores().items():
        torch.testing.assert_close(value, whole[name])
