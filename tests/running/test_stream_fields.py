"""How a stream reads its data: view and batch of its own, labels in another label set, several data sets as one, another split."""

from __future__ import annotations

import dataclasses
import inspect
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from runs import differing, go_on, rows, stop_after

from diorama import catalog
from diorama.config import RunConfig, read_config
from diorama.data import io
from diorama.data.labels import CITYSCAPES19, NYU13
from diorama.data.loader import StepLoader
from diorama.errors import ConfigError
from diorama.running.label_spaces import check_one_space
from diorama.running.preparation import about, check, evaluation_split
from diorama.running.streams import Stream, cached, material, open_streams, sources
from diorama.running.train import StoppedError, Training, train
from diorama.stream_settings import OWN

Settings = Callable[..., dict[str, Any]]
ROOMS = [f"train_0_{number:05d}" for number in range(6)]
STREET = {"name": "world_street", "frames": 2, "size": [32, 64], "stereo": False}


def read(settings: dict[str, Any]) -> RunConfig:
    """The run, as its file would give it back."""
    config = RunConfig.from_dict(settings)
    assert RunConfig.from_dict(config.to_dict()) == config
    return config


def opened(config: RunConfig) -> dict[str, Stream]:
    return open_streams(config, catalog.method(config.method)(config.model))


def first_batch(config: RunConfig, *, kept: bool = False) -> dict[str, Any]:
    streams = opened(config)
    return next(iter(StepLoader(sources(config, cached(streams) if kept else streams))))


def test_no_data_set_has_a_setting_of_the_name_of_a_field_of_streams() -> None:
    for name in catalog.names("datasets"):
        assert not {*OWN, "view", "name"} - {"split"} & set(inspect.signature(catalog.dataset(name)).parameters), name


@pytest.mark.parametrize("kept", [False, True])
def test_streams_have_a_batch_and_a_view_of_their_own(kept: bool, unpaired: Settings) -> None:
    config = read(
        unpaired(streams={"photos": {"batch_size": 3}, "labels": {**STREET, "view": {"size": [64, 96], "crop": [32, 64], "flip": 0.0}}})
    )
    assert config.streams["labels"]["view"] == {"size": (64, 96), "crop": (32, 64), "flip": 0.0}
    assert config.stream_view("labels") == dataclasses.replace(config.view, size=(64, 96), crop=(32, 64), flip=0.0)
    assert config.stream_view("photos") == config.view
    batch = first_batch(config, kept=kept)
    assert batch["photos"]["image"].shape == (3, 3, 32, 48)
    assert batch["labels"]["semantic"].shape == (2, 32, 64)
    assert about(config, 7)["budget"] == "7 steps of 2 to 3 at 32x48"


def test_a_view_of_the_same_values_is_none_of_its_own_and_flags_go_before_files(unpaired: Settings) -> None:
    config = read(unpaired(streams={"photos": {"view": {"flip": 0.5}}}))
    assert config.streams == {"photos": {}}
    flags = ["--streams.photos.view.flip", "0.25", "--streams.photos.batch_size=4"]
    assert read_config(flags, config.to_dict()).streams == {"photos": {"view": {"flip": 0.25}, "batch_size": 4}}


def test_labels_of_another_set_come_as_those_of_the_run(unpaired: Settings) -> None:
    """Of 19 street classes rooms know walls, and people as objects; the car is said to be a sofa."""
    labels = {**STREET, "label_set": "data", "class_names": {"car": "sofa"}}
    config = read(unpaired(streams={"labels": labels}))
    found = opened(config)["labels"].whole
    assert found.labels == NYU13
    street = catalog.dataset("world_street")(split="train", **{key: value for key, value in STREET.items() if key != "name"})
    for number in range(2):
        before, after = street[number]["semantic"], found[number]["semantic"]
        becomes = dict.fromkeys(range(256), 255)
        for old, new in (("wall", "wall"), ("person", "objects"), ("car", "sofa")):
            becomes[CITYSCAPES19.classes.index(old)] = NYU13.classes.index(new)
        assert after.tolist() == [[becomes[label] for label in row] for row in before.tolist()]
    assert material(config, opened(config)).labels == NYU13


