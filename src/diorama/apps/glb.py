"""Coloured points as a binary glTF file, which browsers show."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diorama.data.io import replacing
from diorama.prediction.pointcloud import PointCloud

_FLOAT, _UINT16, _UINT32, _TRIANGLES, _VERTICES, _INDICES = 5126, 5123, 5125, 4, 34962, 34963  # glTF's numbers
_CORNERS = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32) / np.float32(2)
_HALVES = np.array([0, 1, 2, 0, 2, 3], np.uint32)


def write_glb(path: str | Path, cloud: PointCloud, sides: NDArray[np.float32]) -> None:
    """Write points [m] in glTF's frame (x right, y up, z towards the viewer), unlit, in their own colours.

    Browsers draw glTF's points one screen pixel wide, so that a cloud dissolves when one comes near. So each point is a small square
    across the camera's axis, as wide as the pixels it stands for. glTF keeps colours linear: in 8 bits dark ones would band.

    Args:
        path: the file.
        cloud: at least one point.
        sides: `(N,)` of the squares [m].
    """
    centres = cloud.points * np.array([1, -1, -1], np.float32)
    points = np.ascontiguousarray(centres[:, None] + _CORNERS * sides[:, None, None], "<f4").reshape(-1, 3)
    colours = np.full((len(points), 4), 65535, "<u2")
    colours[:, :3] = np.repeat(_LINEAR[cloud.colours], 4, 0)
    indices = np.ascontiguousarray(np.arange(len(centres), dtype=np.uint32)[:, None] * 4 + _HALVES, "<u4").reshape(-1)
    parts = [points.tobytes(), colours.tobytes(), indices.tobytes()]  # each a multiple of 4 bytes
    starts = [0, len(parts[0]), len(parts[0]) + len(parts[1])]
    targets = (_VERTICES, _VERTICES, _INDICES)
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "diorama"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "COLOR_0": 1}, "indices": 2, "mode": _TRIANGLES, "material": 0}]}],
        "materials": [{"doubleSided": True, "extensions": {"KHR_materials_unlit": {}}}],
        "buffers": [{"byteLength": sum(map(len, parts))}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": start, "byteLength": len(part), "target": target}
            for start, part, target in zip(starts, parts, targets, strict=True)
        ],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": _FLOAT,
                "count": len(points),
                "type": "VEC3",
                "min": points.min(0).tolist(),
                "max": points.max(0).tolist(),
            },
            {"bufferView": 1, "componentType": _UINT16, "count": len(points), "type": "VEC4", "normalized": True},
            {"bufferView": 2, "componentType": _UINT32, "count": len(indices), "type": "SCALAR"},
        ],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    body = b"".join(parts)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(body), b"BIN\0") + body
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)


def _linear_light() -> NDArray[np.uint16]:
    """`(256,)` linear light, 0..65535, of an sRGB level."""
    level = np.arange(256) / 255
    return (np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4) * 65535).round().astype(np.uint16)


_LINEAR = _linear_light()
