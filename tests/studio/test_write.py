"""Painting for the page, its previews and heat; and the snippets, which make the same pixels when they are run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.configuration_utils import FrozenDict
from PIL import Image
from typer.testing import CliRunner

import editors
import wordbrush as wb
from wordbrush.cli.app import app
from wordbrush.studio.preview import LinearPreview
from wordbrush.studio.snippets import command, python
from wordbrush.studio.state import Draft, Limits, Order, Photo
from wordbrush.studio.turns import Report, Stopped
from wordbrush.studio.write import Painting, paint, photo_at, shown

SOURCE = "a cat on a beach"


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> wb.Model:
    return wb.load(tiny_folder)


def quiet() -> Report:
    import threading

    return Report(threading.Event(), lambda update: None)


def painted(model: wb.Model, order: Order) -> Painting:
    return paint(model, Draft.of(model.backbone.read(order.source)), order, quiet())


ORDERS = [
    Order(SOURCE, seed=3, steps=2),
    Order("-a 'cat' \"on\" $a beach", seed=3, steps=2, negative="red", size=(64, 128), guidance=3.5),
    Order(SOURCE, "a dog on a beach", seed=3, steps=2),
    Order(SOURCE, SOURCE, seed=3, steps=4, weights={("a", 1): 2.0, "beach": -0.3}),
    Order(
        "the cat#1 and the cat",
        "the dog#1 and the cat",
        seed=7,
        steps=4,
        weights={"dog#1": 1 / 3},
        until=0.5,
        self_attention=0.25,
        blend="cat#1:dog",
        guidance=4.0,
    ),
    Order("-cat", "dog", seed=3, steps=2, blend="auto", until=0.5),
]


@pytest.mark.parametrize("order", ORDERS, ids=range(len(ORDERS)))
def test_what_is_copied_makes_the_same_picture(
    order: Order, model: wb.Model, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    made = painted(model, order)
    wanted = made.pictures[-1].tobytes()
    exec(python(order, model.name, {"dtype": "float32"}))
    (written,) = tmp_path.glob("*.png")
    assert Image.open(written).tobytes() == wanted
    arguments = shlex.split(command(order, model.name, {"device": "cpu"}))
    assert arguments.pop(0) == "wordbrush"
    done = CliRunner().invoke(app, [*arguments[:1], "--output", "out", *arguments[1:]], prog_name="wordbrush")
    assert done.exit_code == 0, done.output
    (picture,) = tmp_path.glob("out/01-*.png")
    assert Image.open(picture).convert("RGB").tobytes() == wanted


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Photo:
    monkeypatch.chdir(tmp_path)
    image = editors.picture(size=(96, 80))
    image.save("-sea.png")
    return photo_at(str(tmp_path / "-sea.png"), Limits())


def test_a_picture_of_ones_own_is_inverted_once(
    photo: Photo, model: wb.Model, monkeypatch: pytest.MonkeyPatch
):
    inverted: list[str] = []
    invert = wb.invert

    def counted(*arguments: Any, **named: Any) -> wb.Start:
        inverted.append(named.get("method", "default"))
        return invert(*arguments, **named)

    monkeypatch.setattr(wb, "invert", counted)
    draft = Draft.of(model.backbone.read(SOURCE))
    first = paint(model, draft, Order(SOURCE, steps=2, photo=photo), quiet())
    assert [image.size for image in first.pictures] == [(64, 64)]
    assert "-sea.png, cut around its middle and resized from 96 × 80 pixels" in first.told
    assert len(first.heat(1)) == 1
    assert f"<span>reconstruction: {SOURCE}</span>" in shown(first), "it is not the picture itself"
    order = Order(SOURCE, "a dog on a beach", steps=2, photo=photo)
    second = paint(model, draft, order, quiet(), last=first)
    assert inverted == ["default"]
    start = invert(model, photo.image, SOURCE, steps=2, crop=True)
    wanted = wb.edit(model, start, to="a dog on a beach")
    assert [image.tobytes() for image in second.pictures] == [
        image.tobytes() for image in (wanted.source, *wanted.images)
    ]
    assert first.pictures[0].tobytes() == wanted.source.tobytes()
    other = Order(SOURCE, "a dog on a beach", steps=2, photo=photo, inversion="ddim")
    assert paint(model, draft, other, quiet(), last=second).pictures[0].tobytes() != wanted.source.tobytes()
    assert inverted == ["default", "ddim"]


@pytest.mark.parametrize("inversion", [None, "edit-friendly"])
def test_what_is_copied_edits_the_same_picture_of_ones_own(
    inversion: str | None, photo: Photo, model: wb.Model
):
    order = Order(SOURCE, "a dog on a beach", steps=2, photo=photo, inversion=inversion, negative="red")
    wanted = painted(model, order).pictures[-1].tobytes()
    exec(python(order, model.name, {}))
    assert Image.open("edited.png").tobytes() == wanted
    _, *arguments = shlex.split(command(order, model.name, {}))
    done = CliRunner().invoke(app, [*arguments[:1], "--output", "out", *arguments[1:]], prog_name="wordbrush")
    assert done.exit_code == 0, done.output
    (picture,) = Path("out").glob("01-*.png")
    assert Image.open(picture).convert("RGB").tobytes() == wanted


def test_what_is_copied_of_a_picture_that_is_not_edited_yet_inverts_it(photo: Photo, model: wb.Model):
    order = Order(SOURCE, steps=2, photo=photo)
    exec(python(order, model.name, {}))
    _, *arguments = shlex.split(command(order, model.name, {}))
    done = CliRunner().invoke(
        app, [*arguments[:1], "--output", "same.safetensors", *arguments[1:]], prog_name="wordbrush"
    )
    assert done.exit_code == 0, done.output
    one, other = (wb.Start.load(name) for name in ("start.safetensors", "same.safetensors"))
    assert torch.equal(one.latents, other.latents)
    assert one.prompt == SOURCE


def test_snippets_of_different_orders_make_different_pictures(model: wb.Model):
    pictures = {painted(model, order).pictures[-1].tobytes() for order in ORDERS}
    assert len(pictures) == len(ORDERS)


def test_the_heat_of_a_word_is_drawn_where_it_is(model: wb.Model):
    draft = Draft.of(model.backbone.read(SOURCE)).retype(1, "big dog").retype(4, "")
    order = Order(SOURCE, draft.target, seed=3, steps=2)
    made = paint(model, draft, order, quiet())
    before, after = made.heat(1)
    maps = made.result.maps
    assert before.tobytes() == maps.overlay("cat", image=0).tobytes()
    assert after.tobytes() == maps.overlay("big dog", image=1).tobytes()
    assert made.heat(4)[1].tobytes() == made.pictures[1].tobytes()  # the deleted word
    page = shown(made, None)
    assert page.count("<img") == 2
    assert "download" in page
    assert "download" not in shown(made, 1)


def test_work_that_is_not_wanted_stops_at_the_next_step(model: wb.Model, monkeypatch: pytest.MonkeyPatch):
    import threading

    stop, calls = threading.Event(), []
    forward = model.unet.forward

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            stop.set()
        return forward(*arguments, **named)

    monkeypatch.setattr(model.unet, "forward", counted)
    order = Order(SOURCE, "a dog on a beach", seed=3, steps=20)
    with pytest.raises(Stopped):
        paint(model, Draft.of(model.backbone.read(SOURCE)), order, Report(stop, lambda update: None))
    assert len(calls) == 3
    monkeypatch.undo()
    assert painted(model, ORDERS[2]).pictures  # the model is as it was


def test_previews_are_given_at_every_step(model: wb.Model):
    import threading

    told: list[Any] = []
    report = Report(threading.Event(), told.append)
    order = Order(SOURCE, "a dog on a beach", seed=3, steps=3)
    paint(model, Draft.of(model.backbone.read(SOURCE)), order, report, LinearPreview.fit(model))
    assert [update.step for update in told] == [1, 2, 3]
    assert all(update.seen.count("<img") == 2 and "rough" in update.seen for update in told)
    assert len({update.seen for update in told}) == 3


def test_the_last_thing_seen_is_the_result(model: wb.Model):
    seen: list[torch.Tensor] = []
    result = wb.generate(model, SOURCE, seed=3, steps=3, watch=seen.append)
    assert len(seen) == 3
    assert not torch.equal(seen[0], seen[-1])
    # The published schedule stops a little before the clean latents, at alpha = 0.9991.
    torch.testing.assert_close(seen[-1], result.latents, atol=0.2, rtol=0)


def test_the_preview_is_the_best_affine_map():
    """An autoencoder that is affine itself is reproduced exactly."""

    class Vae(torch.nn.Module):
        config = FrozenDict({"scaling_factor": 0.5})

        def __init__(self) -> None:
            super().__init__()
            self.register_parameter("precision", torch.nn.Parameter(torch.zeros((), dtype=torch.float64)))

        def encode(self, pixels: torch.Tensor) -> Any:
            pooled = torch.nn.functional.avg_pool2d(pixels, 4)
            mixed = torch.einsum("ck,nkhw->nchw", torch.tensor(MIX).to(pixels), pooled) + 0.25
            return type("Encoded", (), {"latents": mixed})

    MIX = [[1.0, 0.2, 0.0], [0.0, 0.5, 0.1], [0.3, 0.0, 0.9], [0.1, 0.1, 0.1], [0.7, 0.0, 0.2]]
    vae = Vae()
    model: Any = type(
        "Model",
        (),
        {
            "vae": vae,
            "factor": 4,
            "image_size": (32, 32),
            "device": torch.device("cpu"),
            "dtype": torch.float64,
        },
    )
    colour = torch.tensor([0.5, -0.25, 0.75]).view(1, 3, 1, 1).expand(1, 3, 16, 16).double()
    (picture,) = LinearPreview.fit(model)(vae.encode(colour).latents * 0.5)
    assert picture.size == (4, 4)
    expected = (np.array([0.5, -0.25, 0.75]) + 1) * 127.5
    assert np.abs(np.asarray(picture) - expected).max() <= 0.5
