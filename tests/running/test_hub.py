"""Models sent to a hub and fetched again; the hub runs on this machine."""

from __future__ import annotations

import builtins
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fakehub import Hub, hub

import diorama
from diorama.errors import ConfigError, ModelError
from diorama.prediction.hub import fetch, from_pretrained, is_hub_id
from diorama.prediction.predictor import find_model
from diorama.running.hub import main, push_to_hub

pytest.importorskip("huggingface_hub")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    for name in ("HF_TOKEN", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with hub() as running:
        yield running


SHIPPED = "image_reconstruction-nyuv2"
shipped = pytest.mark.skipif(SHIPPED not in diorama.list_models(), reason="the shipped model is not there")


@shipped
def test_a_model_goes_to_the_hub_and_comes_back_the_same(server: Hub, tmp_path: Path) -> None:
    address = push_to_hub(SHIPPED, "some-org/dense", token="hf_none", endpoint=server.endpoint)
    assert address.startswith(f"{server.endpoint}/some-org/dense/commit/")
    files = server.models["some-org/dense"]
    assert set(files) == {"README.md", "config.json", "model.onnx", "model.safetensors"}
    assert server.private == {"some-org/dense": True}
    head, _, text = files["README.md"].decode().removeprefix("---\n").partition("---\n")
    facts = yaml.safe_load(head)
    assert (facts["library_name"], facts["pipeline_tag"]) == ("diorama", "depth-estimation")
    assert facts["tags"] == ["diorama", "image_reconstruction", "depth-estimation", "input-sparse_depth"]
    assert 'diorama.load("some-org/dense")' in text
    assert "terms" in text
    options: dict[str, Any] = {"cache_dir": tmp_path / "cache", "token": False, "endpoint": server.endpoint}
    fetched, own = from_pretrained("some-org/dense@main", **options), diorama.load(SHIPPED)
    assert (fetched.name, fetched.backend, fetched.config) == ("dense", "onnxruntime", own.config)
    points = {"sparse_depth": np.random.default_rng(0).random((1, 1, 32, 48), np.float32)}
    np.testing.assert_array_equal(fetched.batch(points).depth, own.batch(points).depth)
    # what was fetched once needs no hub
    folder = fetch("some-org/dense", cache_dir=tmp_path / "cache", local_files_only=True, endpoint="http://127.0.0.1:1")
    assert from_pretrained(folder).config == fetched.config


@shipped
def test_only_the_files_of_a_model_travel(server: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(find_model(SHIPPED), folder, ignore=shutil.ignore_patterns("*.onnx"))
    (folder / "secret.env").write_text("key")
    push_to_hub(folder, "org/model", private=False, token="hf_none", endpoint=server.endpoint)
    assert set(server.models["org/model"]) == {"README.md", "config.json", "model.safetensors"}
    assert server.private == {"org/model": False}
    server.models["org/model"] = {"weights.pkl": b"x", "README.md": b""}
    with pytest.raises(ModelError, match="diorama did not write it"):
        fetch("org/model", cache_dir=tmp_path / "cache", token=False, endpoint=server.endpoint)
    assert not list((tmp_path / "cache").rglob("*.pkl"))


def test_a_run_becomes_a_model_folder_on_its_way(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def ship(run: Path, folder: Path) -> None:
        asked.append(run)
        shutil.copytree(find_model(SHIPPED), folder)

    monkeypatch.setattr("diorama.running.ship.ship", ship)
    for name in ("config.yaml", "last.ckpt"):
        (tmp_path / name).touch()
    push_to_hub(tmp_path, "org/run", token="hf_none", endpoint=server.endpoint)
    assert asked == [tmp_path]
    assert server.models["org/run"]["README.md"].startswith(b"---\nlibrary_name: diorama")


def test_the_hub_says_no_in_one_line(server: Hub, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the hub gives no such model") as error:
        fetch("org/nothing", cache_dir=tmp_path, token=False, endpoint=server.endpoint)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="neither a run folder nor a model folder"):
        push_to_hub(tmp_path, "org/name", endpoint=server.endpoint)
    for wrong in ("name", "org/name/more", "org/na me", "../x", "org/name@main"):
        with pytest.raises(ConfigError, match="is no name on the hub"):
            push_to_hub(tmp_path, wrong)
    with pytest.raises(ConfigError, match="usage"):
        main(["one"])


def test_without_huggingface_hub_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "huggingface_hub":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModelError, match=r"not installed\. Install it with: pip install"):
        diorama.load("some-org/some-model")


def test_a_path_that_is_mistyped_is_not_asked_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert is_hub_id("org/name")
    assert is_hub_id("org/name@v1.0")
    assert not any(
        is_hub_id(text) for text in ("runs/name", "org/model.onnx", "name", "/org/name", "a/b/c", "./name", "~/name", "org/x.ckpt")
    )
    with pytest.raises(ModelError, match="no such file or folder"):
        diorama.load("runs/ci_net-nyuv2-1")
