"""Parts take turns: who is on the device when, that they all get there, and that results are the same."""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.utils import send_to_device
from PIL import Image
from torch import nn

import editors
import families
import wordbrush as wb
from wordbrush.errors import InvalidInput
from wordbrush.offload import WAITING, take_turns

PLACE = torch.device("cpu", 0)
"""The processor under another name, so that moves to it and back can be told apart."""


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """What moved where, in order: the class of a part, and whether it came to the device."""
    moves: list[tuple[str, bool]] = []
    to = nn.Module.to

    def noted(self: nn.Module, *arguments: Any, **named: Any) -> nn.Module:
        if arguments and isinstance(arguments[0], torch.device):
            moves.append((type(self).__name__, arguments[0] == PLACE))
        return to(self, *arguments, **named)

    monkeypatch.setattr(nn.Module, "to", noted)
    return moves


def offloaded(model: wb.Model) -> wb.Model:
    take_turns([model.text_encoder, model.unet, model.vae], PLACE)
    model.place = PLACE
    return model


def test_one_part_at_a_time_is_on_the_device(tiny_folder: Path, moved: list[tuple[str, bool]]):
    assert PLACE != WAITING
    plain = wb.load(tiny_folder, device="cpu")
    wanted = wb.edit(plain, "a cat on a beach", to="a dog on a beach", seed=3, steps=2)
    wanted_images = [image.tobytes() for image in (wanted.source, *wanted.images)]
    model = offloaded(wb.load(tiny_folder, device="cpu"))
    assert model.device == PLACE
    moved.clear()
    result = wb.edit(model, "a cat on a beach", to="a dog on a beach", seed=3, steps=2)
    assert [image.tobytes() for image in (result.source, *result.images)] == wanted_images
    order = ["CLIPTextModel", "UNet2DConditionModel", "AutoencoderKL"]
    assert moved == [
        (order[0], True),
        *[move for gone, come in pairwise(order) for move in ((gone, False), (come, True))],
    ]
    moved.clear()
    wb.invert(model, result.images[0], "a dog on a beach", steps=2)  # the autoencoder is there still
    assert moved[0] == ("AutoencoderKL", False)
    assert [name for name, here in moved if here] == order[:2]


def test_an_editor_is_offloaded_in_the_same_way(moved: list[tuple[str, bool]]):
    picture = editors.picture()
    plain, editor = editors.editor(), editors.editor()
    wanted = plain(picture, "make it night", seed=3, steps=2).images[0]
    offloaded(editor.model)
    moved.clear()
    image = editor(picture, "make it night", seed=3, steps=2).images[0]
    assert isinstance(image, Image.Image)
    assert image.tobytes() == wanted.tobytes()
    present = 0
    for _, here in moved:
        present += 1 if here else -1
        assert 0 <= present <= 1
    assert {name for name, here in moved if here} == {
        "CLIPTextModel",
        "UNet2DConditionModel",
        "AutoencoderKL",
    }


class Told(nn.Module):
    """Returns where its arguments are."""

    def forward(self, one: torch.Tensor, *, other: torch.Tensor) -> list[torch.device]:
        return [one.device, other.device]


def test_a_part_that_is_called_has_its_arguments_brought_along():
    part, place = Told(), torch.device("meta")
    assert part(torch.zeros(1), other=torch.zeros(1)) == [WAITING, WAITING]
    take_turns([part], place)
    assert part(torch.zeros(1), other=torch.zeros(1)) == [place, place]


@pytest.mark.parametrize("kind", families.KINDS)
def test_every_part_of_every_family_has_its_turn(kind: str, monkeypatch: pytest.MonkeyPatch):
    model = deepcopy(families.model(kind))  # the tests share that one
    parts = [part for part in (*vars(model).values(), *model.more.values()) if isinstance(part, nn.Module)]
    here: list[nn.Module] = []
    most: list[int] = []
    to = nn.Module.to

    def noted(self: nn.Module, *arguments: Any, **named: Any) -> nn.Module:
        if arguments and arguments[0] == PLACE:
            here.append(self)
        elif arguments and arguments[0] == WAITING and self in here:
            here.remove(self)
        most.append(len(here))
        return to(self, *arguments, **named)

    take_turns(parts, PLACE)
    model.place = PLACE
    turns: set[nn.Module] = set()
    for part in parts:
        part.register_forward_pre_hook(lambda module, _: turns.add(module))
    monkeypatch.setattr(nn.Module, "to", noted)
    result = wb.edit(model, "a cat on a beach", to="a dog on a beach", seed=3, steps=2)
    assert len(result.images) == 1
    assert set(here) == {model.vae}
    assert turns | {model.vae} == set(parts)
    assert max(most) == 1


def test_a_part_that_does_not_fit_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch):
    small, large = nn.Linear(1, 1), nn.Linear(1, 1)
    take_turns([small, large], PLACE)
    small(torch.ones(1))
    where = {small: PLACE}
    to = nn.Module.to

    def noted(self: nn.Module, place: torch.device) -> nn.Module:
        where[self] = place
        if self is large and place == PLACE:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return to(self, place)

    monkeypatch.setattr(nn.Module, "to", noted)
    with pytest.raises(torch.OutOfMemoryError):
        large(torch.ones(1))
    assert where == {small: WAITING, large: WAITING}
    small(torch.ones(1))
    assert where == {small: PLACE, large: WAITING}


@pytest.mark.parametrize("kind", families.KINDS)
def test_masks_are_where_the_encoder_has_run(kind: str):
    """An encoder that waits has its weights elsewhere: here its outputs alone are on another device."""
    model, place = deepcopy(families.model(kind)), torch.device("meta")
    for part in (model.text_encoder, *model.more.values()):
        if isinstance(part, nn.Module):
            part.register_forward_hook(lambda module, given, out: send_to_device(out, place))
    text = model.backbone.encode([model.backbone.read("a cat on a beach")])
    assert {name: rows.device for name, rows in text.items()} == dict.fromkeys(text, place)


@pytest.mark.parametrize("load", [wb.load, wb.load_editor])
def test_there_is_nothing_to_be_offloaded_from_a_processor(load: Any):
    with pytest.raises(InvalidInput, match="leave offload out, or choose a device such as 'cuda'"):
        load("storybook", device="cpu", offload=True)
