"""The studio in a real browser: each tab's main path, bad input, a cancel, two people at once, and how it looks.

Screenshots go to the folder that WORDBRUSH_SCREENSHOTS names, else to a temporary one.
"""

from __future__ import annotations

import base64
import io
import math
import os
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import numpy as np
import pytest
from PIL import Image

import editors
import wordbrush as wb
from edit_data import encoded, pair, picture, write_pairs
from wordbrush.instruct import Editor
from wordbrush.models import EMBEDDED
from wordbrush.studio.data import Sieve
from wordbrush.studio.desk import Studio
from wordbrush.studio.state import Limits
from wordbrush.studio.turns import WORKER

pytest.importorskip("gradio", reason="needs the extra studio")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("needs Chromium (make chromium)", allow_module_level=True)

from wordbrush.studio import data_tab  # noqa: E402  # it imports gradio
from wordbrush.studio.app import serve  # noqa: E402  # it imports gradio

PATIENT = 120_000  # milliseconds
STEPS = 4
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def model(request: pytest.FixtureRequest) -> wb.Model:
    shipped = (EMBEDDED["storybook"] / "model_index.json").exists()
    loaded = wb.load("storybook" if shipped else request.getfixturevalue("tiny_folder"))
    loaded.defaults = replace(loaded.defaults, steps=STEPS)
    return loaded


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    pairs = [
        pair(
            number,
            clip_direction=0.15 + number / 200,
            clip_image=0.6 + (7 * number % 40) / 100,
            clip_before=0.2 + (11 * number % 40) / 300,
            l1=0.02 + (5 * number % 40) / 200,
            before_image=encoded(picture(2 * number, (64, 64))),
            after_image=encoded(picture(2 * number + 1, (64, 64))),
        )
        for number in range(40)
    ]
    write_pairs(root / "demo", pairs, per_shard=20)
    return root


