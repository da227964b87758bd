"""The map of a page, up to what a browser makes of it."""

import base64
import csv
import hashlib
import html
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_page import HOSTILE, Reader

from dsopt.reporting.map import Points, sampled, section
from dsopt.reporting.page import Section, page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome")


def points(n: int = 100, *, scores: bool = True) -> Points:
    """A grid of ten columns; the first ten points, its top row, are chosen."""
    places = np.stack([np.arange(n) % 10, -(np.arange(n) // 10)], 1).astype(np.float32)
    return Points(
        places,
        ids=list(range(1000, 1000 + n)),
        keys=[f"{HOSTILE},{i}" for i in range(n)],
        labels=[i % 2 for i in range(n)],
        ranks=[i if i < 10 else -1 for i in range(n)],
        scores=[i / 7 if i < 10 and scores else np.nan for i in range(n)],
        pictured=list(range(0, n, 2)),
    )


def written(shown: Points, channels: int = 3) -> str:
    """A page with the points; the thumbnails are gray, each brighter than the one before."""
    tiles = np.full((len(shown.pictured), 8, 8, channels), 5, np.uint8)
    tiles *= np.arange(len(tiles), dtype=np.uint8)[:, None, None, None]
    return page("t", "", {}, [section("Map", "about", shown, tiles, ["cat", HOSTILE])])


def data_of(text: str) -> dict:
    return json.loads(re.findall(r'<script type="application/json">(.*?)</script>', text, re.S)[0])


def test_all_chosen_are_shown_and_the_others_at_random() -> None:
    chosen = torch.arange(1000) % 4 == 0
    rows = sampled(chosen, 400, 100, torch.Generator().manual_seed(0))
    assert len(rows) == len(rows.unique()) == 400 and torch.equal(rows, rows.sort().values)
    assert set(chosen.nonzero()[:, 0].tolist()) <= set(rows.tolist())
    assert torch.equal(rows, sampled(chosen, 400, 100, torch.Generator().manual_seed(0)))
    assert not torch.equal(rows, sampled(chosen, 400, 100, torch.Generator().manual_seed(1)))


@pytest.mark.parametrize(("most", "others", "expected"), [(300, 100, (200, 100)), (2000, 100, (250, 750)), (10, 10, (0, 10))])
def test_too_many_are_thinned(most: int, others: int, expected: tuple[int, int]) -> None:
    chosen = torch.arange(1000) < 250
    taken = chosen[sampled(chosen, most, others, torch.Generator())]
    assert (int(taken.sum()), int((~taken).sum())) == expected
    assert len(sampled(torch.ones(5, dtype=torch.bool), 10, 2, torch.Generator())) == 5


def test_hostile_keys_and_classes_stay_data() -> None:
    text = written(points())
    read = Reader(text)
    assert read.open == [] and "alert" not in " ".join(str(attributes) for _, attributes in read.tags)
    assert [tag for tag, _ in read.tags].count("script") == 2  # the data, and the script
    data = data_of(text)
    assert data["key"][3] == f"{HOSTILE},3" and data["classes"][1] == HOSTILE
    assert data["score"][9:11] == [1.286, None] and data["rank"][9:11] == [9, -1] and data["tile"][:4] == [0, -1, 1, -1]
    assert min(data["x"]) == min(data["y"]) == 0 and max(data["x"]) == max(data["y"]) == 1 and data["y"][0] == 0


def test_only_this_script_is_allowed() -> None:
    text = written(points())
    policy = next(
        attributes["content"] or "" for tag, attributes in Reader(text).tags if tag == "meta" and "http-equiv" in attributes
    )
    script = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert len(script) == 1 and policy.endswith(f"; script-src 'sha256-{digest}'") and policy.startswith("default-src 'none'; ")
    assert "unsafe-eval" not in policy and policy.count("unsafe-inline") == 1  # of the style
    assert "http:" not in text and "https:" not in text and "url(" not in text
    assert "script-src" not in page("t", "", {}, [Section("s", "")])


@pytest.mark.parametrize("channels", [1, 3])
def test_thumbnails_are_tiles_of_one_image(channels: int) -> None:
    text = written(points(), channels)
    found = re.search(r'data-columns="(\d+)" data-side="(\d+)" src="data:image/jpeg;base64,([^"]+)"', text)
    assert found and (found[1], found[2]) == ("8", "8")
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[3]))))
    assert sheet.shape[:2] == (56, 64)
    assert abs(int(sheet[8 * 3 + 4, 8 * 5 + 4].max()) - 5 * 29) < 4  # row 3, column 5


