"""One view of a scene: exact depth and labels of the pixel centres' rays, and an RGB image with smooth edges and sensor noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from diorama.data.world.camera import Camera, camera_grid
from diorama.data.world.caster import cast
from diorama.data.world.coats import KINDS
from diorama.data.world.light import Light
from diorama.data.world.materials import Texels
from diorama.data.world.primitives import Scene

F32 = NDArray[np.float32]

_CHUNK = 32768  # samples shaded at a time, so that their arrays stay in the processor's cache
_BINS = 8192
_BRIGHTEST = 4.0


@dataclass(frozen=True)
class Sensor:
    """What a camera does to light."""

    exposure: float = 1.0
    white: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    saturation: float = 1.0
    noise: float = 1.5
    """Standard deviation of the noise [grey levels of 255]."""
    blur: float = 0.4
    """Standard deviation of the lens blur [px]."""
    vignette: float = 0.15


@dataclass
class View:
    """What a camera sees: `image` (H, W, 3) RGB, `depth` (H, W) metres (0 = sky), `semantic` (H, W) train ids."""

    image: NDArray[np.uint8]
    depth: F32
    semantic: NDArray[np.uint8]
    gain: float = 1.0
    """Exposure that was chosen, for the other view of a pair."""


def render(
    scene: Scene, camera: Camera, light: Light, sensor: Sensor, random: np.random.Generator, background: int, gain: float | None = None
) -> View:
    """The view of `camera`; `background` is the label where a ray meets nothing, `gain` None lets the camera choose its exposure."""
    hits = cast(scene, camera_grid(camera, double=True))
    near, surface = hits.nearness[1::2, 1::2], hits.surface[1::2, 1::2]
    label = np.append(scene.label, np.uint8(background))
    semantic = label[surface]
    depth = np.where(near > 0, 1 / np.maximum(near, np.float32(1e-6)), 0).astype(np.float32)
    wide, low = cv2.dilate(hits.surface, np.ones((3, 3), np.uint8)), cv2.erode(hits.surface, np.ones((3, 3), np.uint8))
    edge = (wide != low)[1::2, 1::2]
    needed = np.zeros(hits.surface.shape, bool)
    needed[1::2, 1::2] = True
    for dy in (0, 2):
        for dx in (0, 2):
            needed[dy : dy + 2 * camera.height : 2, dx : dx + 2 * camera.width : 2] |= edge
    rows, columns = np.nonzero(needed)
    kind = np.append(scene.coats.kind[scene.material], -1).astype(np.int8)[hits.surface[rows, columns]]
    # Samples of one kind of material lie together from here on: slices instead of index lists.
    order = np.argsort(kind, kind="stable")
    rows, columns, kind = rows[order], columns[order], kind[order]
    number = np.empty(needed.shape, np.int32)
    number[rows, columns] = np.arange(len(rows), dtype=np.int32)
    colour = np.empty((3, len(rows)), np.float32)
    for start in range(0, len(rows), _CHUNK):
        some = slice(start, start + _CHUNK)
        u, v = columns[some] * np.float32(0.5) - np.float32(0.5), rows[some] * np.float32(0.5) - np.float32(0.5)
        seen = hits.surface[rows[some], columns[some]], kind[some]
        colour[:, some] = shade(scene, camera, light, u, v, hits.nearness[rows[some], columns[some]], *seen)
    # Bright light would otherwise eat the smoothing of edges: samples are mixed as a sensor clips them.
    np.minimum(colour, np.float32(_BRIGHTEST / 2), out=colour)
    picture = colour.take(number[1::2, 1::2].ravel(), axis=1)
    at = np.flatnonzero(edge)
    y, x = np.divmod(at, camera.width)
    corners = sum(colour.take(number[2 * y + dy, 2 * x + dx], axis=1) for dy in (0, 2) for dx in (0, 2))
    picture[:, at] = 0.4 * picture[:, at] + np.float32(0.15) * corners
    gain = meter(picture) if gain is None else gain
    image = develop(picture.reshape(3, camera.height, camera.width) * np.float32(gain), sensor, random)
    return View(image, depth, semantic, gain)


def meter(picture: F32) -> float:
    """Gain that brings `(3, n)` linear light half-way to a middle grey, as a camera's exposure control would."""
    level = float(np.median(picture[:, ::7].mean(0)))
    return float(np.clip((0.26 / max(level, 1e-3)) ** 0.7, 0.4, 3.0))


