"""The server against schemathesis, and against damaged images: refused in a line, never a server error."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import numpy as np
import pytest
from toy import half_red
from uploads import png

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from schemathesis import GenerationMode  # noqa: E402

from diorama.apps.limits import Limits  # noqa: E402
from diorama.apps.server import create_app  # noqa: E402
from diorama.prediction.predictor import Predictor, load  # noqa: E402

pytestmark = pytest.mark.slow
EXAMPLES = 300


def fuzzed(app: Any, mode: GenerationMode) -> Counter[int]:
    """Every operation with generated requests; how often each status came."""
    found: Counter[int] = Counter()
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    # Random bytes obey the schema of an image, and are refused as damaged all the same.
    left_out = [schemathesis.checks.CHECKS.get_one("positive_data_acceptance")]
    for operation in schema.get_all_operations():
        if mode is GenerationMode.NEGATIVE and operation.ok().path != "/predict":
            continue  # nothing to get wrong

        @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.ok().as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            answer = case.call_and_validate(excluded_checks=left_out)
            found[answer.status_code] += 1

        ask()
    return found


@pytest.mark.parametrize("takes", ["image", "sparse_depth"])
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_schemathesis_finds_nothing(predictor: Predictor, takes: str, mode: GenerationMode) -> None:
    app = create_app(predictor if takes == "image" else load("nearest"), Limits(seconds=20))
    found = fuzzed(app, mode)
    print(f"{takes}, {mode.value}: {found.total()} requests, {dict(found)}")
    assert found.total() >= EXAMPLES
    assert not [status for status in found if status >= 500]


def test_damaged_images_are_answered_or_refused(predictor: Predictor) -> None:
    """2,000 photos with bytes changed, cut out, doubled or cut off."""
    import httpx

    app = create_app(predictor, Limits(megapixels=1, seconds=20))
    random, photo = np.random.default_rng(0), np.frombuffer(png(half_red()), np.uint8)

    def damaged() -> bytes:
        body = photo.copy()
        for _ in range(random.integers(1, 6)):
            at = random.integers(max(1, len(body)))
            kind = random.integers(4)
            if kind == 0:
                body[at : at + 1] = random.integers(256)
            elif kind == 1:
                body = np.delete(body, slice(at, at + random.integers(1, 30)))
            elif kind == 2:
                body = np.insert(body, at, body[at : at + random.integers(1, 30)])
            else:
                body = body[: max(1, at)]
        return bytes(body)

    async def asked() -> Counter[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
            bodies = [damaged() for _ in range(2000)]
            answers = [await client.post("/predict", content=body, headers={"content-type": "image/png"}) for body in bodies]
            return Counter(answer.status_code for answer in answers)

    found = asyncio.run(asked())
    print(dict(found))
    assert found.total() == 2000
    assert set(found) <= {200, 413, 422}
