"""The sweep job, as a person runs it."""

from pathlib import Path

import pytest
from running import SMALL, here, one_line

from dsopt.errors import InputError

ARGUMENTS = (
    *("cluster.workers=0", *SMALL, "data.limit=100", "sweep.seeds=1"),
    *("autoencoder.steps=4", "embed.batch_size=100", "train.steps=4"),
)


@pytest.mark.slow
def test_dry_run_wrong_input_and_a_sweep(job, tmp_path: Path) -> None:
    grid = "sweep.grid.select.name=[random,top_activation]"
    status, told, said = job("sweep", f"storage={tmp_path}/new", *ARGUMENTS, grid, "dry_run=true")
    assert (status, said) == (0, "")
    steps = [line[7:].split()[0] for line in told.splitlines() if line.startswith("to do")]
    assert steps == ["ingest", "select", "train", "autoencoder", "embed", "select", "train", "sweep"]
    status, _, refused = job("sweep", f"storage={tmp_path}/new", *ARGUMENTS, "sweep.grid.select.name=[random,kcentre]")
    assert status == 2 and "Did you mean 'kcenter'" in one_line(refused) and not list(tmp_path.iterdir())
    status, done, said = job("sweep", f"storage={tmp_path}/new", *ARGUMENTS, grid)
    assert (status, said) == (0, "")
    report = Path(done.splitlines()[-1].split()[-1])
    assert report.is_relative_to(tmp_path / "new" / "sweep") and "<html" in report.read_text()
    told = [line for line in done.splitlines() if line.startswith("trial ")]
    assert [line.split()[:4] for line in told] == [
        ["trial", "1/2", "select.name=random", "seed=0:"],
        ["trial", "2/2", "select.name=top_activation", "seed=0:"],
    ]


def test_without_labels(tmp_path: Path) -> None:
    from PIL import Image

    for i in range(30):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.new("L", (24, 24), i * 8).save(tmp_path / "images" / f"{i}.png")
    data = ("data.name=folder", f"data.root={tmp_path}/images", "data.limit=null", f"storage={tmp_path}/runs")
    with pytest.raises(InputError, match="labels"):
        here(*ARGUMENTS, *data, "sweep.grid.train.split=[0,1]", job="sweep")
    assert not list((tmp_path / "runs").glob("train"))
