"""Batches: the same for any number of workers, any stop, any number of processes; truth at its own size for evaluation."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from diorama.data.base import SceneDataset
from diorama.data.loader import EvalLoader, Source, StepLoader, apportioned, collate, move, require, seeded, to_sample
from diorama.data.transforms import train_transform
from diorama.data.view import View
from diorama.errors import ConfigError, DataError, ShapeError
from diorama.tensors import Confidence, Depth, Disparity

KEYS = ("image", "semantic", "depth", "intrinsics", "baseline", "domain")
VIEW = View((12, 16), zoom=(1.0, 1.5), flip=0.5, rotate=4.0, colour=(0.2, 0.2, 0.2, 0.05))


class Toy(SceneDataset):
    name = "toy"
    title = citation = terms = "toy"
    provides = frozenset(KEYS)
    labels = None
    root = None

    def __init__(self, count, split="train", spoiled=-1):
        self.split, self.spoiled = split, spoiled
        self.ids = [f"toy{i}" for i in range(count)]

    def frame(self, index):
        draw = np.random.default_rng(index)
        depth = draw.uniform(1, 9, (12 + index % 3, 16)).astype(np.float32)
        if index == self.spoiled:
            depth[0, 0] = np.nan
        return {
            "image": draw.integers(0, 256, (*depth.shape, 3), dtype=np.uint8),
            "semantic": draw.integers(0, 5, depth.shape, dtype=np.uint8),
            "depth": depth,
            "intrinsics": np.array([[10.0, 0, 7.5], [0, 10, 5.5], [0, 0, 1]]),
            "baseline": 0.2,
            "domain": index % 2,
            "meta": {"id": self.ids[index], "split": self.split},
        }


def noisy(sample):
    """Draws from all three global generators, as a third party's transform might."""
    sample = train_transform(VIEW)(sample)
    sample["baseline"] = torch.tensor([random.random(), np.random.rand(), torch.rand(()).item()])  # noqa: NPY002
    return sample


def loader(workers=0, **more):
    sources = {"main": Source(Toy(37), noisy, 4, KEYS), "few": Source(Toy(3), train_transform(VIEW), 2, ("image",))}
    return StepLoader(sources, seed=5, workers=workers, **more)


def take(source, count):
    iterator = iter(source)
    return [next(iterator) for _ in range(count)]


def same(first, second):
    return all(
        one.keys() == two.keys() and all(torch.equal(one[k], two[k]) if isinstance(one[k], torch.Tensor) else one[k] == two[k] for k in one)
        for a, b in zip(first, second, strict=True)
        for one, two in ((a[name], b[name]) for name in a)
    )


def test_any_number_of_workers_and_any_stop_give_the_same_batches():
    whole = take(loader(), 12)
    with_workers = loader(workers=2)
    assert same(take(with_workers, 7), whole[:7])
    assert with_workers.state_dict() == {"served": 7}
    # the workers have prefetched beyond 7; going on, stopped or not, must not skip what was never served
    assert same(take(with_workers, 2), whole[7:9])
    with_workers.load_state_dict({"served": 3})
    assert same(take(with_workers, 2), whole[3:5])
    resumed = loader()
    resumed.load_state_dict({"served": 7})
    assert same(take(resumed, 5), whole[7:])


def test_seed_changes_batches_and_steps_differ():
    sources = {"main": Source(Toy(37), noisy, 4, KEYS)}
    one, two = take(StepLoader(sources, seed=1), 2), take(StepLoader(sources, seed=2), 2)
    assert not same(one, two)
    assert not torch.equal(one[0]["main"]["baseline"], one[1]["main"]["baseline"])


def test_sample_seed_travels_in_meta_and_names_one_sample():
    batches = take(loader(), 20)
    seeds = [meta["sample_seed"] for batch in batches for name in batch for meta in batch[name]["meta"]]
    assert len(set(seeds)) == len(seeds) == 20 * 6
    assert batches[0]["main"]["meta"][0]["id"].startswith("toy")


