"""The settings of a run: everything that is not known is refused with the nearest known thing."""

from __future__ import annotations

from pathlib import Path

import pytest

from wordbrush.config import make, read_setting
from wordbrush.dataset import build
from wordbrush.dataset.config import Captions, Config, Engine, Select, Writer, read_config
from wordbrush.dataset.engines.local import LocalEngine
from wordbrush.dataset.engines.ray import RayEngine
from wordbrush.dataset.filters import first_objection
from wordbrush.dataset.pairs import PairStage
from wordbrush.dataset.rules import Best, Keep, published
from wordbrush.dataset.verdict import PUBLISHED_GATES, STORYBOOK_GATES
from wordbrush.dataset.writers.base import Answer, find_fault
from wordbrush.errors import DataError, InvalidInput

FILE = """
seed = 5

[captions]
sources = ["storybook:20"]
words = [3, 30]

[writer]
kind = "local"
model = "owner/model"
max_tokens = 70
per_caption = 2

[pairs]
candidates = 8
share = [0.2, 0.8]
gates = { clip_image = 0.9 }

[select]
at_least = { clip_direction = 0.3 }
best = 2

[engine]
name = "ray"
workers = 3

[export]
formats = ["diffusers"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(FILE)
    return path


def test_a_file_becomes_the_objects_that_work(file: Path):
    config = read_config(file)
    source, stage = build.captions(config.captions)
    assert (len(source), stage.rows_per_unit) == (20, 10_000)
    assert source.filters[0].words == (3, 30)  # pyright: ignore[reportAttributeAccessIssue]
    triplets = build.triplets(config.writer, seed=config.seed)
    assert (triplets.seed, triplets.per_caption, triplets.writer.name) == (5, 2, "model")
    assert triplets.writer.sampling.max_tokens == 70  # pyright: ignore[reportAttributeAccessIssue]
    assert config.pair_stage == PairStage(candidates=8, share=(0.2, 0.8), gates={"clip_image": 0.9}, seed=5)
    assert build.engine(config.engine) == RayEngine(3)
    assert build.rules(config.select, config.pairs.gates) == (
        Keep("clip_image", at_least=0.9),
        Keep("clip_direction", at_least=0.3),
        Best("clip_direction", k=2),
    )


def test_defaults_are_the_published_ones():
    values = {"captions": {"sources": ["storybook:2"]}, "pairs": {"scorer": "openai/clip-vit-large-patch14"}}
    config = make(Config, values, where="here")
    assert build.rules(config.select, config.pairs.gates) == published(0.7)
    assert build.engine(config.engine) == LocalEngine()
    assert config.pairs.gates == PUBLISHED_GATES


def test_gates_come_with_the_scorer_unless_given():
    assert PairStage().gates == STORYBOOK_GATES != PUBLISHED_GATES
    assert PairStage(scorer="owner/clip").gates == PUBLISHED_GATES
    assert PairStage(gates={"ssim": 0.1}).gates == {"ssim": 0.1}


def test_settings_of_the_command_line_replace_those_of_the_file(file: Path):
    changes = ["seed=7", "pairs.candidates=9", "pairs.model=some/where", "writer.truth=true", "select.best=1"]
    config = read_config(file, changes)
    assert config.pair_stage == PairStage(
        model="some/where", candidates=9, share=(0.2, 0.8), gates={"clip_image": 0.9}, seed=7
    )
    assert (config.writer.truth, config.select.best) == (True, 1)


def test_what_is_shown_can_be_read_again(file: Path):
    config = read_config(file)
    assert make(Config, config.model_dump(mode="json") | {"pairs": {"candidates": 8}}, where="").seed == 5


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("captions.source=x", r"config.toml \[captions\] has no setting 'source' \(did you mean 'sources'"),
        ("pairs.candidate=9", r"\[pairs\] has no setting 'candidate' \(did you mean 'candidates'"),
        ("pairs.seed=9", r"\[pairs\] has no setting 'seed'"),
        ("writers.kind=local", r"has no setting 'writers' \(did you mean 'writer'"),
        ("pairs.candidates=0", "pairs: candidates must be at least 1, not 0"),
        ("pairs.candidates=many", "pairs.candidates: .*integer.*, not 'many'"),
        ("pairs.share=[0.5]", "pairs.share.1"),
        ("captions.sources=[]", "captions.sources: .*at least 1"),
        ("captions.sources=x.txt", r"captions.sources: takes a list, as \[\"a\", \"b\"\], not 'x.txt'$"),
        (
            "captions.sources=[x.txt]",
            "captions.sources: takes a list, .*, not '.x.txt.'; a shell takes quotation",
        ),
        ("pairs.gates=ssim", "pairs.gates: takes a table, as {a = 1}, not 'ssim'$"),
        ("engine.name=spark", "engine.name: .*'local' or 'ray', not 'spark'"),
        ("engine=ray", r"engine is a table, \[engine\], not 'ray'"),
    ],
)
def test_what_is_not_known_is_refused(file: Path, change: str, sentence: str):
    with pytest.raises(InvalidInput, match=sentence):
        read_config(file, [change])


def test_a_missing_setting_is_named(tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text("seed = 1\n[captions]\nlimit = 3")
    with pytest.raises(InvalidInput, match=r"config.toml needs a setting captions.sources"):
        read_config(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot read .*: no such file"),
        (b"a = [", "is no TOML"),
        (b"\xff", "is not UTF-8"),
        (b"a = " + b"[" * 5000, "too deeply"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes | None, sentence: str):
    path = tmp_path / "config.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"(?i){sentence}"):
        read_config(path)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a=1", ("a", 1)),
        ("a = [1, 2]", ("a", [1, 2])),
        ("a=true", ("a", True)),
        ("a=owner/model", ("a", "owner/model")),
        ("a=x=y", ("a", "x=y")),
    ],
)
def test_settings_of_the_command_line_are_toml_or_text(text: str, read: tuple):
    assert read_setting(text) == read


def test_a_setting_without_a_value_is_refused():
    with pytest.raises(InvalidInput, match="expected NAME=VALUE"):
        read_setting("candidates")


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        (Writer(kind="local"), "a local writer needs a setting model"),
        (Writer(kind="server", model="m", batch=3), "the server writer has no setting 'batch'"),
        (
            Writer(kind="local", model="a/b", base_url="http://x"),
            "the local writer has no setting 'base_url'",
        ),
    ],
)
def test_settings_that_a_writer_does_not_have_are_refused(section: Writer, sentence: str):
    with pytest.raises(InvalidInput, match=sentence):
        build.writer(section)


def test_a_server_is_asked_as_the_file_says():
    made = build.writer(Writer(kind="server", model="m", concurrency=2, temperature=0.5, form="published"))
    assert (made.concurrency, made.sampling.temperature, made.form) == (2, 0.5, "published")  # pyright: ignore


def test_units_of_a_server_are_small_unless_said_otherwise():
    """What a server has answered is lost with the unit that the run stops in."""
    server = Writer(kind="server", model="m")
    assert build.triplets(server, seed=0).rows_per_unit == 32
    assert build.triplets(Writer(kind="local", model="m"), seed=0).rows_per_unit == 256
    assert build.triplets(server.model_copy(update={"rows_per_unit": 9}), seed=0).rows_per_unit == 9


def test_filters_can_be_left_out_and_added(tmp_path: Path):
    words = tmp_path / "words.txt"
    words.write_text("grey\ngray")
    section = Captions(
        sources=("storybook:9",), language="any", blocked_words=str(words), pattern=r"https?://"
    )
    filters = build.captions(section)[0].filters
    assert [one.name for one in filters] == ["length", "blocked", "pattern"]
    assert (
        build.captions(Captions(sources=("storybook:9",), blocked_words="none"))[0].filters[-1].name
        == "language"
    )


@pytest.mark.parametrize("given", [{"workers": 2}, {"address": "auto"}, {"gpus": 1}, {"cpus": 2}])
def test_the_local_engine_has_no_workers(given: dict):
    with pytest.raises(InvalidInput, match=r"for workers, .* use the engine 'ray'"):
        build.engine(Engine(**given))


def test_a_score_without_a_rule_gets_one_before_the_best():
    rules = build.rules(Select(preset="paper", at_least={"ssim": 0.5, "clip_image": 0.8}), {})
    assert [rule.gate for rule in rules] == [
        "clip_image",
        "clip_before",
        "clip_after",
        "clip_direction",
        "ssim",
        "best",
    ]
    assert rules[0] == Keep("clip_image", at_least=0.8)


CONFIGS = [
    path
    for path in sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))
    if not path.name.startswith("train-")  # those are of `wordbrush train`
]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_files_are_understood(path: Path):
    config = read_config(path)
    build.engine(config.engine)
    build.rules(config.select, config.pairs.gates)
    assert config.pair_stage.candidates >= config.pairs.per_source


def test_the_published_file_is_the_published_recipe():
    assert {path.name for path in CONFIGS} == {"published.toml", "storybook-mini.toml", "storybook.toml"}
    (path,) = (path for path in CONFIGS if path.name == "published.toml")
    config = read_config(path)
    filters = build.captions(config.captions)[0].filters
    assert [one.name for one in filters] == ["length", "blocked"]
    checks = build.triplets(Writer(truth=False), seed=0, filters=filters).checks
    for text in ("ein Hund auf der Wiese", "猫", "a " * 200 + "cat"):
        assert first_objection(filters, text) is None
        assert find_fault("a cat", Answer("do it", text), checks) is None
    pairs = config.pairs
    assert (pairs.candidates, pairs.per_source, pairs.enough, pairs.steps) == (100, 1, 100, 100)
    assert (pairs.control, pairs.scheduler, pairs.draft_steps) == ("published", "euler_a", None)
    assert (pairs.share, pairs.guidance, dict(pairs.gates)) == ((0.1, 0.9), (7.5, 15.0), PUBLISHED_GATES)
