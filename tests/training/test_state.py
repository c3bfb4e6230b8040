"""States of weights that processes share out, as FSDP has them, and of losses that are scaled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from wordbrush.errors import DataError
from wordbrush.training import state
from wordbrush.training.ema import Average
from wordbrush.training.state import Run


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A group of one process: enough for weights to be DTensors."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", world_size=1, rank=0
    )
    yield
    torch.distributed.destroy_process_group()


def make(shared: bool, seed: int, *, scaled: bool = False) -> Run:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    if shared:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        fully_shard(module, mesh=init_device_mesh("cpu", (1,)))
    parameters = dict(module.named_parameters())
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", enabled=scaled, init_scale=8.0, growth_interval=2)
    run = Run(parameters, Average(parameters, decay=0.9), optimizer, scaler)
    run.module = module  # pyright: ignore[reportAttributeAccessIssue]
    return run


def step(run: Run) -> None:
    x = torch.arange(6.0).view(2, 3) + run.step
    run.scaler.scale(run.module(x).square().mean()).backward()  # pyright: ignore[reportAttributeAccessIssue]
    run.scaler.unscale_(run.optimizer)
    norm = nn.utils.clip_grad_norm_(list(run.parameters.values()), 1.0)
    assert state.whole(norm).isfinite()
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.optimizer.zero_grad()
    run.average.update(run.parameters)
    run.step += 1


@pytest.mark.parametrize(("shared", "scaled"), [(False, False), (False, True), (True, False)])
def test_a_restored_run_goes_on_with_the_same_bits(shared: bool, scaled: bool, tmp_path: Path, group: None):
    one, other = make(shared, 0, scaled=scaled), make(shared, 1, scaled=scaled)
    assert hasattr(one.parameters["0.weight"], "full_tensor") == shared
    for _ in range(3):
        step(one)
    state.save(one, tmp_path)
    (folder,) = state.saved(tmp_path)
    state.restore(other, folder)
    assert (other.step, other.average.updates) == (3, 3)
    assert other.scaler.state_dict() == one.scaler.state_dict()
    for run in (one, other):
        step(run)
    for name, parameter in one.parameters.items():
        assert torch.equal(state.whole(parameter), state.whole(other.parameters[name]))
        assert torch.equal(state.whole(one.average.values[name]), state.whole(other.average.values[name]))


def test_a_state_does_not_depend_on_who_holds_the_weights(tmp_path: Path, group: None):
    shared, plain = make(True, 0), make(False, 1)
    step(shared)
    state.save(shared, tmp_path)
    state.restore(plain, state.saved(tmp_path)[-1])
    for name, parameter in plain.parameters.items():
        assert torch.equal(parameter, state.whole(shared.parameters[name]))


def test_a_state_of_other_weights_is_refused(tmp_path: Path):
    run = make(False, 0)
    state.save(run, tmp_path)
    other = make(False, 0)
    other.parameters = {"0.weight": other.parameters["0.weight"]}
    with pytest.raises(DataError, match="is of other weights than those that are trained now"):
        state.restore(other, state.saved(tmp_path)[-1])


def test_what_a_kill_left_is_removed_and_states_are_not(tmp_path: Path):
    run = make(False, 0)
    for run.step in (1, 2, 3):
        state.save(run, tmp_path)
    assert [path.name for path in state.saved(tmp_path)] == ["step-00000002", "step-00000003"]
    (tmp_path / "states" / ".step-00000004.abc.partial").mkdir()
    state.remove_leftovers(tmp_path)
    assert len(list((tmp_path / "states").iterdir())) == 2