def shade(
    scene: Scene, camera: Camera, light: Light, u: F32, v: F32, near: F32, surface: NDArray[np.uint16], kind: NDArray[np.int8]
) -> F32:
    """`(3, n)` linear colours at pixel positions `(u, v)` whose rays meet `surface` at the inverse depth `near`.

    `kind` is each sample's kind of material in rising order, -1 where nothing is met.
    """
    x, y = (u - np.float32(camera.centre_x)) / np.float32(camera.focal_x), (v - np.float32(camera.centre_y)) / np.float32(camera.focal_y)
    ray = camera.rotation.T.astype(np.float32) @ np.stack([x, y, np.ones_like(u)])
    length = np.sqrt(np.einsum("in,in->n", ray, ray))
    ray /= length
    colour = np.empty((3, len(u)), np.float32)
    sky = int(np.searchsorted(kind, 0))
    if sky:
        colour[:, :sky] = light.backdrop(ray[:, :sky])
    if sky == len(u):
        return colour
    number = surface[sky:].astype(np.int64)
    ray, distance = ray[:, sky:], length[sky:] / near[sky:]
    point = ray * distance + camera.position.astype(np.float32)[:, None]
    normal = _normals(scene, number, point)
    facing = np.abs(np.einsum("in,in->n", ray, normal))
    coats = scene.coats
    footprint = distance / np.float32(camera.focal_x) / np.sqrt(np.maximum(facing, np.float32(0.02)))
    material = scene.material.take(number)
    albedo = _albedo(scene, number, material, kind[sky:], point, footprint)
    shaded = albedo * light.irradiance(point, normal)
    glow = coats.glow.take(material)
    lit = np.flatnonzero(glow > 0)
    shaded[:, lit] += glow[lit] * albedo[:, lit]
    gloss = coats.gloss.take(material)
    shiny = np.flatnonzero(gloss > 0)
    if len(shiny):
        mirrored = ray[:, shiny] - 2 * np.einsum("in,in->n", ray[:, shiny], normal[:, shiny]) * normal[:, shiny]
        share = gloss[shiny] + (1 - gloss[shiny]) * np.minimum(gloss[shiny] * 4, 1) * (1 - facing[shiny]) ** 5
        shaded[:, shiny] += (light.mirrored(mirrored) - shaded[:, shiny]) * share
    left, veil = light.haze(distance)
    shaded -= veil
    shaded *= left
    shaded += veil
    colour[:, sky:] = shaded
    return colour


def _normals(scene: Scene, number: NDArray[np.int64], point: F32) -> F32:
    flat = len(scene.planes)
    normal = scene.normals.take(number, axis=1, mode="clip")
    curved = np.flatnonzero(number >= flat)
    if len(curved):
        slopes = scene.slopes.take(number[curved] - flat, axis=1)
        at = point[:, curved]
        slope = np.stack([slopes[3 * k] * at[0] + slopes[3 * k + 1] * at[1] + slopes[3 * k + 2] * at[2] + slopes[9 + k] for k in range(3)])
        normal[:, curved] = slope / np.sqrt(np.einsum("in,in->n", slope, slope) + np.float32(1e-12))
    return normal


def _albedo(
    scene: Scene, number: NDArray[np.int64], material: NDArray[np.int64], kind: NDArray[np.int8], point: F32, footprint: F32
) -> F32:
    """`(3, n)` colours of the materials at `(3, n)` points, which are sorted by `kind`."""
    frame, coats = scene.frame, scene.coats
    u = frame[3].take(number)
    v = frame[7].take(number)
    for axis in range(3):
        u += frame[axis].take(number) * point[axis]
        v += frame[4 + axis].take(number) * point[axis]
    albedo = np.empty_like(point)
    edges = np.searchsorted(kind, np.arange(len(coats.kinds) + 1)).tolist()
    for name, start, end in zip(coats.kinds, edges[:-1], edges[1:], strict=True):
        if start < end:
            some = slice(start, end)
            coat = material[some]
            texels = Texels(
                u[some],
                v[some],
                footprint[some],
                frame[8].take(number[some]),
                frame[9].take(number[some]),
                coats.colour.take(coat, axis=1),
                coats.accent.take(coat, axis=1),
                coats.values.take(coat, axis=1),
                coats.seed.take(coat),
            )
            albedo[:, some] = KINDS[name](texels)
    return albedo


def develop(picture: F32, sensor: Sensor, random: np.random.Generator) -> NDArray[np.uint8]:
    """Linear light `(3, H, W)` -> `(H, W, 3)` RGB of 8 bits: lens, exposure, tone curve, noise."""
    height, width = picture.shape[1:]
    gain = np.array(sensor.white, np.float32) * np.float32(sensor.exposure)
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    falloff = 1 - np.float32(sensor.vignette) * (x * x + y * y) / 2
    light = np.ascontiguousarray((picture * gain[:, None, None] * falloff).transpose(1, 2, 0))
    if sensor.blur > 0:
        light = np.asarray(cv2.GaussianBlur(light, (3, 3), sensor.blur), np.float32)
    if sensor.saturation != 1:
        grey = light @ np.array([0.3, 0.59, 0.11], np.float32)
        light = grey[..., None] + (light - grey[..., None]) * np.float32(sensor.saturation)
    step = np.arange(_BINS, dtype=np.float32) * np.float32(_BRIGHTEST / _BINS)
    # A filmic curve: toe, nearly straight middle, shoulder that keeps windows and clouds from clipping.
    tone = np.clip((step * (2.51 * step + 0.03)) / (step * (2.43 * step + 0.59) + 0.14), 0, 1) ** np.float32(1 / 2.2)
    tone = np.clip(0.5 + (tone - 0.5) * np.float32(sensor.contrast), 0, 1) * 255
    levels = np.clip(light * np.float32(_BINS / _BRIGHTEST), 0, _BINS - 1).astype(np.uint16)
    shown = tone.astype(np.float32).take(levels)
    if sensor.noise > 0:
        shown += random.standard_normal(shown.shape, np.float32) * np.float32(sensor.noise)
    return np.asarray(np.clip(shown + np.float32(0.5), 0, 255).astype(np.uint8))
