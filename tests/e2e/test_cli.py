"""The command line as a user types it: with storybook if its weights are there, else with random weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from wordbrush.cli.app import app
from wordbrush.figures import FIGURES
from wordbrush.files import read_settings
from wordbrush.models import EMBEDDED, EMBEDDED_EDITORS
from wordbrush.storybook import font

SOURCE, TARGET = "a cat on a beach at sunset", "a dog on a beach at sunset"
needs_font = pytest.mark.skipif(
    not font.FONT_PATH.exists(), reason="needs the Debian package fonts-noto-color-emoji"
)


@pytest.fixture(scope="module")
def model(request: pytest.FixtureRequest) -> str:
    if (EMBEDDED["storybook"] / "model_index.json").exists():
        return "storybook"
    return str(request.getfixturevalue("tiny_folder"))


@pytest.fixture(autouse=True)
def in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, status: int = 0) -> Any:
    """Run a command in this process; check its exit status and that it left no temporary file."""
    result = CliRunner().invoke(app, list(arguments), prog_name="wordbrush")
    assert result.exit_code == status, result.output
    assert not list(Path().rglob("*.tmp"))
    return result


def refused(*arguments: str) -> str:
    """Run a command that must fail; check that it says so in one sentence, writes nothing, and return the sentence."""
    before = sorted(Path().rglob("*"))
    result = run(*arguments, status=2)
    assert result.stdout == ""
    assert sorted(Path().rglob("*")) == before
    (sentence,) = result.stderr.strip().splitlines()
    return sentence.removeprefix("wordbrush: ")


def files() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


def test_edit_into_a_picture(model: str):
    run("edit", SOURCE, "--to", TARGET, "--seed", "3", "--steps", "2", "--model", model, "-o", "a/b/dog.png")
    assert files() == ["a/b/dog.png"]
    settings = read_settings(Path("a/b/dog.png"))
    assert settings["source"] == SOURCE
    assert settings["targets"] == [TARGET]
    assert settings["seed"] == 3
    assert settings["steps"] == 2
    assert settings["plan"]["source"] == SOURCE
    (target,) = settings["plan"]["targets"]
    assert {"word": "dog", "source": "cat"}.items() <= target["words"][1].items()
    assert "'cat'" in settings["plan"]["told"]
    assert set(settings["versions"]) == {"wordbrush", "torch", "diffusers"}


def test_edit_into_a_folder_twice_gives_the_same_pictures(model: str):
    for folder in ("one", "two"):
        run("edit", SOURCE, "-t", TARGET, "-t", "a car on a beach", "--steps", "2", "-m", model, "-o", folder)
    names = ["01-a-dog-on-a-beach-at-sunset.png", "02-a-car-on-a-beach.png", "grid.png", "source.png"]
    assert files() == [f"{folder}/{name}" for folder in ("one", "two") for name in names]
    for name in names:
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()
    pictures = {Path("one", name).read_bytes() for name in names}
    assert len(pictures) == 4
    assert read_settings(Path("one/02-a-car-on-a-beach.png"))["target"] == "a car on a beach"


def test_edit_with_several_seeds(model: str):
    common = ["edit", SOURCE, "-t", TARGET, "--steps", "2", "-m", model]
    told = json.loads(run(*common, "--seed", "3", "-n", "2", "-o", "both", "--json").stdout)
    names = [
        f"{name}-seed{seed}.png" for seed in (3, 4) for name in ("source", "01-a-dog-on-a-beach-at-sunset")
    ]
    assert told["files"] == [f"both/{name}" for name in ["grid.png", *names]]
    assert [made["seed"] for made in told["settings"]] == [3, 4]
    assert len({pixels(Path("both") / name) for name in names}) == 4
    run(*common, "--seed", "4", "-o", "alone")
    for name in ("source", "01-a-dog-on-a-beach-at-sunset"):
        assert pixels(Path(f"both/{name}-seed4.png")) == pixels(Path(f"alone/{name}.png"))
    sheet, row = (Image.open(f"{folder}/grid.png") for folder in ("both", "alone"))
    assert sheet.width == row.width
    assert sheet.height > 1.9 * row.height
    assert read_settings(Path("both/grid.png"))["seed"] == [3, 4]
    assert "--cache keeps the source of one seed" in refused(*common, "-n", "2", "--cache", "kept")


def test_edit_changes_with_what_is_kept(model: str):
    """The same edit with all, some and nothing kept: three pictures from one source."""
    common = ["edit", SOURCE, "--to", TARGET, "--steps", "4", "--model", model]
    run(*common, "--until", "1", "--self-attention", "1", "-o", "all")
    run(*common, "--until", "0.5", "--until", "dog=0:0.25", "--self-attention", "0.25", "-o", "some")
    run(*common, "--until", "0", "--self-attention", "0", "-o", "none")
    edited = [Path(folder, "01-a-dog-on-a-beach-at-sunset.png") for folder in ("all", "some", "none")]
    assert len({pixels(path) for path in edited}) == 3
    assert len({pixels(path.with_name("source.png")) for path in edited}) == 1


def pixels(path: Path) -> bytes:
    with Image.open(path) as image:
        return image.convert("RGB").tobytes()


def test_fader_makes_one_picture_per_strength(model: str):
    result = run(
        "edit", "a house in the snow", "-w", "snow=0,1,2", "--steps", "2", "-m", model, "-o", "f", "--json"
    )
    told = json.loads(result.stdout)
    assert told["files"] == [
        "f/grid.png",
        "f/source.png",
        *(f"f/0{n}-a-house-in-the-snow-snow-{n - 1}.png" for n in (1, 2, 3)),
    ]
    assert told["settings"]["targets"] == ["a house in the snow"] * 3
    shown = [pixels(Path(path)) for path in told["files"][1:]]
    assert shown[0] == shown[2]  # strength 1 is the source
    assert len(set(shown)) == 3


def test_plan_stops_before_computing(model: str):
    common = ["edit", SOURCE, "--to", TARGET, "-m", model, "--plan"]
    usual = json.loads(run(*common, "--json").stdout)["targets"][0]["edits"][0]
    assert 0 < usual["until"][1] < 1
    assert usual["words"] == {}
    asked = [*common, "--until", "dog=0.3", "--self-attention", "0.1:0.5", "--blend", "cat:dog"]
    text = run(*asked).stdout
    told = json.loads(run(*asked, "--json").stdout)
    assert told["told"] == text.rstrip("\n")
    assert f"steps 0 to {usual['until'][1]:g}, dog: 0 to 0.3" in text
    (target,) = told["targets"]
    (edit,) = target["edits"]
    assert (edit["until"], edit["words"]) == (usual["until"], {"dog": [0, 0.3]})
    assert target["self_attention"]["until"] == [0.1, 0.5]
    assert (told["blend"]["source"], told["blend"]["targets"]) == ([["cat"]], [["dog"]])
    assert files() == []


@pytest.mark.parametrize("plan", [[], ["--plan"]])
def test_equal_prompts_are_refused_before_a_model_is_loaded(plan: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wordbrush.load", lambda *given, **more: pytest.fail("it was loaded"))
    for others in ([], ["--to", TARGET]):
        told = refused("edit", SOURCE, *others, "--to", SOURCE, *plan)
        assert told.startswith(f"the target prompt equals the source prompt {SOURCE!r}: change a word")
        assert told.endswith("--weight WORD=STRENGTH")


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (["--seed", "abc"], "--seed 'abc' is not a whole number of at least 0"),
        (["-s", "1.5"], "--seed '1.5' is not a whole number of at least 0"),
        (["--seed", "-1"], "--seed '-1' is not a number of at least 0"),
        (["--count", "no"], "--count 'no' is not a whole number of at least 1"),
        (["--guidance", "x"], "--guidance 'x' is not a number"),
    ],
)
def test_what_is_no_number_is_one_sentence(option: list[str], says: str):
    assert refused("edit", SOURCE, "--to", TARGET, *option) == says


def test_a_size_that_does_not_fit_is_told_with_one_that_does(model: str):
    common = ["generate", "a cat", "-m", model, "--size"]
    assert "must be multiples of" in refused(*common, "101")
    assert "multiples of 8, such as 96x128" in refused(*common, "big")


def test_a_plan_of_all_the_same_words_and_of_what_is_added(model: str):
    common = ["edit", "a cat and a cat", "-w", "cat#all=2", "-m", model, "--plan", "--json"]
    told = json.loads(run(*common).stdout)["targets"][0]["edits"][1]
    assert told["strengths"] == {"cat#all": 2}
    added = ["edit", "a cat", "--to", "a cat with a hat", "--blend", ":hat", "-m", model, "--plan", "--json"]
    blend = json.loads(run(*added).stdout)["blend"]
    assert (blend["source"], blend["targets"]) == ([[]], [["hat"]])


def test_a_weight_is_for_the_targets_that_have_the_word(model: str):
    common = ["edit", "a cat", "--to", "a dog", "--to", "a fox", "-w", "dog=2", "--until", "fox=0.5"]
    told = json.loads(run(*common, "--steps", "2", "-m", model, "-o", "f", "--json").stdout)
    assert [Path(path).name for path in told["files"][2:]] == ["01-a-dog-dog-2.png", "02-a-fox.png"]
    assert "'cow' is not in the prompt" in refused(*common, "-w", "cow=2", "-m", model)


def test_paths_are_told_as_they_are(model: str):
    """Whatever Rich would make of them, an unmatched [/x] included."""
    folder = "[bold]x[/bold] :cat:"
    place, picture = f"{folder}/[/x]", f"{folder}/[/x].png"
    common = ["--steps", "2", "-m", model]
    for command in (["edit", "a cat", "-t", "a dog"], ["generate", "a cat"], ["maps", "a cat"]):
        output = place if command[0] == "edit" else picture
        assert run(*command, *common, "-o", output).stdout.rstrip().endswith(f"in {output}")
    start = f"{folder}/[/x].safetensors"
    told = run("invert", f"{place}/source.png", "-c", "a cat", *common, "-o", start).stdout
    assert told.endswith(f"{start}: edit it with wordbrush edit {start} --to …\n")
    told = run("figures", "p2p-4", *common, "-o", place).stdout
    assert told == f"p2p-4: {place}/p2p-4.png and {place}/p2p-4.pdf\n"
    assert Path(start).is_file()


def test_generate(model: str):
    common = ["generate", "a cat on a beach", "a dog on a beach", "-n", "2", "--steps", "1", "-m", model]
    told = json.loads(run(*common, "-o", "g", "--json").stdout)
    assert len(told["files"]) == len({pixels(Path(path)) for path in told["files"]}) == 4
    assert [(made["prompt"], made["seed"]) for made in told["settings"]] == [
        ("a cat on a beach", 0),
        ("a dog on a beach", 0),
        ("a cat on a beach", 1),
        ("a dog on a beach", 1),
    ]
    run(*common, "-o", "sheet.png")
    run("generate", "a cat on a beach", "--seed", "1", "--steps", "1", "-m", model, "-o", "single.png")
    alone, among_others = (np.asarray(Image.open(path), int) for path in ("single.png", told["files"][2]))
    assert np.abs(alone - among_others).max() <= 2  # the size of a batch changes the rounding


def test_maps(model: str):
    common = ["maps", "a bear with a bear", "--steps", "2", "-m", model]
    run(*common, "--moments", "2", "-o", "m.png")
    told = json.loads(run(*common, "--words", "bear#1,with", "-o", "m", "--json").stdout)
    assert [Path(path).name for path in told["files"]] == [
        "maps.png",
        "image.png",
        "01-bear-1.png",
        "02-with.png",
    ]
    assert len({pixels(Path(path)) for path in told["files"]}) == 4


def test_size_is_the_user_s(model: str):
    run("generate", "a cat", "--steps", "1", "--size", "64x128", "-m", model, "-o", "wide.png")
    with Image.open("wide.png") as image:
        assert image.size == (128, 64)


def test_figures(model: str):
    told = json.loads(run("figures", "--json").stdout)
    assert list(told) == list(FIGURES)
    told = json.loads(run("figures", "p2p-4", "--steps", "2", "-m", model, "-o", "f", "--json").stdout)
    assert sorted(told["files"]) == files() == ["f/p2p-4.pdf", "f/p2p-4.png"]


@needs_font
def test_storybook_render():
    run("storybook", "render", "a red car in a city at night", "--seed", "1", "-o", "car.png")
    run("storybook", "render", "--count", "3", "-o", "sheet.png")
    told = json.loads(run("storybook", "render", "--count", "3", "-o", "scenes", "--json").stdout)
    assert len(told["files"]) == 3
    assert read_settings(Path("car.png"))["prompt"] == "a red car in a city at night"
    with Image.open("car.png") as image:
        assert image.size == (128, 128)
    assert "zebra" in refused("storybook", "render", "a zebra on a beach", "-o", "zebra.png")


@pytest.mark.parametrize("caption", ["", " "])
def test_an_empty_caption_is_not_rendered(caption: str):
    assert "an empty caption describes no scene" in refused("storybook", "render", caption)


def test_help_says_what_storybook_brings():
    told = " ".join(run("edit", "--help").stdout.replace("│", " ").split())
    brought = json.loads((EMBEDDED["storybook"] / "wordbrush.json").read_text())
    parts = told.split("(storybook: ")[1:]
    named = ("until", "self_attention", "blend", "steps", "guidance")
    assert {part.partition(")")[0] for part in parts} == {
        f"{brought[name]}".removesuffix(".0") for name in named
    }
    assert "(storybook" not in run("instruct", "--help").stdout
    assert "starting noise" not in run("storybook", "render", "--help").stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--record", "record.jsonl"], "give --p2p"),
        (["--kind", "subject"], "give --p2p"),
        (["--writer", "--record", "record.jsonl"], "--writer measures texts"),
        (["--writer", "--steps", "4"], "--writer measures texts"),
    ],
)
def test_storybook_evaluate_leaves_nothing_unheeded(options: list[str], says: str):
    assert says in refused("storybook", "evaluate", *options)


def test_models(monkeypatch: pytest.MonkeyPatch, tiny_folder: Path):
    cache = Path("cache")
    snapshot = cache / "models--some-one--tiny--model" / "snapshots" / "abc"
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(tiny_folder)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    told = json.loads(run("models", "--json").stdout)
    assert set(told) == {"accepts", "installed"}
    found = {one["name"]: one for one in told["installed"]}
    tiny = found["some-one/tiny--model"]
    assert tiny["kind"] == "StableDiffusionPipeline"
    assert tiny["pixels"] == 64
    assert 10_000 < tiny["parameters"] < 1_000_000
    assert "some-one/tiny--model" in run("models").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["edit", SOURCE], "--to"),
        (["edit", SOURCE, "--to", TARGET, "--until", "much"], "0.8"),
        (["edit", SOURCE, "--to", TARGET, "--until", "1.5"], "--until: "),
        (["edit", SOURCE, "--to", TARGET, "--until", "dog=1.5"], "--until: "),
        (["edit", SOURCE, "--to", TARGET, "--size", "100000x100000"], "at most 67,108,864 pixels"),
        (["generate", SOURCE, "--size", "100000x100000"], "at most 67,108,864 pixels"),
        (["edit", SOURCE, "--to", TARGET, "--size", "big"], "96x128"),
        (["edit", SOURCE, "--to", TARGET, "--weight", "sno=2"], "'sno'"),
        (["edit", SOURCE, "--weight", "a=2"], "occurs 2 times"),
        (["edit", SOURCE, "--weight", "a=2"], "choose one with a#0 or a#1, or all with a#all"),
        (["maps", SOURCE, "--words", "a"], "choose one with a#0 or a#1, or all with a#all"),
        (["edit", SOURCE, "--to", SOURCE], "turn one up or down with --weight WORD=STRENGTH"),
        (["edit", SOURCE, "--to", TARGET, "--guidance", "0"], "leave the prompt out: give 1 for no guidance"),
        (["edit", SOURCE, "--to", TARGET, "--self-attention", "1.5"], "--self-attention: "),
        (["edit", SOURCE, "--to", TARGET, "--self-attention", "much"], "--self-attention 'much'"),
        (["edit", SOURCE, "--to", TARGET, "--blend", ":"], "such as cat:dog, or one of them, as :hat"),
        (["edit", SOURCE, "--to", TARGET, "--keep-pixels"], "give --mask as well"),
        (["edit", SOURCE, "--to", ""], "empty"),
        (["edit", SOURCE, "--to", TARGET, "--weight", "dog=nan"], "finite"),
        (["edit", SOURCE, "--to", TARGET, "--blend", "cat:lion"], "'lion'"),
        (["edit", SOURCE, "--to", TARGET, "--scheduler", "dim"], "'ddim'"),
        (["edit", SOURCE, "--to", " ".join(["elephant"] * 80)], "tokens"),
        (["edit", SOURCE, "--to", TARGET, "--dtype", "float8"], "float32"),
        (
            ["edit", SOURCE, "--to", TARGET, "--device", "cpu", "--offload"],
            "leave it out, or choose a device",
        ),
        (["edit", SOURCE, "--to", TARGET, "-o", "picture.jpg"], "PNG"),
        (["generate", "a cat", "--size", "100x100"], "100"),
        (["generate", " "], "empty"),
        (["maps", SOURCE, "--words", "lion"], "'lion' is not in the prompt"),
        (["maps", SOURCE, "--words", "beech"], "did you mean 'beach'"),
        (["figures", "p2p-10"], "p2p-1"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(model: str, arguments: list[str], says: str):
    extra = ["--steps", "1"] if arguments[0] != "figures" else []
    sentence = refused(*arguments, *extra, "--model", model)
    assert says in sentence
    for python in ("edits=", "Word(", "instance", "ClassifierFree", "keep_pixels"):
        assert python not in sentence


def test_models_of_the_other_kind():
    told = refused("edit", SOURCE, "--to", TARGET, "--model", str(EMBEDDED_EDITORS["storybook"]))
    assert told.endswith("use wordbrush instruct")
    Image.new("RGB", (128, 128)).save("a.png")
    told = refused("instruct", "a.png", "make it night", "--model", str(EMBEDDED["storybook"]))
    assert told.endswith("use wordbrush edit")


@pytest.mark.parametrize("name", ["no-such-model", "./nowhere", "broken", "nothing-inside"])
def test_models_that_cannot_be_loaded(name: str, tiny_folder: Path):
    if name == "broken":
        subprocess.run(["cp", "-r", str(tiny_folder), name], check=True)
        weights = Path(name, "unet", "diffusion_pytorch_model.safetensors")
        weights.write_bytes(weights.read_bytes()[:1000])
    if name == "nothing-inside":
        Path(name).mkdir()
    told = refused("edit", SOURCE, "--to", TARGET, "--model", name)
    assert name.removeprefix("./") in told
    assert "one of storybook" not in told


def test_a_full_disk_is_a_sentence(model: str, monkeypatch: pytest.MonkeyPatch):
    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("wordbrush.files.os.fsync", full)
    Path("out").mkdir()
    arguments = ["edit", SOURCE, "--to", TARGET, "--steps", "1", "-m", model, "-o", "out"]
    assert "disk is full" in refused(*arguments)


def test_an_error_in_the_middle_writes_nothing(model: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wordbrush.results.Generation.grid", lambda *a, **k: interrupt())
    result = run("edit", SOURCE, "--to", TARGET, "--steps", "1", "-m", model, "-o", "out", status=130)
    assert "Stopped" in result.stderr
    assert files() == []


def interrupt() -> None:
    raise KeyboardInterrupt


# As processes -------------------------------------------------------------------------------------------------------


def test_ctrl_c_ends_a_running_command():
    """A real signal to a real process, sent when the command is at work."""
    program = (
        "import sys, time, wordbrush.cli.generate as g\n"
        "g.load_model = lambda *a, **k: (print('ready', flush=True), time.sleep(60))\n"
        "from wordbrush.cli import main\n"
        "sys.argv = ['wordbrush', 'generate', 'a cat', '-o', 'out']\n"
        "main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.strip() == "Stopped; no file was left half-written."
    assert files() == []


def test_the_module_is_the_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "wordbrush", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("wordbrush 0.")


def test_stdout_is_json_and_nothing_else(model: str):
    arguments = ["edit", SOURCE, "--to", TARGET, "--steps", "1", "--model", model, "-o", "dog.png", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "wordbrush", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert json.loads(done.stdout)["files"] == ["dog.png"]
    assert done.stderr == ""