SEMI = {
    "name": "semi_mtl", "classes": 19, "backbone": "test_resnet", "output_stride": 32, "pretrained": False, "width": 8,
    "depth_widths": [8, 6], "judge_width": 2, "depth_scale": 4.0, "epochs": 1,
}  # fmt: skip


def joint(out: Path, model: dict[str, Any] | None = None, **streams: Any) -> dict[str, Any]:
    """SemiMTL on streets: labels of rooms or streets, depth of streets."""
    return {
        "model": {**SEMI, **(model or {})},
        "data": {**STREET, "frames": 4},
        "streams": {"labelled": {}, "measured": {}, **streams},
        "view": {"size": [32, 48]},
        "trainer": {"batch_size": 2, "accelerator": "cpu", "threads": 1, "workers": 0, "log_every": 1},
        "out": str(out),
    }


def test_classes_that_converted_labels_never_mean_have_to_be_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Training, "finish", lambda self, baselines=(): None)
    rooms = {"name": "world_indoor", "frames": 4, "size": [32, 48], "stereo": False, "label_set": "cityscapes19"}
    config = read(joint(tmp_path, labelled=rooms))
    with pytest.raises(
        ConfigError, match=r"stream 'labelled': labels of world_indoor never mean road, .*Set model\.absent\.labelled="
    ) as caught:
        train(config)
    assert "\n" not in str(caught.value)
    lacking = [number for number, name in enumerate(CITYSCAPES19.classes) if name != "wall"]
    assert str(lacking) in str(caught.value)
    run = train(read(joint(tmp_path, {"absent": {"labelled": lacking}, "alignment": "none"}, labelled=rooms)))
    assert float(rows(run)[-1]["semantic"]) == 0, "a softmax over the wall alone is sure of it"


def test_a_mixture_of_sets_that_know_different_classes_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rooms = {"name": "world_indoor", "frames": 4, "size": [32, 48], "stereo": False, "label_set": "cityscapes19"}
    config = read(
        joint(tmp_path, {"tasks": "semantic", "alignment": "none"}, labelled={"of": ["rooms", "streets"]}, rooms=rooms, streets={})
    )
    with caplog.at_level("WARNING"):
        check(config, opened(config), ())
    assert "stream 'labelled': labels of 'rooms' never mean road, sidewalk, " in caplog.text


def test_a_stream_is_made_of_several_entries_in_their_shares(unpaired: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = {"labels": {"of": {"half": 1, "two": 3}}, "half": {"part": [0, 2]}, "two": {"frames": 2}, "photos": {"batch_size": 4}}
    config = read(unpaired(streams=streams))
    found = opened(config)
    assert set(found) == {"photos", "labels"}
    assert found["labels"].dataset.ids == [*ROOMS[:3], *ROOMS[:2]]
    for served in (found, cached(found)):
        loader = StepLoader(sources(config, served))
        picked = Counter(index >= 3 for step in range(10) for index, _ in loader.plan(step)["labels"])
        assert picked == {False: 4, True: 16}, "of 5 frames 1.25 and 3.75: 1 and 4 an epoch"
        assert next(iter(loader))["labels"]["semantic"].shape == (2, 32, 48)
    assert sources(config, opened(read(unpaired(streams={**streams, "labels": {"of": ["two", "half"]}}))))["labels"].shares == ()


def test_material_names_all_data_sets_that_a_stream_is_made_of(tmp_path: Path) -> None:
    rooms = {"name": "world_indoor", "frames": 2, "size": [32, 48], "stereo": False}
    config = read(joint(tmp_path, measured={"of": ["rooms", "streets"]}, rooms=rooms, streets={}))
    found = material(config, opened(config))
    assert found.name == "world_street + world_indoor"
    assert found.depth_cap == 80
    assert (
        len(evaluation_split(dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, stream="measured"))) or ()) == 6
    )


def test_a_stream_trains_on_the_split_that_it_names(unpaired: Settings) -> None:
    streams = opened(read(unpaired(streams={"labels": {"split": "val"}})))
    assert {frame_id.partition("_")[0] for frame_id in streams["labels"].dataset.ids} == {"val"}
    assert {frame_id.partition("_")[0] for frame_id in streams["photos"].dataset.ids} == {"train"}