def test_without_scores_or_pictures_there_is_still_a_map() -> None:
    shown = points(scores=False)
    shown.pictured = []
    text = written(shown)
    assert 'value="score"' not in text and "<img hidden" not in text and set(data_of(text)["tile"]) == {-1}


def test_without_a_script_it_is_a_picture() -> None:
    """Where the chosen ones, the top row, are in color and the others gray."""
    still = re.findall(r"<noscript>.*?</noscript>", written(points()), re.S)
    png = base64.b64decode(re.findall(r"data:image/png;base64,([^\"]+)", still[0])[0])
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("HSV"))
    rows = np.flatnonzero((pixels[..., 1] > 128).any(1))  # of saturated colors: the points, and the legend below
    assert len(still) == 1 and rows[0] < 0.15 * len(pixels) and not ((rows > 0.2 * len(pixels)) & (rows < 0.85 * len(pixels))).any()


# --- in a browser --------------------------------------------------------------------------------------------------


def browse(*arguments: str) -> str:
    assert BROWSER
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=4000"]
    return subprocess.run([BROWSER, *flags, *arguments], capture_output=True, text=True, timeout=120, check=True).stdout


def seen(folder: Path, shown: Points, fragment: str) -> tuple[str, dict[str, str]]:
    """What a lasso gave, and the values of data attributes and of the selected color."""
    file = folder / "page.html"
    file.write_text(written(shown))
    text = browse("--dump-dom", f"{file.as_uri()}#{fragment}")
    area = re.search("<textarea[^>]*>(.*?)</textarea>", text, re.S)
    legend = re.findall("<li>.*?</i>(.*?)</li>", text)
    assert area
    return html.unescape(area[1]), {"legend": html.unescape("|".join(legend)), **dict(re.findall(r'data-(\w+)="(\d+)"', text))}


@pytest.mark.slow
@needs_browser
def test_a_lasso_lists_what_is_inside(tmp_path: Path) -> None:
    names, found = seen(tmp_path, points(), "lasso=-0.1,-0.1,0.25,0.15")
    assert names.split("\n") == ["id", *map(str, [1000, 1001, 1002, 1010, 1011, 1012])]
    assert (found["drawn"], found["inside"], found["legend"]) == ("100", "6", f"cat|{HOSTILE}")
    names, found = seen(tmp_path, points(), "color=chosen&view=0.5,0,6&lasso=0,0,1,0,0,1")  # a triangle, and less in view
    assert found["legend"] == "chosen|passed over" and 0 < int(found["drawn"]) < 30 and int(found["inside"]) > 40
    names, found = seen(tmp_path, points(scores=False), "color=score&lasso=oops&view=1,2,-3")
    assert names == "" and found["drawn"] == "100" and "inside" not in found


@pytest.mark.slow
@needs_browser
def test_the_points_are_seen(tmp_path: Path) -> None:
    """Colors of the classes on the canvas, and gray tiles once few points are in view."""
    file, shot = tmp_path / "page.html", tmp_path / "shot.png"
    file.write_text(written(points()))

    def pixels(fragment: str) -> np.ndarray:
        browse(f"--screenshot={shot}", "--window-size=900,1200", f"{file.as_uri()}#{fragment}")
        return np.asarray(Image.open(shot).convert("RGB")).reshape(-1, 3).astype(int)

    def of(image: np.ndarray, color: tuple[int, int, int]) -> int:
        return int((np.abs(image - color).max(1) < 12).sum())

    assert of(pixels("color=class"), (0, 0x72, 0xB2)) > 200
    assert of(pixels("color=chosen"), (0xD5, 0x5E, 0)) > 300
    assert of(pixels("view=0.5,0.1,3"), (5 * 9, 5 * 9, 5 * 9)) > 500  # the tile of point 18


