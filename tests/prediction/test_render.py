"""Pictures: what their colours must say, checked by properties and by colours worked out by hand."""

from __future__ import annotations

import numpy as np

from diorama.data.labels import LabelSet
from diorama.prediction import render

LABELS = LabelSet("toy", ("floor", "wall", "chair"), ((200, 0, 0), (0, 200, 0), (0, 0, 200)))


def test_near_is_brighter_than_far_and_unknown_is_grey() -> None:
    depth = np.geomspace(0.5, 20, 64, dtype=np.float32)[None].repeat(2, 0)
    depth[1, 10], depth[1, 11] = 0, np.nan
    colours = render.depth_colours(depth, 0.5, 20).astype(int)
    luminance = colours[0] @ (0.299, 0.587, 0.114)
    assert (np.diff(luminance) < 0).all()
    for column in (10, 11):
        assert np.ptp(colours[1, column]) <= 12


def test_depth_range_ignores_what_is_unknown_and_is_never_empty() -> None:
    depth = np.concatenate([np.zeros(500), np.full(1000, 2.0), np.full(1000, 5.0), [np.inf]]).astype(np.float32)[None]
    assert render.depth_range(depth) == (2.0, 5.0)
    near, far = render.depth_range(np.full((4, 4), 3, np.float32))
    assert near < far
    assert render.depth_range(np.zeros((4, 4), np.float32)) == (0.0, 1.0)


def test_a_constant_depth_is_drawn() -> None:
    depth = np.full((4, 4), 3, np.float32)
    assert render.depth_colours(depth, *render.depth_range(depth)).shape == (4, 4, 3)
    assert render.colour_bar(3.0, 3.03, 200).shape == (48, 200, 3)


def test_the_overlay_mixes_grey_photo_and_class_colour() -> None:
    image = np.full((40, 60, 3), 100, np.uint8)
    semantic = np.zeros((40, 60), np.uint8)
    semantic[:, 30:] = 2
    semantic[:10, :10] = 255
    picture = render.overlay(image, semantic, LABELS, opacity=0.5, names=False)
    assert picture.shape == image.shape
    assert picture[30, 10].tolist() == [150, 50, 50]
    assert picture[30, 50].tolist() == [50, 50, 150]
    assert picture[3, 3].tolist() == [60, 60, 60]
    assert picture[30, 30].min() > 150  # the line between two classes


def test_names_are_written_inside_large_regions_only() -> None:
    image = np.full((240, 320, 3), 100, np.uint8)
    semantic = np.zeros((240, 320), np.uint8)
    semantic[:3, :3] = 1
    plain, named = (render.overlay(image, semantic, LABELS, names=names) for names in (False, True))
    changed = np.argwhere((plain != named).any(-1))
    assert len(changed) > 20
    assert np.ptp(changed[:, 0]) < 40
    assert changed.min() > 20


def test_the_legend_shows_the_colours_of_the_classes_there_are() -> None:
    semantic = np.zeros((10, 10), np.uint8)
    semantic[:3] = 2
    colours = {tuple(colour) for colour in render.legend(semantic, LABELS, 400).reshape(-1, 3).tolist()}
    assert (200, 0, 0) in colours
    assert (0, 0, 200) in colours
    assert (0, 200, 0) not in colours


def test_shares_are_parts_of_all_pixels_largest_first() -> None:
    semantic = np.array([[0, 2, 2, 255]], np.uint8)
    assert render.class_shares(semantic, 3) == [(2, 0.5), (0, 0.25)]


def test_a_picture_is_fitted_into_its_box() -> None:
    assert render.fit(np.zeros((100, 50, 3), np.uint8), 60, 60).shape == (60, 30, 3)
    assert render.fit(np.zeros((10, 20, 3), np.uint8), 60, 60).shape == (30, 60, 3)


def test_a_grid_holds_every_tile_unchanged() -> None:
    tiles = [np.full((20 + i, 30, 3), 50 * i + 40, np.uint8) for i in range(3)]
    picture = render.grid(tiles, 2, gap=5)
    assert picture.shape == (21 + 22 + 15, 30 + 30 + 15, 3)
    for i, tile in enumerate(tiles):
        assert (picture == 50 * i + 40).all(-1).sum() == tile.shape[0] * tile.shape[1]
