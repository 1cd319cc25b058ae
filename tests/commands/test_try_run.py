"""`tlcl try`: it answers as `tlcl predict` and `tlcl explain` do, and a browser shows it."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from PIL import Image

from tests.conftest import ROOT, composed, go
from tlcl.commands.try_run import main
from tlcl.data.images.decode import BadImage
from tlcl.data.sources.digits import load_digits
from tlcl.errors import UserError
from tlcl.jobs import explain, try_run
from tlcl.jobs import finetune as finetuning
from tlcl.jobs.finished import classify
from tlcl.jobs.try_run import Trial, open_page
from tlcl.reports.try_run import Answer, answer_html
from tlcl.system.local_page import LocalPage

MODEL = ["model=small_cnn", "model.input_size=32", "thaw=all", "optim.name=adamw", "optim.lr=0.003"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained")
    return go(composed(path, *MODEL, "trainer.epochs=4", "data.train_size=300"), finetuning.run)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Test digits as a user's files: larger, not square, in grey and in colour."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(6):
        digit = Image.fromarray(load_digits().test.images[number, 0].numpy()).resize((30 + number, 24))
        digit.convert("RGB" if number % 2 else "L").save(folder / f"{number}.png")
    return folder


@contextmanager
def running(page: LocalPage) -> Iterator[LocalPage]:
    thread = threading.Thread(target=page.serve_forever, args=(0.05,))
    thread.start()
    try:
        with page:
            yield page
            page.shutdown()
    finally:
        thread.join()


def test_it_answers_as_predict_does(trained: Path, images: Path) -> None:
    trial = Trial(trained)
    table = classify(trained, [images], batch_size=64, skip_bad=False, progress=False).csv()
    labels = set()
    for row in csv.DictReader(io.StringIO(table)):
        answer = trial.answer(Path(row["file"]).read_bytes())
        assert answer.ranked[0][0] == row["prediction"]
        labels.add(row["prediction"])
        known = sorted((float(value) for name, value in row.items() if name.startswith("p(")), reverse=True)
        assert [probability for _, probability in answer.ranked] == pytest.approx(known[:5], abs=2e-6)
        for name, probability in answer.ranked:
            assert probability == pytest.approx(float(row[f"p({name})"]), abs=2e-6)
    assert len(labels) > 2


@pytest.mark.parametrize("name", ["0.png", "1.png"])
def test_it_shows_the_pictures_of_explain(name: str, trained: Path, images: Path, tmp_path: Path) -> None:
    answer = Trial(trained).answer((images / name).read_bytes())
    page = explain.explain(trained, [images / name], out=tmp_path / "out", neighbours=0).read_text()
    assert answer.heat is not None
    assert not answer.empty
    assert answer.heat != answer.picture
    assert page.count(answer.picture) == page.count(answer.heat) == 1


def test_the_temperature_of_the_run_is_applied(trained: Path, images: Path, tmp_path: Path) -> None:
    bare, copied = (Path(shutil.copytree(trained, tmp_path / name)) for name in ("bare", "copied"))
    (bare / "calibration.json").unlink()
    kept = {"temperature": 2.0, "reason": None, "images": 90, "held_out": "held-out images", "scores": []}
    (copied / "calibration.json").write_text(json.dumps(kept))
    content = (images / "0.png").read_bytes()
    plain, soft = (dict(Trial(path).answer(content).ranked) for path in (bare, copied))
    first, second = list(plain)[:2]
    assert list(soft)[:2] == [first, second]
    assert soft[first] / soft[second] == pytest.approx((plain[first] / plain[second]) ** 0.5, rel=1e-4)


def test_nothing_is_kept_of_what_is_asked(trained: Path, images: Path) -> None:
    before = {path for folder in (trained, trained.parent) for path in folder.rglob("*")}
    Trial(trained).answer((images / "0.png").read_bytes())
    assert {path for folder in (trained, trained.parent) for path in folder.rglob("*")} == before


def test_an_unreadable_file_is_one_sentence(trained: Path, images: Path) -> None:
    trial = Trial(trained)
    whole = (images / "0.png").read_bytes()
    for content, reason in ((b"no image", "not an image"), (b"", "not an image"), (whole[:80], "")):
        with pytest.raises(BadImage):
            trial.answer(content)
        html = trial.html(content)
        assert re.search(rf'role="alert">this file is no readable image: {reason}[^<\n]*</p>', html)
        assert "Traceback" not in html


def test_without_a_map_the_rest_is_shown(trained: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> NoReturn:
        raise UserError("one place")

    content = (images / "0.png").read_bytes()
    known = Trial(trained).answer(content)
    monkeypatch.setattr(try_run, "block_of_maps", none)
    trial = Trial(trained)
    assert trial.answer(content) == Answer(known.ranked, known.picture, None, False)
    assert "model.input_size=32 leaves one place" in trial.about_maps


def test_names_are_escaped() -> None:
    html = answer_html(Answer([("<script>alert(1)</script>", 0.75), ("b&w", 0.25)], "data:,", None, False))
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;, 75.0 %" in html
    assert "b&amp;w" in html


def test_the_page_asks_for_nothing_outside(trained: Path) -> None:
    with open_page(trained, None) as page:
        assert not re.findall(r"(?:src|href|action)\s*=|url\(|https?:|@import", page.page)
        assert re.findall(r"<script[^>]*>", page.page) == [f'<script nonce="{page.nonce}">']


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_ends_it_by_its_exit_code(stop: signal.Signals, code: int, trained: Path) -> None:
    command = [sys.executable, "-m", "tlcl", "try", str(trained)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert re.fullmatch(r"open http://127\.0\.0\.1:7[89]\d\d/ in a browser on this machine; .*\n", line)
        process.send_signal(stop)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "")
    assert err == f"stopped: {'interrupted' if code == 130 else 'terminated'}\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "is no finished tlcl run"),
        (["{run}", "--port", "0"], "--port=0 must be from 1 to 65535"),
        (["{run}", "--port", "{taken}"], "cannot be used"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: list[str],
    sentence: str,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with LocalPage(str, str, None) as other:  # type: ignore[arg-type]
        filled = [part.format(run=trained, taken=other.server_address[1]) for part in arguments]
        monkeypatch.setattr("sys.argv", ["tlcl try", *filled])
        with pytest.raises(SystemExit) as end:
            main()
    captured = capsys.readouterr()
    assert (end.value.code, captured.out) == (2, "")
    assert sentence in captured.err
    assert captured.err.count("\n") == 1


@contextmanager
def browser(width: int) -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    service = webdriver.ChromeService(str(shutil.which("chromedriver")))
    driver = webdriver.Chrome(options, service)
    try:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        yield driver
    finally:
        driver.quit()


CHROMIUM = all(map(shutil.which, ("chromium", "chromedriver")))


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="chromium or its driver is not installed")
def test_a_browser_shows_the_answer(trained: Path, images: Path, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    text = tmp_path / "text.png"
    text.write_text("no image")
    ((label, probability), *_) = Trial(trained).answer((images / "1.png").read_bytes()).ranked
    with running(open_page(trained, None)) as page, browser(390) as driver:
        driver.get(f"{page.origin}/")

        def answered(file: Path, selector: str) -> Any:
            driver.find_element(By.ID, "file").send_keys(str(file))
            return WebDriverWait(driver, 60).until(lambda _: driver.find_elements(By.CSS_SELECTOR, selector))

        (heading,) = answered(images / "1.png", "#answer h2")
        assert heading.text == f"{label}, {100 * probability:.1f} %"
        assert len(driver.find_elements(By.CSS_SELECTOR, "#answer tr")) == 5
        pictures = driver.find_elements(By.CSS_SELECTOR, "#answer img")
        assert [picture.get_property("naturalWidth") for picture in pictures] == [224, 224]
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
        (problem,) = answered(text, "#answer .warn")
        assert problem.text == "this file is no readable image: not an image"
        assert not driver.find_elements(By.CSS_SELECTOR, "#answer img")
        assert driver.get_log("browser") == []  # nothing was refused, missing or wrong
        assert not driver.find_element(By.ID, "status").text