PEOPLE = """
const canvas = document.querySelector(".view > canvas"), box = canvas.getBoundingClientRect(), tell = {};
const side = 0.94 * Math.min(box.width, box.height);
canvas.setPointerCapture = () => {}; // there is no pointer behind these events
const middle = [box.left + box.width / 2, box.top + box.height / 2];
const at = (x, y) => ({ clientX: middle[0] + (x - 0.5) * side, clientY: middle[1] + (y - 0.5) * side });
const act = (kind, x, y, more) => canvas.dispatchEvent(new PointerEvent(kind, { ...at(x, y), isPrimary: true, ...more }));
const press = (name) => document.querySelector(`[name=${name}]`).click();
const listed = () => document.querySelector("textarea").value.split("\\n").slice(1).join();
const choose = (name, value) => {
  const select = document.querySelector(`[name=${name}]`);
  select.value = value;
  select.dispatchEvent(new Event("change"));
};
const around = (shiftKey) => {
  act("pointerdown", -0.05, -0.05, { shiftKey });
  for (const [x, y] of [[0.15, -0.05], [0.15, 0.15], [-0.05, 0.15]]) act("pointermove", x, y);
  act("pointerup", -0.05, 0.15);
  return listed();
};
act("pointermove", 0.111, 0.001);
tell.hover = [document.querySelector(".tip").hidden, document.querySelector(".tip span").textContent.split("\\n").slice(1).join()];
act("pointermove", 0.05, 0.05);
tell.away = document.querySelector(".tip").hidden;
tell.shift = around(true);
choose("names", "key");
tell.keys = document.querySelector("textarea").value;
choose("names", "id");
act("pointerdown", 0.5, 0.5, { shiftKey: true });
act("pointerup", 0.5, 0.5);
tell.click = document.querySelector("textarea").value;
press("lasso");
tell.button = [around(false), document.querySelector("[name=lasso]").ariaPressed].join("|");
act("pointerdown", 0.5, 0.5);
act("pointermove", 0.7, 0.4);
act("pointermove", 0.6, 0.5);
act("pointerup", 0.6, 0.5);
canvas.dispatchEvent(new WheelEvent("wheel", { ...at(0.5, 0.5), deltaY: -400 * Math.log(4), cancelable: true }));
choose("color", "chosen");
setTimeout(() => {
  tell.address = location.hash;
  document.body.dataset.told = JSON.stringify(tell);
}, 1000);
"""


@pytest.mark.slow
@needs_browser
def test_what_people_do_with_it(tmp_path: Path) -> None:
    """Events of a script of the test, which the page's policy would not let run."""
    file = tmp_path / "page.html"
    text = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", written(points()))
    file.write_text(text.replace("</body>", f"<script>{PEOPLE}</script></body>"))
    told = re.search('data-told="([^"]*)"', browse("--dump-dom", file.as_uri()))
    assert told
    tell = json.loads(html.unescape(told[1]))
    assert tell["hover"] == [False, f"{HOSTILE},chosen, rank 1, score 0.1429"] and tell["away"] is True
    assert tell["shift"] == "1000,1001,1010,1011" and tell["button"] == "1000,1001,1010,1011|false" and tell["click"] == ""
    rows = list(csv.reader(io.StringIO(tell["keys"])))
    assert rows == [["key"], *([f"{HOSTILE},{i}"] for i in (0, 1, 10, 11))]
    found = dict(part.split("=") for part in tell["address"][1:].split("&"))
    assert found["color"] == "chosen" and len(found["lasso"].split(",")) == 8
    assert np.allclose([float(x) for x in found["view"].split(",")], [0.4, 0.5, 4], atol=0.01)


@pytest.mark.slow
@needs_browser
def test_other_scripts_are_not_run(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    more = (
        "<script>document.body.dataset.broken = 'yes'</script><img src='data:,' onerror=\"document.body.dataset.broken = 'yes'\">"
    )
    file.write_text(written(points()).replace("</body>", f"{more}</body>"))
    text = browse("--dump-dom", file.as_uri())
    assert "data-broken" not in text and 'data-drawn="100"' in text