def test_each_frame_once_per_epoch_in_a_new_order():
    numbers = [meta["index"] for batch in take(loader(), 37) for meta in batch["main"]["meta"]]
    epochs = [numbers[i : i + 37] for i in range(0, 4 * 37, 37)]
    assert all(sorted(epoch) == list(range(37)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert loader().steps_per_epoch() == 10
    assert loader(world_size=2).steps_per_epoch("few") == 1


def test_processes_share_the_global_batch():
    """Two processes with batch 4 see, together, what one with batch 8 sees: same frames, same augmentation."""
    one = StepLoader({"main": Source(Toy(37), noisy, 8, KEYS)}, seed=5)
    ranks = [StepLoader({"main": Source(Toy(37), noisy, 4, KEYS)}, seed=5, rank=r, world_size=2) for r in range(2)]
    for whole, *parts in zip(take(one, 6), *(take(r, 6) for r in ranks), strict=True):
        assert whole["main"]["meta"] == parts[0]["main"]["meta"] + parts[1]["main"]["meta"]
        assert torch.equal(whole["main"]["image"], torch.cat([p["main"]["image"] for p in parts]))


def test_processes_do_not_overlap_within_an_epoch():
    ranks = [StepLoader({"main": Source(Toy(32), noisy, 4, KEYS)}, rank=r, world_size=2) for r in range(2)]
    seen = [[index for step in range(4) for index, _ in r.plan(step)["main"]] for r in ranks]
    assert sorted(seen[0] + seen[1]) == list(range(32))


def test_lengths_may_differ_a_hundredfold():
    sources = {"many": Source(Toy(300), noisy, 3, ("image",)), "few": Source(Toy(3), noisy, 3, ("image",))}
    plans = [StepLoader(sources).plan(step) for step in range(100)]
    assert sorted(index for plan in plans for index, _ in plan["many"]) == list(range(300))
    assert all(sorted(index for index, _ in plan["few"]) == [0, 1, 2] for plan in plans)


def test_loading_leaves_the_global_generators_alone():
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    take(loader(), 1)
    after = (torch.rand(()).item(), random.random(), np.random.rand())  # noqa: NPY002
    torch.manual_seed(1)
    assert after == (torch.rand(()).item(), random.Random(1).random(), np.random.RandomState(1).rand())


def test_generators_come_back_after_an_error():
    def fail():
        with seeded(3):
            torch.rand(5)
            raise ValueError("inside")

    torch.manual_seed(1)
    with pytest.raises(ValueError, match="inside"):
        fail()
    after = torch.rand(())
    torch.manual_seed(1)
    assert after == torch.rand(())


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_worker_stays_one_line(workers):
    broken = StepLoader({"main": Source(Toy(4, spoiled=2), noisy, 4, KEYS)}, workers=workers)
    with pytest.raises(DataError) as error:
        next(iter(broken))
    assert "\n" not in str(error.value)
    assert "toy2: 'depth' has NaN" in str(error.value)
    with pytest.raises(DataError, match="toy2"):
        list(EvalLoader(Toy(4, spoiled=2), VIEW, keys=("depth",), workers=workers))


def test_to_sample_types_and_values():
    frame = Toy(3).frame(1)
    sample = to_sample(frame, KEYS)
    assert sample["image"].shape == (3, 13, 16)
    assert sample["image"].dtype == torch.float32
    assert np.allclose(sample["image"].numpy().transpose(1, 2, 0) * 255, frame["image"], atol=1e-4)
    assert sample["semantic"].dtype == torch.int64
    assert sample["depth"].shape == (1, 13, 16)
    assert sample["intrinsics"].canvas_size == (13, 16)
    assert (sample["domain"].dtype, sample["baseline"].dtype) == (torch.int64, torch.float32)
    sample["depth"][:] = 0
    assert frame["depth"].min() > 0
    assert set(to_sample(frame)) == set(frame)
    assert set(to_sample(frame, ("image",))) == {"image", "meta"}


def test_missing_key_and_impossible_values_are_named():
    frame = Toy(3).frame(0)
    with pytest.raises(DataError, match="toy0: no 'right'"):
        to_sample(frame, ("right",))
    for value in (np.nan, np.inf, -1.0):
        frame["depth"][2, 2] = value
        with pytest.raises(DataError, match="toy0: 'depth' has NaN, infinite or negative"):
            to_sample(frame)
    with pytest.raises(DataError, match="intrinsics but no image"):
        to_sample({"intrinsics": np.eye(3)})


def test_labels_of_both_views_get_their_types():
    maps = {
        key: np.full((4, 6), 0.5, np.float32) for key in ("pseudo_depth", "pseudo_depth_right", "confidence", "confidence_right", "matched")
    }
    frame = {"semantic_right": np.full((4, 6), 7, np.uint8), **maps, "intrinsics": np.eye(3), "meta": {"id": "pair"}}
    sample = to_sample(frame)
    kinds = {
        "pseudo_depth": Depth,
        "pseudo_depth_right": Depth,
        "confidence": Confidence,
        "confidence_right": Confidence,
        "matched": Disparity,
    }
    for key, kind in kinds.items():
        assert type(sample[key]) is kind
        assert (sample[key].shape, sample[key].dtype) == ((1, 4, 6), torch.float32)
    assert (sample["semantic_right"].shape, sample["semantic_right"].dtype) == ((4, 6), torch.int64)
    assert sample["intrinsics"].canvas_size == (4, 6)
    frame["confidence_right"][0, 0] = 255
    with pytest.raises(DataError, match=r"pair: 'confidence_right' reaches 255, trust lies in 0\.\.1\. Divide"):
        to_sample(frame)


def test_pseudo_labels_that_are_lacking_are_told_how_to_make():
    with pytest.raises(ConfigError, match=r"'pseudo_depth'.*`diorama pseudo-label` and set pseudo\.root"):
        require("pseudo_mtl", {"pseudo_depth"}, Toy(3))


def test_collate_keeps_every_key_or_says_which_is_missing():
    frames = [Toy(6).frame(i) for i in (0, 3)]
    full = [to_sample(frame, KEYS) for frame in frames]
    batch = collate(full)
    shapes = {"image": (2, 3, 12, 16), "semantic": (2, 12, 16), "depth": (2, 1, 12, 16), "intrinsics": (2, 3, 3)}
    assert {k: tuple(v.shape) for k, v in batch.items() if k != "meta"} == {**shapes, "baseline": (2,), "domain": (2,)}
    assert type(batch["intrinsics"]) is torch.Tensor
    assert [m["id"] for m in batch["meta"]] == ["toy0", "toy3"]
    mixed = [to_sample(frames[0], ("image",)), to_sample(frames[1], ("image", "depth"))]
    plain = [{k: v.as_subclass(torch.Tensor) for k, v in s.items() if k != "meta"} for s in mixed]
    # the trap: torch's own collate drops what the first sample lacks without a word
    assert set(default_collate(plain)) == {"image"}
    with pytest.raises(DataError, match=r"toy3 and toy0 .*\(depth\)"):
        collate(mixed)
    with pytest.raises(ShapeError, match="'image' of toy0"):
        collate([to_sample(Toy(3).frame(i), ("image",)) for i in range(2)])


def test_move_keeps_values_and_sets_the_memory_format():
    batch = take(loader(), 1)[0]
    moved = move(batch, "cpu")
    assert same([batch], [moved])
    assert moved["main"]["image"].is_contiguous(memory_format=torch.channels_last)
    assert move(batch, "cpu", channels_last=False)["main"]["image"].is_contiguous()


def test_evaluation_sees_every_frame_once_with_truth_at_its_size():
    seen = []
    for rank in range(3):
        shard = EvalLoader(Toy(11), VIEW, rank, 3, batch_size=2)
        batches = list(shard)
        assert len(batches) == len(shard)
        assert [n for b in batches for n in b.numbers] == list(range(rank, 11, 3))
        for batch in batches:
            assert batch.inputs["image"].shape[1:] == (3, 12, 16)
            assert set(batch.inputs) == {"image", "meta"}
            assert [t["depth"].shape[0] for t in batch.truth] == [12 + n % 3 for n in batch.numbers]
            seen += batch.numbers
    assert sorted(seen) == list(range(11))


def test_require_names_the_key_and_where_to_find_it():
    assert require("ci_net", {"image", "depth"}, Toy(1)) is None
    with pytest.raises(ConfigError, match=r"pseudo_mtl needs 'right'; toy \(train\) has no stereo pairs\. Try .*cityscapes"):
        require("pseudo_mtl", {"image", "right"}, Toy(1))
    with pytest.raises(ConfigError) as error:
        require("pseudo_mtl", {"image", "right"}, Toy(1))
    assert "nyuv2" not in str(error.value)
    with pytest.raises(ConfigError, match="Try another data set: `diorama data list`"):
        require("a_method", {"smell"}, Toy(1))


def test_loader_refuses_nothing_to_load():
    with pytest.raises(ConfigError, match="no source"):
        StepLoader({})
    with pytest.raises(ConfigError, match="has no frame"):
        StepLoader({"main": Source(Toy(0), noisy, 4, KEYS)})
    with pytest.raises(ConfigError, match="batch size"):
        StepLoader({"main": Source(Toy(3), noisy, 0, KEYS)})


@pytest.mark.parametrize("weights", [[1], [1, 1], [3, 1], [1, 2, 4], [0.2, 0.7, 0.1], [5, 1e-6]])
@pytest.mark.parametrize("total", [5, 7, 10, 101])
def test_shares_are_whole_numbers_at_most_one_off_and_nobody_goes_without(weights, total):
    counts = apportioned(total, weights)
    assert sum(counts) == total
    assert min(counts) >= 1
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count - total * weight / sum(weights)) <= 1


def mixed(shares, **more):
    """Frames of several sets one after the other, drawn in `shares`; the transform keeps nothing but the number of the frame."""
    frames = sum(count for count, _ in shares)
    return StepLoader({"main": Source(Toy(frames), lambda sample: sample, 5, ("image",), tuple(shares))}, seed=3, **more)


def drawn(loader, steps, start=0):
    return [index for step in range(start, start + steps) for index, _ in loader.plan(step)["main"]]


def test_sets_that_are_mixed_come_in_their_shares_however_long_they_are():
    """100 and 2 frames, three samples of the short set for one of the long one; no frame before all others of its set had their turn."""
    found = drawn(mixed([(100, 1.0), (2, 3.0)]), 102)
    assert len(found) == 5 * 102
    for epoch in range(5):
        part = found[epoch * 102 : (epoch + 1) * 102]
        assert sum(index >= 100 for index in part) in (76, 77)
    counts = np.bincount(found, minlength=102)
    assert set(counts[:100]) <= {1, 2}
    assert abs(counts[100] - counts[101]) <= 2
    assert drawn(mixed([(100, 1.0), (2, 3.0)]), 10, start=30) == found[150:200]
    assert found[:102] != found[102:204]


def test_processes_share_a_mixture_as_they_share_a_set():
    whole = drawn(mixed([(7, 1.0), (4, 1.0)]), 6)
    parts = [mixed([(7, 1.0), (4, 1.0)], rank=rank, world_size=2) for rank in range(2)]
    assert [index for step in range(3) for part in parts for index in drawn(part, 1, start=step)] == whole