def test_a_run_is_judged_on_the_stream_that_it_names(unpaired: Settings) -> None:
    config = read(unpaired(streams={"labels": STREET}, evaluation={"stream": "labels"}))
    found = evaluation_split(config)
    assert found is not None
    assert (found.name, found.split) == ("world_street", "test")
    with pytest.raises(ConfigError, match=r"evaluation\.stream is 'lables': did you mean 'labels'\? It is one of the section `streams`\."):
        evaluation_split(read(unpaired(streams={"labels": STREET}, evaluation={"stream": "lables"})))


def test_returns_of_a_folder_teach_depth_and_are_its_truth(tmp_path: Path) -> None:
    """Four frames, each with 6 returns: all of them arrive at half the size, where the nearest pixel would keep a quarter."""
    root = tmp_path / "rig"
    for split in ("train", "test"):
        for number in range(4):
            points = np.zeros((64, 96), np.float32)
            points[[3, 9, 20, 33, 41, 60], [5, 50, 77, 8, 90, 31]] = 4 + number
            io.write_image(root / split / "images" / f"{number}.png", np.full((64, 96, 3), 60 * number, np.uint8))
            io.write_depth_png(root / split / "sparse_depth" / f"{number}.png", points)
    rig = {"name": "folder", "root": str(root), "depth_from": "sparse_depth"}
    settings = joint(tmp_path, {"alignment": "none", "tasks": "depth", "depth_scale": 4.0}, measured=rig)
    settings["view"] |= {"cache": False}
    config = read(settings)
    batch = first_batch(config)
    assert [int((depth > 0).sum()) for depth in batch["measured"]["depth"]] == [6, 6]
    assert set(batch["measured"]["depth"].unique().tolist()) <= {0.0, 4.0, 5.0, 6.0, 7.0}
    settings["evaluation"] = {"stream": "measured"}
    held_out = evaluation_split(read(settings))
    assert held_out is not None
    assert (held_out.split, held_out.truth) == ("test", "sparse depth as it is stored")
    assert (held_out[1]["depth"] > 0).sum() == 6


def test_a_model_of_one_task_is_not_judged_on_data_without_it(tmp_path: Path) -> None:
    settings = joint(tmp_path, {"alignment": "none", "tasks": "semantic"})
    root = tmp_path / "depths"
    for split in ("train", "test"):
        io.write_image(root / split / "images" / "1.png", np.zeros((32, 48, 3), np.uint8))
        io.write_depth_png(root / split / "depth" / "1.png", np.ones((32, 48), np.float32))
    settings["data"], settings["streams"] = {"name": "folder", "root": str(root)}, {"labelled": STREET, "measured": {}}
    with pytest.raises(
        ConfigError, match=r"folder \(test\), which the model is judged on, has no 'semantic', its only task\. Set evaluation"
    ):
        train(read(settings))


