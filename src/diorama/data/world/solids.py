"""Planes, quadrics and texture frames of many boxes, ellipsoids and cylinders at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

FACES = ("left", "right", "bottom", "top", "front", "back")
"""Faces of a box in local axes -x, +x, -y, +y, -z, +z: the front is what a viewer who looks along +z sees."""

_NORMALS = np.array([[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]], np.float64)
# Texture axes (u to the right, v up) of each face for a viewer outside.
_U = np.array([[0, 0, -1], [0, 0, 1], [1, 0, 0], [1, 0, 0], [1, 0, 0], [-1, 0, 0]], np.float64)
_V = np.array([[0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1], [0, 1, 0], [0, 1, 0]], np.float64)
CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)


def turn(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> F64:
    """`(3, 3)` rotation whose columns are the turned local axes: `yaw` about y (z towards x), then `pitch`, `roll` [rad]."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    rotation: F64 = about_y @ about_x @ about_z
    return rotation


def planes(centre: F64, half: F64, rotation: F64, taper: F64, shift: F64) -> tuple[F64, F64]:
    """`(N, 6, 4)` planes and `(N, 6, 10)` texture frames of tapered boxes."""
    count = len(centre)
    normal = np.tile(_NORMALS, (count, 1, 1))
    for axis, column in ((0, 0), (2, 1)):
        low, high = half[:, axis], half[:, axis] * taper[:, column]
        for face, sign in ((axis * 2, -1.0), (axis * 2 + 1, 1.0)):
            lean = sign * (high - low) + shift[:, column]
            normal[:, face, axis] = sign * 2 * half[:, 1]
            normal[:, face, 1] = -sign * lean
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    point = _NORMALS * half[:, None]
    point[:, [0, 1, 4, 5], 1] = -half[:, 1, None]
    offset = np.einsum("nfi,nfi->nf", normal, point)
    world = np.einsum("nij,nfj->nfi", rotation, normal)
    offset = offset + np.einsum("nfi,ni->nf", world, centre)
    u_axis, v_axis = (np.einsum("nij,fj->nfi", rotation, axes) for axes in (_U, _V))
    size_u, size_v = (2 * np.abs(np.einsum("ni,fi->nf", half, axes)) for axes in (_U, _V))
    u_zero = size_u / 2 - np.einsum("nfi,ni->nf", u_axis, centre)
    v_zero = size_v / 2 - np.einsum("nfi,ni->nf", v_axis, centre)
    frame = np.concatenate([u_axis, u_zero[..., None], v_axis, v_zero[..., None], size_u[..., None], size_v[..., None]], 2)
    return np.concatenate([world, offset[..., None]], 2), frame


def quadrics(centre: F64, half: F64, rotation: F64, taper: F64, is_cylinder: NDArray[np.bool_]) -> F64:
    """`(Q, 4, 4)` homogeneous matrices of ellipsoids and (tapered) cylinders in the world."""
    local = np.zeros((len(centre), 4, 4))
    local[:, 0, 0], local[:, 1, 1], local[:, 2, 2] = 1 / half[:, 0] ** 2, 1 / half[:, 1] ** 2, 1 / half[:, 2] ** 2
    local[:, 3, 3] = -1.0
    mean, slope = (1 + taper) / 2, (taper - 1) / (2 * half[:, 1])
    local[is_cylinder, 1, 1] = -(slope[is_cylinder] ** 2)
    local[is_cylinder, 1, 3] = local[is_cylinder, 3, 1] = -(mean * slope)[is_cylinder]
    local[is_cylinder, 3, 3] = -(mean[is_cylinder] ** 2)
    into = np.zeros_like(local)
    into[:, :3, :3] = rotation.transpose(0, 2, 1)
    into[:, :3, 3] = -np.einsum("nji,nj->ni", rotation, centre)
    into[:, 3, 3] = 1.0
    quadrics: F64 = into.transpose(0, 2, 1) @ local @ into
    return quadrics


def wrap(centre: F64, half: F64) -> F64:
    """`(Q, 10)` texture frames of curved surfaces: projected along a slanted z, so that no side a camera sees is smeared."""
    u_axis = np.tile(np.array([0.95, 0.0, 0.32]), (len(centre), 1))
    v_axis = np.tile(np.array([0.12, 0.96, -0.26]), (len(centre), 1))
    u_zero = half[:, 0] - np.einsum("ni,ni->n", u_axis, centre)
    v_zero = half[:, 1] - np.einsum("ni,ni->n", v_axis, centre)
    return np.concatenate([u_axis, u_zero[:, None], v_axis, v_zero[:, None], 2 * half[:, :1], 2 * half[:, 1:2]], 1)
