"""Several streams in one run: which frames each reads, that they share none, and that stopping and resuming changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import differing, go_on, rows, stop_after

from diorama import catalog
from diorama.config import RunConfig
from diorama.data.loader import StepLoader
from diorama.errors import ConfigError, TrainingError
from diorama.running.streams import cached, material, open_streams, sources
from diorama.running.train import StoppedError, Training, train

Settings = Callable[..., dict[str, Any]]
ROOMS = [f"train_0_{number:05d}" for number in range(6)]
STEPS = 6


def opened(settings: dict[str, Any]) -> dict[str, Any]:
    config = RunConfig.from_dict(settings)
    return open_streams(config, catalog.method(config.method)(config.model))


def ids(settings: dict[str, Any]) -> dict[str, list[str]]:
    return {name: stream.dataset.ids for name, stream in opened(settings).items()}


def test_a_method_with_one_stream_reads_all_of_the_data(settings: Settings) -> None:
    assert ids(settings()) == {"main": ROOMS}


def test_two_streams_share_no_frame_unless_the_run_says_so(unpaired: Settings) -> None:
    assert ids(unpaired()) == {"photos": ROOMS[:3], "labels": ROOMS[3:]}
    assert ids(unpaired(streams={"labels": {"part": [2, 4]}})) == {"photos": ROOMS, "labels": ROOMS[3:4]}
    assert ids(unpaired(streams={"photos": {}})) == {"photos": ROOMS, "labels": ROOMS}


def test_parts_are_contiguous_and_together_all_frames(unpaired: Settings) -> None:
    for parts in range(1, 7):
        found = [name for n in range(parts) for name in ids(unpaired(streams={"labels": {"part": [n, parts]}}))["labels"]]
        assert found == ROOMS


def test_a_part_reads_its_own_frames(unpaired: Settings) -> None:
    streams = opened(unpaired())
    labels, whole = streams["labels"].dataset, streams["labels"].whole
    assert (labels[2]["semantic"] == whole[5]["semantic"]).all()
    assert (labels[-1]["semantic"] == whole[5]["semantic"]).all()
    with pytest.raises(IndexError):
        streams["photos"].dataset.frame(3)


def test_a_stream_may_read_another_data_set_or_other_settings(unpaired: Settings) -> None:
    streams = opened(unpaired(streams={"labels": {"name": "world_street", "frames": 2, "size": [32, 64], "stereo": False}}))
    assert (streams["photos"].whole.name, streams["labels"].whole.name) == ("world_indoor", "world_street")
    assert (len(streams["photos"].dataset), len(streams["labels"].dataset)) == (6, 2)
    streams = opened(unpaired(streams={"labels": {"frames": 4, "part": [1, 2]}}))
    assert streams["labels"].dataset.ids == ROOMS[2:4]
    assert streams["labels"].dataset[0]["semantic"].shape == (32, 48), "the rest is that of the run"


def test_streams_of_the_same_data_open_and_keep_them_once(unpaired: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = cached(opened(unpaired()))
    assert streams["photos"].whole is streams["labels"].whole
    other = cached(opened(unpaired(streams={"labels": {"frames": 4}})))
    assert other["photos"].whole is not other["labels"].whole


def test_sparse_rules_are_for_the_streams_that_need_points(unpaired: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = unpaired(sparse={"points": 20, "source": "depth"})
    wanted = {"photos": frozenset({"image"}), "labels": frozenset({"image", "sparse_depth"})}
    monkeypatch.setattr(sys.modules["unpaired"].Unpaired, "streams", wanted)
    config, streams = RunConfig.from_dict(settings), opened(settings)
    made = sources(config, streams)
    assert {name: source.keys for name, source in made.items()} == {"photos": ("image",), "labels": ("depth", "image")}
    batch = next(iter(StepLoader(made)))
    assert set(batch["photos"]) == {"image", "meta"}
    assert [int((points > 0).sum()) for points in batch["labels"]["sparse_depth"]] == [20, 20]


def test_a_model_names_all_its_data_and_their_terms(unpaired: Settings) -> None:
    settings = unpaired(streams={"labels": {"name": "world_street", "frames": 2, "size": [32, 64]}})
    found = material(RunConfig.from_dict(settings), opened(settings))
    assert found.name == "world_indoor + world_street"
    assert found.labels is not None
    assert len(found.labels) == len(catalog.dataset("world_street")(split="train", frames=1).labels)
    assert "world_indoor: " in found.terms
    assert "world_street: " in found.terms
    assert material(RunConfig.from_dict(unpaired()), opened(unpaired())).name == "world_indoor"


@pytest.mark.parametrize(
    ("streams", "said"),
    [
        ({"lables": {"part": [0, 2]}}, r"no stream 'lables': unpaired has the streams photos and labels; did you mean 'labels'\?"),
        ({"main": {"part": [0, 2]}}, r"no stream 'main': unpaired has the streams photos and labels; "),
        ({"labels": {"part": [0, 7]}}, r"stream 'labels': world_indoor has 6 frames, too few for 7 parts\. Set streams\.labels\.part\."),
    ],
)
def test_what_is_wrong_with_a_stream_is_told(streams: dict[str, Any], said: str, unpaired: Settings) -> None:
    config = RunConfig.from_dict(unpaired(streams=streams))
    with pytest.raises(ConfigError, match=said) as caught:
        train(config)
    assert "\n" not in str(caught.value)
    assert not Path(config.out).exists()


def test_a_stream_of_another_number_of_classes_is_told(unpaired: Settings) -> None:
    config = RunConfig.from_dict(unpaired(streams={"labels": {"name": "world_street", "frames": 2}}))
    with pytest.raises(ConfigError, match=r"model\.classes is 13, world_street has \d+ classes"):
        train(config)


def test_a_stream_without_a_needed_key_is_told_by_name(unpaired: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = unpaired()
    monkeypatch.setattr(sys.modules["unpaired"].Unpaired, "streams", {"photos": frozenset({"image"}), "pairs": frozenset({"right"})})
    with pytest.raises(ConfigError) as caught:
        train(RunConfig.from_dict(settings))
    said = str(caught.value)
    assert said.startswith("unpaired (stream 'pairs') needs 'right'; world_indoor (train) has no stereo pairs. Try ")
    assert said.endswith(" (--streams.pairs.name NAME).")


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end with their last checkpoint."""
    monkeypatch.setattr(Training, "finish", lambda self, baselines=(): None)


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize(
    ("trainer", "model", "stops"),
    [
        ({"ema": 0.9}, {}, (1, 2, 4, 6)),
        ({"accumulate": 2, "workers": 1}, {"idle": [1, 2]}, (1, 3)),
    ],
)
def test_stopped_and_resumed_streams_equal_the_uninterrupted_ones(
    trainer: dict[str, Any], model: dict[str, Any], stops: tuple[int, ...], unpaired: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, optimisers, buffers and gauges, with a buffer that is full before the end."""
    config = RunConfig.from_dict(unpaired(model, trainer=trainer))
    whole = train(config)
    state = torch.load(whole / "last.ckpt", weights_only=True)
    assert state["step"] == STEPS
    assert len(state["memories"]) == 1
    assert state["memories"][0]["buffer"].shape == (3, 13, 32, 48)
    assert all("judge_right" in row for row in rows(whole))
    for number, stop in enumerate(stops, 2):
        with monkeypatch.context() as patch:
            stop_after(patch, stop)
            with pytest.raises(StoppedError, match=f"step {stop} of {STEPS}"):
                train(config)
        run = whole.with_name(f"unpaired-world_indoor-{number}")
        torch.manual_seed(stop)
        go_on(run)
        assert differing(run, whole) == []
        assert rows(run) == rows(whole)


@pytest.mark.usefixtures("brief")
def test_a_checkpoint_without_memory_still_resumes(unpaired: Settings) -> None:
    run = train(RunConfig.from_dict(unpaired(trainer={"steps": 2})))
    state = torch.load(run / "last.ckpt", weights_only=True)
    del state["memories"]
    torch.save(state, run / "last.ckpt")
    train(RunConfig.from_dict(unpaired(trainer={"steps": 4})), resume=run)
    assert torch.load(run / "last.ckpt", weights_only=True)["step"] == 4


@pytest.mark.usefixtures("brief")
def test_an_optimiser_stands_still_while_its_turn_has_nothing_to_say(unpaired: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    original = Training.one_step

    def noted(self: Training, batch: Any) -> dict[str, float]:
        said = original(self, batch)
        seen.append({name: value.detach().clone() for name, value in self.method.named_parameters()})
        return said

    monkeypatch.setattr(Training, "one_step", noted)
    run = train(RunConfig.from_dict(unpaired({"idle": [2, 3]})))
    moved = [not torch.equal(one["judge.weight"], other["judge.weight"]) for one, other in pairwise(seen)]
    assert moved == [True, False, False, True, True]
    assert all(not torch.equal(one["generator.0.weight"], other["generator.0.weight"]) for one, other in pairwise(seen))
    assert [bool(row["real"]) for row in rows(run)] == [True, True, False, False, True, True]


@pytest.mark.usefixtures("brief")
def test_a_step_in_which_no_turn_has_anything_to_say_is_told(unpaired: Settings) -> None:
    with pytest.raises(TrainingError, match=r"step 1: no loss on frames train_0_0000\d, "):
        train(RunConfig.from_dict(unpaired({"silent": [1]})))


def test_labels_are_counted_in_the_stream_that_has_them(unpaired: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    monkeypatch.setattr(Training, "run", lambda self: found.append(self.method.counts))
    monkeypatch.setattr(Training, "finish", lambda self, baselines=(): None)
    config = RunConfig.from_dict(unpaired(view={"cache": False}))
    train(config)
    frames = config.open_dataset("train")
    expected = [sum(int((frames[n]["semantic"] == k).sum()) for n in (3, 4, 5)) for k in range(13)]
    assert found == [expected]
