"""Runs from YAML and flags: which value wins, what a typing error is told, and that a printed configuration is the same run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from diorama import config, recipes
from diorama.config import RunConfig, read_config
from diorama.errors import ConfigError

RUN: dict[str, Any] = {"model": {"name": "ci_net"}, "data": {"name": "nyuv2", "root": "rooms"}}


def changed(section: str, **values: Any) -> dict[str, Any]:
    return {**RUN, section: {**RUN.get(section, {}), **values}}


def message(flags: list[str], given_settings: dict[str, Any] | None = RUN) -> str:
    with pytest.raises(ConfigError) as caught:
        read_config(flags, given_settings)
    text = str(caught.value)
    assert "\n" not in text
    return text


# The three wordings of jsonargparse for a key that does not exist.


def test_unknown_flag_gets_the_nearest_key() -> None:
    assert message(["--trainer.batchsize", "4"]) == "unknown key 'batchsize' in trainer: did you mean 'batch_size'?"


def test_unknown_key_in_a_section_gets_the_nearest_key() -> None:
    assert message([], changed("model", widht=3)) == "unknown key 'widht' in model: did you mean 'width'?"


def test_unknown_key_at_the_top_gets_the_nearest_key() -> None:
    assert message([], {**RUN, "seeed": 3}) == "unknown key 'seeed': did you mean 'seed'?"


def test_unknown_section_gets_the_nearest_section() -> None:
    assert message([], {**RUN, "trainr": {"batch_size": 3}}) == "unknown section 'trainr': did you mean 'trainer'?"


def test_key_of_another_section_is_found() -> None:
    assert message(["--batch_size", "4"]) == "unknown key 'batch_size': did you mean 'trainer.batch_size'?"


def test_a_recipe_of_other_data_says_so() -> None:
    said = message(["--config", "pseudo_mtl/world_street_light", "--data", "folder", "--data.root", "rig"], None)
    assert said.startswith("--data folder: the recipe is for world_street, whose data.frames folder does not have.")
    said = message(["--model", "majority"], changed("model", width=3))
    assert said.startswith("--model majority: the recipe is for ci_net, whose model.width majority does not have.")
    moved = read_config(["--data", "folder", "--data.root", "rig"], {**RUN, "data": {"name": "nyuv2", "root": "rooms"}})
    assert (moved.dataset, moved.data["root"]) == ("folder", "rig")  # what both know is taken over


def test_abbreviations_are_refused() -> None:
    assert "did you mean 'batch_size'" in message(["--trainer.batch", "4"])


def test_key_that_resembles_nothing_lists_what_there_is() -> None:
    text = message([], changed("evaluation", xyzzy=1))
    assert all(name in text for name in ("xyzzy", "flip", "protocol"))


@pytest.mark.parametrize(
    ("given_settings", "parts"),
    [
        (changed("trainer", batch_size="many"), ("trainer.batch_size", "many", "int")),
        (changed("model", output_stride=9), ("model.output_stride", "9", "8, 32")),
        (changed("trainer", precision="half"), ("trainer.precision", "half", "bf16-mixed")),
        (changed("model", stage_epochs=[1, 2]), ("model.stage_epochs", "3 elements")),
        (changed("model", classes=1), ("model.classes", "at least 2")),
        ({**RUN, "data": {"name": "nyuv2"}}, ("data.root is missing", "--data.root")),
        ({**RUN, "model": "ci_net"}, ("model is 'ci_net'", "model: {name: ...}")),
        ({**RUN, "trainer": 3}, ("trainer is 3", "mapping")),
        ({**RUN, "model": {"name": "ci_nett"}}, ("unknown method 'ci_nett'", "did you mean 'ci_net'?")),
        ({**RUN, "data": {"name": "nyuv3", "root": "x"}}, ("unknown data set 'nyuv3'", "did you mean 'nyuv2'?")),
        ({"data": RUN["data"]}, ("no method was named", "--model")),
        ({"model": RUN["model"]}, ("no data set was named", "--data")),
    ],
)
def test_wrong_values_say_what_and_where(given_settings: dict[str, Any], parts: tuple[str, ...]) -> None:
    text = message([], given_settings)
    assert all(part in text for part in parts), text


def test_flags_go_before_files_and_later_files_before_earlier_ones(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("model: {name: ci_net, width: 8, classes: 5}\ndata: {name: nyuv2, root: a}\nseed: 1\n")
    second.write_text("model: {width: 16}\nseed: 2\n")
    run = read_config(["--config", str(first), "--config", str(second), "--seed", "3", "--data.root=b"])
    assert (run.model.classes, run.model.width, run.seed, run.data["root"]) == (5, 16, 3, "b")


def test_names_may_be_given_in_short() -> None:
    long = read_config(["--model.name", "ci_net", "--data.name=nyuv2", "--data.root", "x"])
    short = read_config(["--model", "ci_net", "--data=nyuv2", "--data.root", "x"])
    assert long == short
    assert (short.method, short.dataset) == ("ci_net", "nyuv2")


def test_yaml_numbers_with_a_bare_exponent_are_numbers(tmp_path: Path) -> None:
    # PyYAML reads 6e-4 as text, as YAML 1.1 has it
    path = tmp_path / "run.yaml"
    path.write_text("model: {name: ci_net, stage_rates: [6e-4, 2e-4, 1e-4]}\ndata: {name: nyuv2, root: x}\n")
    assert read_config(["--config", str(path)]).model.stage_rates == (0.0006, 0.0002, 0.0001)


@given(
    batch=st.integers(1, 64),
    seed=st.integers(0, 2**31 - 1),
    epochs=st.tuples(*[st.floats(0.5, 300, allow_nan=False)] * 3),
    size=st.tuples(st.integers(32, 480), st.integers(32, 640)),
    root=st.text(st.characters(categories=("L", "N")), min_size=1, max_size=12),
)
@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_a_printed_configuration_is_the_same_run(
    batch: int, seed: int, epochs: tuple[float, float, float], size: tuple[int, int], root: str
) -> None:
    run = RunConfig.from_dict(
        {
            "model": {"name": "ci_net", "stage_epochs": list(epochs)},
            "data": {"name": "nyuv2", "root": root},
            "view": {"size": list(size)},
            "trainer": {"batch_size": batch},
            "seed": seed,
        }
    )
    assert (run.trainer.batch_size, run.seed, run.view.size, run.model.stage_epochs) == (batch, seed, size, epochs)
    assert RunConfig.from_dict(yaml.safe_load(run.to_yaml())) == run
    assert RunConfig.from_dict(json.loads(json.dumps(run.to_dict()))) == run


# Streams.


def test_streams_say_what_differs_from_the_data_and_come_back() -> None:
    layer = {**RUN, "streams": {"photos": {"part": [0, 2], "root": "rooms"}, "labels": {"name": "camvid", "root": "streets"}, "rest": None}}
    run = read_config(["--streams.photos.part", "[1, 3]", "--streams.scans.root=halls"], layer)
    assert run.streams["photos"] == {"part": (1, 3)}, "the root is that of the run"
    assert (run.streams["labels"]["name"], run.streams["labels"]["root"]) == ("camvid", "streets")
    assert (run.streams["rest"], run.streams["scans"]) == ({}, {"root": "halls"})
    assert RunConfig.from_dict(yaml.safe_load(run.to_yaml())) == run
    assert RunConfig.from_dict(json.loads(json.dumps(run.to_dict()))) == run
    moved = read_config(["--data.root", "elsewhere"], run.to_dict())
    assert (moved.data["root"], moved.streams) == ("elsewhere", run.streams)
    assert "streams" not in RunConfig.from_dict(RUN).to_dict()


def test_the_name_of_a_stream_may_be_a_flag() -> None:
    run = read_config(["--streams.labels.name", "camvid"], {**RUN, "streams": {"labels": {"root": "streets"}}})
    assert run.streams["labels"] == {**run.streams["labels"], "name": "camvid", "root": "streets"}


@pytest.mark.parametrize(
    ("streams", "flags", "said"),
    [
        ({"photos": {"prat": [0, 2]}}, [], "unknown key 'prat' in streams.photos: did you mean 'part'?"),
        ({"photos": {"part": [2, 2]}}, [], "streams.photos.part is [2, 2]: "),
        ({"photos": {"part": [-1, 2]}}, [], "streams.photos.part is [-1, 2]: "),
        ({"photos": {"part": 3}}, [], "streams.photos.part is '3', expected tuple"),
        ({"photos": {"name": "camvit", "root": "x"}}, [], "unknown data set 'camvit': did you mean 'camvid'?"),
        ({"photos": {"name": "camvid"}}, [], "streams.photos.root is missing. "),
        (3, [], "streams is 3. Write it as a mapping"),
        ({"photos": 3}, [], "streams.photos is 3. Write it as a mapping"),
        ({}, ["--streams.photos", "3"], "--streams.photos names no field. Write --streams.photos.FIELD VALUE"),
        ({}, ["--streams.photos.root"], "--streams.photos.root has no value. "),
        ({}, ["--streams.photos.rot", "x"], "unknown key 'rot' in streams.photos: did you mean 'root'?"),
        ({}, ["--stream.photos.root", "x"], "unknown section 'stream.photos': did you mean 'streams'?"),
    ],
)
def test_wrong_streams_say_what_and_where(streams: Any, flags: list[str], said: str) -> None:
    text = message(flags, {**RUN, "streams": streams})
    assert text.startswith(said), text


def test_yaml_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("model: {name: [\n")
    assert "not readable as YAML" in message(["--config", str(path)])
    path.write_text("- a\n- b\n")
    assert "mapping" in message(["--config", str(path)])


def test_missing_file_suggests_a_recipe() -> None:
    assert "did you mean 'ci_net/nyuv2'?" in message(["--config", "ci_net/nyu2"])
    assert "--config has no value" in message(["--config"])


@pytest.mark.parametrize("name", ["ci_net/nyuv2", "ci_net/nyuv2.yaml", "recipes/ci_net/nyuv2.yaml"])
def test_recipes_are_found_by_name_from_anywhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert recipes.find(name).name == "nyuv2.yaml"


def test_data_sets_open_with_the_arguments_of_the_run(tmp_path: Path) -> None:
    from diorama.errors import DataError

    run = RunConfig.from_dict({**RUN, "data": {"name": "nyuv2", "root": str(tmp_path / "nowhere")}})
    with pytest.raises(DataError, match="nowhere"):
        run.open_dataset("train")


def test_fields_are_printed_with_their_meaning() -> None:
    text = config.fields_help("model", "ci_net")
    assert "--model.output_stride {8,32}" in text
    assert "default: resnet101" in text
    assert "--data.root" in config.fields_help("data", "nyuv2")


def test_configuration_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from diorama.config import RunConfig\n"
        "print(RunConfig.from_dict({'model': {'name': 'ci_net'}, 'data': {'name': 'nyuv2', 'root': 'x'}}).trainer.batch_size)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "8"), done.stderr