@pytest.fixture(scope="module")
def address(model: wb.Model, data: Path) -> Iterator[str]:
    tiny = editors.editor()
    editor = Editor(tiny.model, replace(tiny.defaults, preset="fast"))
    page, address = serve(Studio(model, data=data, editor=editor), port=0)
    yield address
    page.close(verbose=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get("WORDBRUSH_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Brake:
    """Holds a network at one of its calls, so that what the page shows while it works stays until it was looked at."""

    def __init__(self, forward: Any) -> None:
        self.calls = 0
        self._forward = forward
        self._allowed = math.inf
        self._free = threading.Event()

    def hold_after(self, calls: int) -> None:
        """Let so many more calls through and hold the next one."""
        self._free.clear()
        self._allowed = self.calls + calls

    def release(self) -> None:
        """Let everything through."""
        self._allowed = math.inf
        self._free.set()

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if self.calls >= self._allowed:
            assert self._free.wait(PATIENT / 1000)
        self.calls += 1
        return self._forward(*arguments, **named)


def idle() -> None:
    """Wait until the work of pages that were left has ended."""
    for thread in threading.enumerate():
        if thread.name == WORKER:
            thread.join(PATIENT / 1000)
            assert not thread.is_alive()


@pytest.fixture
def brake(model: wb.Model, monkeypatch: pytest.MonkeyPatch) -> Iterator[Brake]:
    idle()
    brake = Brake(model.unet.forward)
    monkeypatch.setattr(model.unet, "forward", brake)
    yield brake
    brake.release()


OUTSIDE = """
[...document.querySelectorAll('button, input, label, output, img, svg, h3')]
  .filter(one => one.checkVisibility() && one.getBoundingClientRect().right > window.innerWidth + 1)
  .map(one => one.outerHTML.slice(0, 80))
"""
"""What stands beyond the right edge of the window."""


class Visit:
    """One person's page: what it asked for, and what it complained of."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": DESKTOP, **options})
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENT)
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_selector("#paint")

    def _hear(self, message: Any) -> None:
        """Complain of what the content security policy blocked."""
        if "Content Security Policy" in message.text:
            self.complaints.append(message.text)

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, *error: object) -> None:
        self.context.close()
        assert self.complaints == []
        outside = [url for url in self.asked if not url.startswith(("http://127.0.0.1", "data:", "blob:"))]
        assert outside == []


def paint(page: Any, text: str, seed: int = 3) -> None:
    page.locator("#prompt textarea").fill(text)
    page.locator("#seed input").fill(str(seed))
    page.locator("#paint").click()


def told(page: Any, text: str, where: str = "#status") -> None:
    """Wait until the page says something."""
    sync_api.expect(page.locator(where)).to_contain_text(text, timeout=PATIENT)


def images(page: Any, where: str = "#stage") -> list[str]:
    """The sources of the pictures; a part of the page that Gradio lays out anew has none for a moment."""
    sync_api.expect(page.locator(f"{where} img")).not_to_have_count(0, timeout=PATIENT)
    return page.locator(f"{where} img").evaluate_all("found => found.map(image => image.src)")


def changed(page: Any, where: str, old: str, what: str = "src") -> None:
    """Wait until the first element there is laid out and has another ``what`` than it had."""
    now = "([where, what, old]) => { const now = document.querySelector(where)?.[what]; return now && now !== old; }"
    page.wait_for_function(now, arg=[where, what, old])


def open_part(page: Any, where: str) -> None:
    """Open a part that is folded away, and wait until it has its first values.

    Gradio mounts what is in it first and sets the values that it began with a frame later, over what was moved between.
    """
    page.locator(f"{where} button").first.click()
    sync_api.expect(page.locator(f"{where} input").first).to_be_attached(timeout=PATIENT)
    for _ in range(20):
        page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")


def slide_to_the_end(page: Any, where: str) -> None:
    """Move the first slider there to its end."""
    slider, number = (page.locator(f"{where} input[type={kind}]").first for kind in ("range", "number"))
    slider.focus()
    page.keyboard.press("End")
    sync_api.expect(number).to_have_value(str(slider.get_attribute("max")), timeout=PATIENT)


def stroke(page: Any, canvas: Any) -> None:
    """Brush from left to right through the middle."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 40, y)
    page.mouse.down()
    page.mouse.move(x + 40, y, steps=8)
    page.mouse.up()


def decoded(source: str) -> Image.Image:
    """Return the picture of a data URL."""
    return Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).convert("RGB")


def test_write(browser: Any, address: str, shots: Path, brake: Brake):
    with Visit(browser, address) as page:
        paint(page, "a cat on a beach at sunset")
        told(page, "forward-samples")
        sync_api.expect(page.locator("#chips button")).to_have_text(
            ["a", "cat", "on", "a", "beach", "at", "sunset"]
        )
        (plain,) = images(page)
        page.locator("#chips button", has_text="cat").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("#retyped")
        sync_api.expect(page.locator("#chips [aria-pressed=true]")).to_have_text("cat")
        changed(page, "#stage img", plain)
        told(page, "Bright is where “cat” acts", "#hint")
        page.screenshot(path=shots / "write-heat.png", full_page=True)
        page.locator("#retyped textarea, #retyped input").first.fill("dog")
        brake.hold_after(3)
        page.keyboard.press("Enter")
        told(page, f"Step 3 of {STEPS}")
        page.wait_for_selector("#stage .rough .over")
        page.screenshot(path=shots / "write-preview.png", full_page=True)
        brake.release()
        told(page, "forward-samples")
        page.wait_for_selector("#stage a[download='edited.png']")  # the edit, not its heat
        sync_api.expect(page.locator("#chips [aria-pressed=true]")).to_have_text("cat dog")
        first = images(page)
        assert len(set(first)) == 2
        page.locator("#chips button", has_text="dog").click()  # off again
        sync_api.expect(page.locator("#retyped")).to_have_count(0)
        page.locator("#stage .wipe").focus()
        page.keyboard.press("ArrowRight")
        assert page.locator("#stage .wipe").input_value() == "51"
        page.locator("#until input[type=range]").focus()
        page.keyboard.press("End")
        changed(page, "#stage .frame:not(.rough) .over", first[1])
        told(page, "forward-samples")
        page.locator("#code button").first.click()
        sync_api.expect(page.locator("#snippets")).to_contain_text("--until 1")
        sync_api.expect(page.locator("#snippets")).to_contain_text("a dog on a beach at sunset")
        page.screenshot(path=shots / "write.png", full_page=True)


def test_write_a_picture_of_ones_own(browser: Any, address: str, shots: Path, tmp_path: Path):
    (tmp_path / "notes.png").write_bytes(b"no picture")
    (tmp_path / "beach.png").write_bytes(encoded(editors.picture(size=(96, 128))))
    with Visit(browser, address) as page:
        open_part(page, "#own-picture")
        page.locator("#photo input[type=file]").set_input_files(tmp_path / "notes.png")
        told(page, "notes.png")
        sync_api.expect(page.locator("#status")).not_to_contain_text(str(Path("/tmp")))
        page.locator("#photo").get_by_label("Clear").click()
        told(page, "painted from the prompt alone")
        page.locator("#photo input[type=file]").set_input_files(tmp_path / "beach.png")
        told(page, "Say in the prompt what the picture shows")
        (uploaded,) = images(page)
        assert decoded(uploaded).size == (128, 96)
        paint(page, "a cat on a beach")
        told(page, "cut around its middle")
        page.locator("#chips button", has_text="cat").click()
        page.locator("#retyped textarea, #retyped input").first.fill("dog")
        page.keyboard.press("Enter")
        page.wait_for_selector("#stage .frame:not(.rough) .over")
        told(page, "beach.png, cut around its middle")
        page.locator("#chips button", has_text="dog").click()  # off again
        page.wait_for_selector("#stage a[download='edited.png']")
        assert len(set(images(page))) == 2
        page.locator("#code button").first.click()
        sync_api.expect(page.locator("#snippets")).to_contain_text("--caption")
        sync_api.expect(page.locator("#snippets")).to_contain_text("wb.invert(")
        page.screenshot(path=shots / "write-own.png", full_page=True)


def test_what_was_typed_goes_to_its_own_word(browser: Any, address: str, brake: Brake):
    """The click on another word ends the typing; what was typed is not about that one."""
    with Visit(browser, address) as page:
        paint(page, "a cat on a beach")
        told(page, "forward-samples")
        page.locator("#chips button", has_text="cat").click()
        page.locator("#retyped textarea, #retyped input").first.fill("fox")
        page.locator("#chips button", has_text="beach").click()
        told(page, "beach", "#chips [aria-pressed=true]")
        told(page, "cat fox", "#chips")
        told(page, "forward-samples")
        assert page.locator("#chips button").all_inner_texts()[-1] == "beach"


@contextmanager
def answered(page: Any) -> Iterator[None]:
    """Wait until what is begun within has been answered to its end: that is when Gradio closes the stream."""
    ended: list[str] = []
    for how in ("requestfinished", "requestfailed"):
        page.on(how, lambda request: ended.append(request.url))
    yield
    for _ in range(PATIENT // 50):
        if any("queue/data" in url for url in ended):
            return
        page.wait_for_timeout(50)
    raise AssertionError("no answer came to its end")


def leave_the_word(page: Any) -> None:
    page.locator("#chips button", has_text="cat").click()
    page.locator("#retyped textarea, #retyped input").first.focus()
    with answered(page):
        page.keyboard.press("Tab")


def move_before_any_edit(page: Any) -> None:
    page.locator("#until input[type=range]").focus()
    with answered(page):
        page.keyboard.press("ArrowLeft")


def undo_twice(page: Any) -> None:
    page.locator("#chips button", has_text="cat").click()
    page.locator("#strength input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    told(page, "cat × 1.1", "#chips")
    page.locator("#undo").click()
    sync_api.expect(page.locator("#chips")).not_to_contain_text("×")
    told(page, "forward-samples")
    with answered(page):
        page.locator("#undo").click()


def leave_the_word_by_its_chip(page: Any) -> None:
    page.locator("#chips button", has_text="cat").click()
    page.locator("#retyped textarea, #retyped input").first.fill("dog")
    page.keyboard.press("Enter")
    told(page, "cat dog", "#chips")
    page.wait_for_selector("#stage .frame:not(.rough) .over")
    with answered(page):
        page.locator("#chips button", has_text="dog").click()


ACTS = (leave_the_word, move_before_any_edit, undo_twice, leave_the_word_by_its_chip)
PLACES = ("on a beach", "in a city", "on the moon", "by a lake")


def test_what_changes_nothing_leaves_the_page_as_it_is(browser: Any, address: str):
    """An event that asks for nothing new once emptied all that it might have written to."""
    with Visit(browser, address) as page:
        page.locator("#code button").first.click()
        for act, place in zip(ACTS, PLACES, strict=True):
            with answered(page):
                paint(page, f"a cat {place}")
            act(page)
            told(page, "forward-samples")
            sync_api.expect(page.locator("#chips button")).to_have_count(5)
            sync_api.expect(page.locator("#snippets .snippet")).to_have_count(2)
            sync_api.expect(page.locator("#snippets")).to_contain_text(place)
            assert images(page)


def test_errors_are_the_sentences_of_the_command_line(browser: Any, address: str, model: wb.Model):
    with Visit(browser, address) as page:
        for text in (" ", "cat " * 90):
            with pytest.raises(wb.WordbrushError) as refused:
                wb.generate(model, text, seed=3)
            paint(page, text)
            told(page, str(refused.value))
        sync_api.expect(page.locator("#status [role=alert]")).to_be_visible()
        page.get_by_text("Sampling").click()
        page.locator("#size input, #size textarea").first.fill("4096x4096")
        paint(page, "a cat on a beach")
        told(page, f"4096 × 4096 pixels is more than the {Limits().pixels:,}")


def test_words_that_the_model_does_not_know_are_named(browser: Any, address: str):
    with Visit(browser, address) as page:
        paint(page, "a dgo on a beach")
        told(page, "this model was never shown 'dgo' (did you mean 'dog'?)")
        assert images(page)
        paint(page, "a dog on a beach")
        sync_api.expect(page.locator("#status [role=note]")).to_have_count(0, timeout=PATIENT)


def test_stop_ends_the_work_within_a_step(
    browser: Any, address: str, brake: Brake, monkeypatch: pytest.MonkeyPatch
):
    heard = threading.Event()
    halt = Studio.halt

    def halted(studio: Studio, desk: Any) -> None:
        halt(studio, desk)
        heard.set()

    monkeypatch.setattr(Studio, "halt", halted)
    with Visit(browser, address) as page:
        page.get_by_text("Sampling").click()
        steps, slider = (page.locator(f"#steps input[type={kind}]") for kind in ("number", "range"))
        # What is typed before the page has come to life is lost.
        sync_api.expect(steps).to_have_value(str(STEPS))
        steps.fill("100")
        steps.press("Enter")
        sync_api.expect(slider).to_have_value("100", timeout=PATIENT)
        brake.hold_after(3)
        paint(page, "a house by a lake")
        told(page, "Step 3 of 100")
        page.locator("#stop").click()
        assert heard.wait(PATIENT / 1000)
        brake.release()
        told(page, "Stopped.")
        assert brake.calls == 4  # the one that was held is the last


def test_two_people_at_once(browser: Any, address: str, brake: Brake):
    with Visit(browser, address) as one, Visit(browser, address) as two:
        brake.hold_after(2)
        paint(one, "a cat on a beach", seed=1)
        told(one, f"Step 2 of {STEPS}")
        paint(two, "a castle in the snow", seed=2)
        told(two, "Waiting for 1 other")
        brake.release()
        told(one, "forward-samples")
        told(two, "forward-samples")
        sync_api.expect(one.locator("#chips button")).to_have_text(["a", "cat", "on", "a", "beach"])
        sync_api.expect(two.locator("#chips button")).to_have_text(["a", "castle", "in", "the", "snow"])
        assert images(one) != images(two)


def test_data(browser: Any, address: str, shots: Path):
    with Visit(browser, address) as page:
        page.get_by_role("tab", name="Data").click()
        page.locator("#open").click()
        told(page, "selected", "#counts")
        before = page.locator("#counts .tiles b").all_inner_texts()
        assert before[0] == "40"
        page.screenshot(path=shots / "data.png", full_page=True)
        threshold = page.locator("#charts input[data-score=clip_direction][data-side=least]")
        threshold.focus()
        page.keyboard.press("Home")
        changed(page, "#counts .tiles div:nth-child(2) b", before[1], "innerText")
        now = page.locator("#counts .tiles b").all_inner_texts()
        assert int(now[1]) > int(before[1])
        page.locator("#page input").fill("99")
        page.keyboard.press("Enter")
        sync_api.expect(page.locator("#page input")).not_to_have_value("99", timeout=PATIENT)
        last = page.locator("#page input").input_value()
        assert last in page.locator("#page").inner_text()
        page.locator("#group input").click()
        page.get_by_role("option", name="clip_image").click()
        page.wait_for_selector("#pairs .reason")
        assert all("clip_image" in reason for reason in page.locator("#pairs .reason").all_inner_texts())
        page.locator("#folder input").fill("../..")
        page.keyboard.press("Enter")
        page.locator("#open").click()
        told(page, "outside of", "#data-status")


def test_a_threshold_is_moved_by_keys_and_typed(
    browser: Any, address: str, data: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of many presses only the last is counted, and none takes the slider back."""
    monkeypatch.setattr(data_tab, "PATIENCE", 3.0)
    counted: list[Any] = []
    select = Sieve.select
    monkeypatch.setattr(Sieve, "select", lambda sieve: counted.append(sieve.bounds) or select(sieve))
    write_pairs(data / "later", [pair(number, clip_direction=number / 40) for number in range(4)])
    with Visit(browser, address) as page:
        page.get_by_role("tab", name="Data").click()
        page.locator("#folder input").click()
        sync_api.expect(page.get_by_role("option", name="later")).to_be_visible(timeout=PATIENT)
        page.get_by_role("option", name="demo").click()
        told(page, "selected", "#counts")
        slider = page.locator("#charts input[data-score=clip_image][data-side=least]")
        typed = slider.locator("xpath=following-sibling::input")
        slider.focus()
        assert slider.get_attribute("step") == "0.01"
        page.keyboard.press("Home")
        before = page.locator("#counts .tiles b").all_inner_texts()[1]
        counted.clear()
        for _ in range(8):
            page.keyboard.press("ArrowRight")
        value = float(slider.input_value())
        changed(page, "#counts .tiles div:nth-child(2) b", before, "innerText")
        assert [bounds["clip_image"][0] for bounds in counted] == [value]
        assert float(slider.input_value()) == float(typed.input_value()) == value
        typed.fill("0.795")
        now = page.locator("#counts .tiles b").all_inner_texts()[1]
        page.keyboard.press("Tab")
        changed(page, "#counts .tiles div:nth-child(2) b", now, "innerText")
        assert counted[-1]["clip_image"] == (0.795, None)


def test_compare(browser: Any, address: str, shots: Path):
    with Visit(browser, address) as page:
        page.get_by_role("tab", name="Compare").click()
        open_part(page, "#second-own")
        page.locator("#compare").click()
        told(page, "same seed", "#compare-status")
        sync_api.expect(page.locator("#compared figcaption")).to_have_text(
            ["before", "no injection", "published", "default"]
        )
        assert len(set(images(page, "#compared"))) == 4
        sync_api.expect(page.locator("#compared table")).to_contain_text("PSNR")
        page.screenshot(path=shots / "compare.png", full_page=True)
        for way in ("no injection", "published", "default"):
            page.locator("#ways").get_by_label(way).uncheck()
        page.locator("#compare").click()
        told(page, "two or more ways", "#compare-status")
        for way in ("own", "second own"):
            page.locator("#ways").get_by_label(way, exact=True).check()
        slide_to_the_end(page, "#second-own")
        page.locator("#compare").click()
        sync_api.expect(page.locator("#compared figcaption")).to_have_text(
            ["before", "own", "second own"], timeout=PATIENT
        )
        assert len(set(images(page, "#compared"))) == 3


def test_compare_a_picture_of_ones_own(browser: Any, address: str, shots: Path, tmp_path: Path):
    (tmp_path / "beach.png").write_bytes(encoded(editors.picture(size=(48, 64))))
    with Visit(browser, address) as page:
        page.get_by_role("tab", name="Compare").click()
        open_part(page, "#compare-more")
        page.locator("#compare-upload input[type=file]").set_input_files(tmp_path / "beach.png")
        sync_api.expect(page.locator("#compare-upload")).to_contain_text("beach.png")
        for way in ("no injection", "published"):
            page.locator("#ways").get_by_label(way).uncheck()
        for way in ("SDEdit", "instruction"):
            page.locator("#ways").get_by_label(way, exact=True).check()
        page.locator("#compare").click()
        told(page, "has none", "#compare-status")
        page.locator("#compare-instruction textarea, #compare-instruction input").first.fill("make it night")
        page.locator("#compare").click()
        told(page, "beach.png, cut", "#compare-status")
        sync_api.expect(page.locator("#compared figcaption")).to_have_text(
            ["before", "default", "SDEdit", "instruction"]
        )
        assert len(set(images(page, "#compared"))) == 4
        page.screenshot(path=shots / "compare-own.png", full_page=True)


def test_instruct(browser: Any, address: str, shots: Path, tmp_path: Path):
    (tmp_path / "notes.png").write_bytes(b"no picture")
    (tmp_path / "beach.png").write_bytes(encoded(editors.picture(size=(48, 64))))
    with Visit(browser, address) as page:
        page.get_by_role("tab", name="Instruct").click()
        page.locator("#instruct").click()
        told(page, "there is no picture", "#instruct-status")
        page.locator("#upload input[type=file]").set_input_files(tmp_path / "notes.png")
        told(page, "notes.png: the picture does not decode: it is of no known format", "#instruct-status")
        page.locator("#upload").get_by_label("Clear").or_(
            page.locator("#upload button[title=Clear]")
        ).first.click()
        page.locator("#upload input[type=file]").set_input_files(tmp_path / "beach.png")
        page.wait_for_selector("#looked-at a[download='picture.png']")
        (first,) = images(page, "#looked-at")
        page.locator("#instruction textarea").fill("make it night")
        page.locator("#instruct").click()
        page.wait_for_selector("#looked-at .over")
        second = images(page, "#looked-at")[1]
        page.locator("#instruction textarea").fill("make it snow")
        page.locator("#instruct").click()
        changed(page, "#looked-at .over", second)
        page.screenshot(path=shots / "instruct.png", full_page=True)
        third = images(page, "#looked-at")[1]
        told(page, "make it snow", "#looked-at .trail [aria-current]")
        page.locator("#back").click()
        changed(page, "#looked-at .over", third)
        told(page, "make it night", "#looked-at .trail [aria-current]")
        assert images(page, "#looked-at")[1] == second
        page.locator("#back").click()
        page.wait_for_selector("#looked-at .over", state="detached")
        assert images(page, "#looked-at") == [first]
        page.locator("#forward").click()
        page.wait_for_selector("#looked-at .over")
        page.locator("#instruct-code button").first.click()
        sync_api.expect(page.locator("#instruct-snippets")).to_contain_text("-- beach.png 'make it night'")
        page.locator("#nine").click()
        page.wait_for_selector("#nine-sheet img")


def test_the_brush_says_where_it_may_change(browser: Any, address: str, shots: Path, tmp_path: Path):
    before = Image.new("RGB", (256, 256), "white")
    before.save(tmp_path / "white.png")
    with Visit(browser, address) as page:
        page.get_by_role("tab", name="Instruct").click()
        page.locator("#upload input[type=file]").set_input_files(tmp_path / "white.png")
        page.wait_for_selector("#looked-at a[download='picture.png']")
        page.locator("#instruction textarea").fill("make it night")
        page.get_by_label("Only where it is brushed").check()
        page.wait_for_selector("#brush canvas")
        page.locator("#instruct").click()
        told(page, "nothing is brushed", "#instruct-status")
        canvas = page.locator("#brush canvas").first
        stroke(page, canvas)
        page.locator("#instruct").click()
        page.wait_for_selector("#looked-at .over")
        page.screenshot(path=shots / "instruct-brush.png", full_page=True)
        after = decoded(images(page, "#looked-at")[1])
        there = (np.asarray(after) != np.asarray(before)).any(axis=2)
        # The stroke crosses the middle from left to right, and ends well before the edges.
        assert there[128, 108:148].mean() > 0.9
        there[64:192, 32:224] = False
        assert not there.any()


@pytest.mark.parametrize(
    ("viewport", "schemes"),
    [(DESKTOP, ("light", "dark")), (PHONE, ("dark", "light"))],
    ids=["desktop", "phone"],
)
def test_it_fits(browser: Any, address: str, shots: Path, viewport: dict[str, int], schemes: tuple[str, ...]):
    """The page opens in the first scheme, and follows the system to the second."""
    device = "phone" if viewport is PHONE else "desktop"
    is_dark = "document.body.classList.contains('dark')"
    with Visit(browser, address, viewport=viewport, color_scheme=schemes[0]) as page:
        assert page.evaluate(is_dark) == (schemes[0] == "dark")
        paint(page, "a cat on a beach at sunset")
        told(page, "forward-samples")
        (plain,) = images(page)
        page.locator("#chips button", has_text="cat").click()
        page.wait_for_selector("#retyped")
        changed(page, "#stage img", plain)
        for scheme in schemes:
            page.emulate_media(color_scheme=scheme)
            page.wait_for_function(f"dark => {is_dark} === dark", arg=scheme == "dark")
            for tab in ("Write", "Compare", "Data", "Instruct"):
                # Gradio hides tabs that it found no room for; on a busy machine it measures too early.
                page.evaluate("window.dispatchEvent(new Event('resize'))")
                page.get_by_role("tab", name=tab).click()
                if tab == "Data" and scheme == schemes[0]:
                    page.locator("#open").click()
                    told(page, "selected", "#counts")
                page.screenshot(path=shots / f"{tab.lower()}-{device}-{scheme}.png", full_page=True)
                assert page.evaluate("document.scrollingElement.scrollWidth - window.innerWidth") <= 0
                assert page.evaluate(OUTSIDE) == []


def test_no_file_of_the_machine_is_served(address: str, data: Path):
    for path in ("/etc/passwd", str(data / "demo" / "pairs" / "00000.parquet"), __file__):
        with pytest.raises(HTTPError) as refused:
            urllib.request.urlopen(f"{address}gradio_api/file={path}", timeout=30)
        assert refused.value.code in (403, 404)
    with urllib.request.urlopen(address, timeout=30) as answer:
        assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_a_password_is_asked_for(model: wb.Model):
    page, address = serve(Studio(model), port=0, login=("ann", "secret"))
    try:
        for path in ("config", "gradio_api/info"):
            with pytest.raises(HTTPError) as refused:
                urllib.request.urlopen(f"{address}{path}", timeout=30)
            assert refused.value.code == 401
        right, wrong = (
            urllib.request.Request(
                f"{address}login", data=f"username=ann&password={word}".encode(), method="POST"
            )
            for word in ("secret", "guess")
        )
        assert urllib.request.urlopen(right, timeout=30).status == 200
        with pytest.raises(HTTPError):
            urllib.request.urlopen(wrong, timeout=30)
    finally:
        page.close(verbose=False)