@pytest.mark.parametrize(
    ("streams", "said"),
    [
        ({"labels": {"batch_size": 0}}, r"streams\.labels\.batch_size is 0\. Set it to 1 or more\."),
        ({"labels": {"view": {"sise": [32, 32]}}}, r"unknown key 'sise' in streams\.labels\.view: did you mean 'size'\?"),
        ({"labels": {"view": {"flip": 2}}}, r"streams\.labels\.view\.flip is 2(\.0)?: give a probability between 0 and 1\."),
        ({"labels": {"class_names": {"car": "bed"}}}, r"streams\.labels has class_names but no label_set\. Name the label set"),
        ({"labels": {"label_set": "camvid"}}, r"unknown label set 'camvid': did you mean 'camvid11'\?"),
        ({"labels": {**STREET, "label_set": "isprs5"}}, r"model\.classes is 13, world_street has 5 classes"),
        ({"labels": {**STREET, "label_set": "data", "class_names": {"cat": "bed"}}}, r"class_names: 'cat' is no class of cityscapes19: "),
        ({"labels": {"of": {"one": 1}}}, r"streams\.labels\.of names 'one', which is no entry with data of its own: Known: \.?"),
        ({"labels": {"of": []}}, r"streams\.labels\.of is empty\. Name entries of the section `streams`\."),
        ({"labels": {"of": {"one": 0}}, "one": {}}, r"streams\.labels\.of has one: 0(\.0)?\. Give a share above 0"),
        ({"labels": {"of": ["one"], "frames": 2}, "one": {}}, r"streams\.labels has `of` and 'frames'\. Say it of the entries"),
        (
            {"labels": {"of": ["one"]}, "one": {"batch_size": 2}},
            r"streams\.one is a part of 'labels' and cannot have a batch_size of its own",
        ),
        ({"labels": {"of": ["photos"]}, "photos": {"of": ["labels"]}}, r"streams\.labels\.of names 'photos', which is no entry with data"),
        ({"one": {}}, r"no stream 'one': unpaired has the streams photos and labels; "),
        ({"labels": {"depth_from": "sparse_depth"}}, r"world_indoor \(train\) has 'depth' beside 'sparse_depth'\. Leave out"),
        (
            {"labels": {"of": ["one", "two"]}, "one": {}, "two": STREET},
            r"stream 'labels': world_indoor has nyu13 and world_street has city",
        ),
        ({"labels": {"split": "tran"}}, r"world_indoor: no split 'tran'"),
    ],
)
def test_what_is_wrong_with_a_field_is_told_in_one_line(streams: dict[str, Any], said: str, unpaired: Settings) -> None:
    with pytest.raises(Exception, match=said) as caught:
        train(RunConfig.from_dict(unpaired(streams=streams)))
    assert "\n" not in str(caught.value)


def test_an_empty_set_is_told_by_the_name_of_its_stream(unpaired: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    original = RunConfig.open_training

    def emptied(self: RunConfig, stream: str | None = None) -> Any:
        found = original(self, stream)
        found.ids = [] if stream == "labels" else found.ids
        return found

    monkeypatch.setattr(RunConfig, "open_training", emptied)
    with pytest.raises(ConfigError, match=r"stream 'labels': world_indoor \(train\) has no frame\. Check its root and split\."):
        opened(RunConfig.from_dict(unpaired(streams={"labels": {"frames": 5}})))


def test_label_sets_without_a_common_class_are_told(unpaired: Settings, caplog: pytest.LogCaptureFixture) -> None:
    config = RunConfig.from_dict(unpaired())
    streams = opened(config)
    held_out = config.open_dataset("test")
    check_one_space(streams, held_out)
    assert not caplog.records
    classes = tuple(f"thing {number}" for number in range(13))
    held_out.labels = dataclasses.replace(NYU13, name="things", classes=classes)
    with pytest.raises(
        ConfigError, match=r"label spaces do not overlap: stream 'labels' \(world_indoor\) has nyu13 \(bed, \.\.\.\), "
    ) as caught:
        check_one_space(streams, held_out)
    assert "\n" not in str(caught.value)
    held_out.labels = dataclasses.replace(NYU13, name="turned", classes=(NYU13.classes[1], NYU13.classes[0], *NYU13.classes[2:]))
    with caplog.at_level("WARNING"):
        check(config, streams, ())
        check_one_space(streams, held_out)
    assert "class 0 is 'bed' in stream 'labels' (world_indoor) and 'books' in world_indoor (test), which" in caplog.text


def test_stopped_and_resumed_mixtures_equal_the_uninterrupted_ones(unpaired: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Training, "finish", lambda self, baselines=(): None)
    streams = {
        "labels": {"of": {"near": 1, "far": 3}, "batch_size": 3},
        "near": {},
        "far": {"frames": 2},
        "photos": {"view": {"flip": 0.0}, "batch_size": 3},
    }
    config = RunConfig.from_dict(unpaired({}, streams=streams))
    whole = train(config)
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(StoppedError, match="step 4 of"):
            train(config)
    run = whole.with_name("unpaired-world_indoor-2")
    torch.manual_seed(4)
    go_on(run)
    assert differing(run, whole) == []
    assert rows(run) == rows(whole)
