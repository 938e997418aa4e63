"""The caster against closed forms, triangles and point-in-solid tests that share no code with it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diorama.data.world.camera import Beam, Camera, beam_grid, camera_grid
from diorama.data.world.caster import cast
from diorama.data.world.coats import KINDS
from diorama.data.world.light import Closeness, Shadow, aim
from diorama.data.world.materials import Material, Texels
from diorama.data.world.primitives import CUT_RING, Builder
from diorama.data.world.solids import turn
from diorama.data.world.texture import TILE, chance, coverage, noise, tile

F64 = NDArray[np.float64]
LEVEL = np.diag([1.0, -1.0, 1.0])
CAMERA = Camera(48, 64, 60.0, 55.0, 31.0, 24.5, np.array([0.2, 1.5, -0.3]), LEVEL)


def rays(camera: Camera) -> F64:
    """`(H * W, 3)` world directions with a forward component of 1, by the textbook formula."""
    v, u = np.mgrid[: camera.height, : camera.width].reshape(2, -1)
    seen = np.stack([(u - camera.centre_x) / camera.focal_x, (v - camera.centre_y) / camera.focal_y, np.ones(u.size)], 1)
    return seen @ camera.rotation


def depth_of(builder: Builder, camera: Camera = CAMERA) -> tuple[F64, NDArray[np.uint16]]:
    hits = cast(builder.build(), camera_grid(camera))
    with np.errstate(divide="ignore"):
        return np.where(hits.nearness > 0, 1 / hits.nearness.astype(np.float64), np.inf).ravel(), hits.surface.ravel()


def start() -> tuple[Builder, int]:
    builder = Builder()
    return builder, builder.paint(Material("plain", (0.5, 0.5, 0.5)))


def test_sphere_depth_is_the_smaller_root_of_the_ray_equation() -> None:
    builder, grey = start()
    centre, radius = np.array([0.4, 1.2, 6.0]), 1.1
    builder.ellipsoid((0.4, 1.2, 6.0), (radius, radius, radius), grey, 3)
    depth, _ = depth_of(builder)
    way = rays(CAMERA)
    a = (way**2).sum(1)
    b = way @ (CAMERA.position - centre)
    c = ((CAMERA.position - centre) ** 2).sum() - radius**2
    root = b * b - a * c
    expected = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
    clear = np.abs(root) > 1e-4
    np.testing.assert_allclose(depth[clear], expected[clear], rtol=2e-6)


def test_ground_depth_is_height_times_focal_over_row() -> None:
    builder, grey = start()
    builder.ground(0.25, grey, 1)
    depth, surface = depth_of(builder)
    rows = np.repeat(np.arange(CAMERA.height), CAMERA.width)
    below = rows > CAMERA.centre_y
    expected = (CAMERA.position[1] - 0.25) * CAMERA.focal_y / (rows[below] - CAMERA.centre_y)
    np.testing.assert_allclose(depth[below], expected, rtol=1e-6)
    assert np.isinf(depth[~below]).all()
    assert (surface[~below] == 1).all(), "one surface, so number 1 is 'nothing'"


def _triangles(origin: F64, way: F64, corners: F64) -> F64:
    """Nearest hit with the 12 triangles of a hexahedron whose corners are (x, y, z) in binary order (Moeller, Trumbore 1997)."""
    quads = [(0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5)]
    best = np.full(len(way), np.inf)
    for a, b, c, d in quads:
        for i, j, k in ((a, b, c), (a, c, d)):
            one, two = corners[j] - corners[i], corners[k] - corners[i]
            p = np.cross(way, two)
            det = p @ one
            with np.errstate(divide="ignore", invalid="ignore"):
                s = origin - corners[i]
                u = (p @ s) / det
                q = np.cross(s, one)
                v = (way @ q) / det
                t = (two @ q) / det
            ok = (np.abs(det) > 1e-14) & (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
            best = np.where(ok & (t < best), t, best)
    return best


@settings(max_examples=25, deadline=None)
@given(
    yaw=st.floats(-3, 3),
    pitch=st.floats(-1.2, 1.2),
    size=st.tuples(*[st.floats(0.3, 3)] * 3),
    taper=st.tuples(*[st.floats(0.2, 1.0)] * 2),
    shift=st.tuples(*[st.floats(-0.3, 0.3)] * 2),
    place=st.tuples(st.floats(-1.5, 1.5), st.floats(0, 3), st.floats(4, 9)),
)
def test_turned_tapered_box_agrees_with_its_triangles(
    yaw: float, pitch: float, size: tuple[float, ...], taper: tuple[float, ...], shift: tuple[float, ...], place: tuple[float, ...]
) -> None:
    builder, grey = start()
    turned = turn(yaw, pitch)
    builder.box(place, size, grey, 2, rotation=turned, taper=taper, shift=shift)  # type: ignore[arg-type]
    depth, _ = depth_of(builder)
    corners = []
    for x in (-1, 1):
        for y in (-1, 1):
            for z in (-1, 1):
                local = np.array([x, y, z]) * np.array(size) / 2
                if y > 0:
                    local[0], local[2] = local[0] * taper[0] + shift[0], local[2] * taper[1] + shift[1]
                corners.append(turned @ local + np.array(place))
    expected = _triangles(CAMERA.position, rays(CAMERA), np.array(corners))
    both = np.isfinite(depth) & np.isfinite(expected)
    # A ray through an edge may go either way in float32: no more than a handful of silhouette pixels.
    assert (np.isfinite(depth) != np.isfinite(expected)).sum() <= 6
    if both.any():
        assert np.quantile(np.abs(depth[both] / expected[both] - 1), 0.99) < 1e-5


@settings(max_examples=20, deadline=None)
@given(
    lean=st.tuples(st.floats(-0.8, 0.8), st.floats(-0.8, 0.8)),
    radius=st.floats(0.2, 0.8),
    taper=st.floats(0.5, 1.0),
    length=st.floats(0.8, 2.5),
)
def test_tilted_cone_is_entered_at_the_first_point_inside(lean: tuple[float, float], radius: float, taper: float, length: float) -> None:
    builder, grey = start()
    base, axis = np.array([-0.2, 0.6, 5.0]), np.array([lean[0], 1.0, lean[1]])
    axis = axis / np.linalg.norm(axis)
    top = base + length * axis
    builder.cylinder(tuple(base), tuple(top), radius, grey, 2, taper=taper)  # type: ignore[arg-type]
    depth, _ = depth_of(builder)

    def inside(point: F64, slack: float) -> NDArray[np.bool_]:
        along = (point - base) @ axis
        across = np.linalg.norm(point - base - along[:, None] * axis, axis=1)
        return (along > -slack) & (along < length + slack) & (across < radius * (1 + (taper - 1) * along / length) + slack)

    way = rays(CAMERA)
    met = np.isfinite(depth)
    point = CAMERA.position + way[met] * depth[met, None]
    assert inside(point, 1e-4).all()
    assert not inside(point, -1e-4).any()
    before = [
        inside(CAMERA.position + way * np.where(met, depth * part, 12 * part)[:, None], -1e-3).any()
        for part in np.linspace(0.02, 0.995, 60)
    ]
    assert not any(before), "nothing of the solid lies before the hit, nor on a ray that missed"


def test_parallel_rays_measure_the_distance_along_the_beam() -> None:
    builder, grey = start()
    builder.ellipsoid((0.0, 2.0, 0.0), (1.0, 1.0, 1.0), grey, 1)
    down = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
    hits = cast(builder.build(), beam_grid(Beam(41, 41, 0.1, np.array([-2.0, 10.0, -2.0]), down)))
    x, z = np.meshgrid(np.arange(41) * 0.1 - 2, np.arange(41) * 0.1 - 2)
    square = 1 - x * x - z * z
    height = 2 + np.sqrt(np.maximum(square, 0))
    np.testing.assert_allclose(hits.nearness[square > 0.01] + 10, height[square > 0.01], atol=1e-4)
    assert np.isneginf(hits.nearness[square < -0.01]).all()


def test_room_is_seen_from_within_and_hides_nothing_inside() -> None:
    builder, grey = start()
    names = ("left", "right", "bottom", "top", "front", "back")
    builder.room((0, 1.5, 3), (6, 3, 8), dict.fromkeys(names, grey), {name: k for k, name in enumerate(names)})
    scene = builder.build()
    depth, surface = depth_of(builder)
    way = rays(CAMERA)
    with np.errstate(divide="ignore"):
        walls = [
            np.where(way[:, k] > 0, (high - CAMERA.position[k]) / way[:, k], (low - CAMERA.position[k]) / way[:, k])
            for k, (low, high) in enumerate(((-3, 3), (0, 3), (-1, 7)))
        ]
    np.testing.assert_allclose(depth, np.min(np.abs(walls), axis=0), rtol=1e-5)
    expected = np.argmin(np.abs(walls), axis=0) * 2 + (np.take_along_axis(way, np.argmin(np.abs(walls), axis=0)[:, None], 1)[:, 0] > 0)
    assert (scene.label[surface] == expected).mean() > 0.995


def test_nearer_primitive_wins_whatever_the_order() -> None:
    shown = []
    for order in ((0, 1), (1, 0)):
        builder, grey = start()
        for k in order:
            builder.box((0, 1.5, 4.0 + 2 * k), (1 + k, 1 + k, 1), grey, k)
        shown.append(np.append(builder.build().label, np.uint8(9))[depth_of(builder)[1]])
    np.testing.assert_array_equal(shown[0], shown[1])
    assert (shown[0] == 0).sum() > 20


def test_wheel_with_a_hole_shows_what_lies_behind() -> None:
    builder, grey = start()
    builder.cylinder((0, 1.5, 5.0), (0, 1.5, 5.04), 1.0, grey, 1, cut=CUT_RING, cut_value=0.6)
    depth, _ = depth_of(builder)
    way = rays(CAMERA)
    face = CAMERA.position + way * ((5.0 - CAMERA.position[2]) / way[:, 2])[:, None]
    radius = np.hypot(face[:, 0], face[:, 1] - 1.5)
    assert np.isinf(depth[radius < 0.57]).all()
    assert np.isfinite(depth[(radius > 0.63) & (radius < 0.97)]).all()


@pytest.mark.parametrize("taper", [1.0, 0.6, 1.5])
def test_cylinder_seen_along_its_axis_shows_its_cap(taper: float) -> None:
    builder, grey = start()
    builder.cylinder((0.2, 1.5, 4.0), (0.2, 1.5, 6.0), 0.8, grey, 1, taper=taper)
    depth, _ = depth_of(builder)
    way = rays(CAMERA)
    face = CAMERA.position + way * (4.3 / way[:, 2])[:, None]
    radius = np.hypot(face[:, 0] - 0.2, face[:, 1] - 1.5)
    np.testing.assert_allclose(depth[radius < 0.78], 4.3, rtol=1e-5)
    # From outside its cap, only a cone that widens shows its side: to the cone of sight of the far rim.
    reach = max(0.8, 0.8 * taper * 4.3 / 6.3)
    assert np.isinf(depth[radius > reach + 0.02]).all()
    assert np.isfinite(depth[radius < reach - 0.02]).all()


def test_box_that_reaches_behind_the_camera_is_not_lost() -> None:
    builder, grey = start()
    builder.box((1.5, 1.5, 2.0), (1.0, 1.0, 8.0), grey, 1)
    depth, _ = depth_of(builder)
    way = rays(CAMERA)
    side = (1.0 - CAMERA.position[0]) / np.where(way[:, 0] == 0, 1e-9, way[:, 0])
    at = CAMERA.position + way * side[:, None]
    hit = (way[:, 0] > 0) & (np.abs(at[:, 1] - 1.5) < 0.49) & (at[:, 2] < 5.9)
    assert hit.sum() > 100
    np.testing.assert_allclose(depth[hit], side[hit], rtol=1e-5)


def test_shadow_of_a_box_lies_where_the_sun_puts_it() -> None:
    builder, grey = start()
    builder.ground(0.0, grey, 0)
    builder.box((0, 2.0, 0), (1, 1, 1), grey, 1)
    axes = aim((1.0, -1.0, 0.0))
    shadow = Shadow(builder.build(), Beam(256, 256, 8 / 256, np.array([2.0, 0, 0]) - 4 * (axes[0] + axes[1]), axes))
    # Light falls at 45 degrees towards +x: heights 1.5 to 2.5 over x -0.5 to 0.5 throw x from 1.0 to 3.0 on the ground.
    x = np.array([0.8, 1.2, 2.0, 2.8, 3.2, 2.0, 2.0], np.float32)
    z = np.array([0, 0, 0, 0, 0, 0.4, 0.7], np.float32)
    lit = shadow.reach(np.stack([x, 0 * x, z]), 0.05)
    np.testing.assert_allclose(lit, [1, 0, 0, 0, 1, 0, 1], atol=0.02)


def test_ground_is_darker_at_the_foot_of_a_box() -> None:
    builder, grey = start()
    builder.box((0, 0.5, 0), (1, 1, 1), grey, 1)
    close = Closeness(builder.build(), (-5.0, -5.0), (10.0, 10.0), 0.1, 0.4, 2.0)
    share = close.open(np.array([[0.6, 1.0, 4.0], [0, 0, 0], [0, 0, 0]], np.float32))
    assert share[0] < share[1] < share[2] == 1


def test_noise_has_unit_spread_and_no_seam() -> None:
    field = tile(0)
    assert abs(field.mean()) < 1e-3 and abs(field.std() - 1) < 1e-3
    inner = np.abs(np.diff(field, axis=1)).mean()
    assert np.abs(field[:, 0] - field[:, -1]).mean() < 2 * inner
    u = np.linspace(0, 5, 777, dtype=np.float32)
    np.testing.assert_allclose(noise(u, u, 5.0), noise(u + 10, u - 5, 5.0), atol=0.05)
    np.testing.assert_allclose(noise(np.arange(8, dtype=np.float32), np.zeros(8, np.float32), float(TILE)), field[0, :8], atol=1e-4)


def test_chance_is_uniform_and_coverage_is_a_ramp() -> None:
    i, j = np.meshgrid(np.arange(200, dtype=np.float32), np.arange(200, dtype=np.float32))
    draws = chance(i.ravel(), j.ravel(), 3.0)
    assert 0 <= draws.min() and draws.max() < 1 and abs(draws.mean() - 0.5) < 0.01
    np.testing.assert_allclose(coverage(np.array([-2.0, 0.0, 0.5, 2.0], np.float32), np.float32(2.0)), [0, 0.5, 0.75, 1])


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_material_gives_finite_light(kind: str) -> None:
    random = np.random.default_rng(0)
    count = 500
    ones = np.ones(count, np.float32)
    values = np.array([0.6, 0.7, 1.0, 0.5, 0.3, 1.0], np.float32)[:, None] * ones
    u, v = random.uniform(0, 3, (2, count)).astype(np.float32)
    for footprint in (0.002, 0.5):
        texels = Texels(
            u,
            v,
            footprint * ones,
            3 * ones,
            3 * ones,
            np.full((3, count), 0.5, np.float32),
            np.full((3, count), 0.1, np.float32),
            values,
            7 * ones,
        )
        colour = KINDS[kind](texels)
        assert colour.shape == (3, count) and np.isfinite(colour).all()
        assert -0.2 < colour.min() and colour.max() < 4
