"""The API: what is answered, in which form, and by whom."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import cv2
import httpx
import msgspec
import numpy as np
import pydicom
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lungsight.card import Calibration
from lungsight.inference import Lungsight, load_model
from lungsight.inference.result import ResultRecord
from lungsight.model import load_bundle, save
from lungsight.records import plain, to_json
from lungsight.server import answers
from lungsight.server.answers import MediaType
from lungsight.server.app import create_app
from lungsight.server.engine import Engine, Job
from lungsight.server.problems import Busy, Problem
from lungsight.server.records import EXAMPLE, Predictions
from lungsight.server.settings import Settings
from lungsight.wording import Decision, Flag, GateAnswer, Reason, Status
from lungsight.xray.base import Limits
from programs import wait_for
from server_process import PATIENT, dicom, png, running
from tiny_networks import SIZE, diagnosis_card, draw_chest, write_bundle


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Lungsight:
    return load_model(write_bundle(tmp_path_factory.mktemp("networks")), threads=1)


@pytest.fixture(scope="module")
def app(model: Lungsight) -> FastAPI:
    return create_app(model, Settings(max_files=4, queue=8))


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[httpx.Client]:
    with running(app) as client:
        yield client


def post(client: httpx.Client, *files: bytes, accept: str = "*/*", **query: Any) -> Any:
    parts = [("files", (f"name-{index}", data)) for index, data in enumerate(files)]
    return client.post("/v1/predictions", files=parts, params=query, headers={"Accept": accept})


def one(client: httpx.Client, data: bytes, **query: Any) -> dict[str, Any]:
    answer = post(client, data, **query)
    assert answer.status_code == 200, answer.text
    checked(answer)
    row = answer.json()["predictions"][0]
    return {**{key: value for key, value in row.items() if key != "result"}, "result": row["result"]}


def checked(answer: Any) -> None:
    """The answer is what the record says."""
    msgspec.json.decode(answer.content, type=Predictions)


def picture(encoded: str | bytes) -> np.ndarray:
    data = base64.b64decode(encoded) if isinstance(encoded, str) else encoded
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


# Answers


def test_the_answer_is_the_models(client: httpx.Client, model: Lungsight) -> None:
    told, result = one(client, png()), model(draw_chest())
    row = told["result"]
    assert row["decision"] == result.decision
    assert row["probability"] == pytest.approx(result.probability)
    assert (row["low"], row["high"]) == pytest.approx(result.interval)
    assert (row["right_lung_px"], row["left_lung_px"]) == result.areas
    assert [row[word] for word in ("height", "width", "format", "bits")] == [200, 160, "PNG", 8]
    assert row["input"] == "" and row["spacing_row_mm"] is None
    assert [name.split("@")[0] for name in row["networks"]] == ["tiny-lungs", "tiny-diagnosis", "tiny-gate"]
    assert told["threshold"] == 0.5 and told["mask_threshold"] == 0.5
    assert np.array_equal(picture(told["mask"]["png"]) == 255, result.mask)
    assert "display" not in told and "evidence" not in told


def test_every_field_of_the_record_is_answered(client: httpx.Client) -> None:
    """The answer, the tables and the page's table have one shape."""
    fields = [field.name for field in msgspec.structs.fields(ResultRecord)]
    answer = post(client, png(), b"junk of no kind").json()["predictions"]
    assert [list(row["result"]) for row in answer] == [fields, fields]
    assert client.get("/v1/models").json()["columns"] == fields


def test_masks_as_run_lengths(client: httpx.Client, model: Lungsight) -> None:
    answer = post(client, png(), accept=MediaType.rle)
    assert answer.headers["content-type"].startswith(MediaType.rle)
    checked(answer)
    rle, labels = answer.json()["predictions"][0]["mask"]["rle"], model(draw_chest()).labels
    assert np.array_equal(decode(rle["right"]), labels == 1)
    assert np.array_equal(decode(rle["left"]), labels == 2)


def test_pictures_by_accept(client: httpx.Client, model: Lungsight) -> None:
    labels = model(draw_chest()).labels
    mask = post(client, png(), accept="image/png")
    assert mask.headers["content-type"] == "image/png"
    assert np.array_equal(picture(mask.content), (labels > 0) * np.uint8(255))
    assert np.array_equal(picture(post(client, png(), accept="image/png", labels=True).content), labels)
    assert picture(post(client, png(), accept="image/jpeg").content).shape == (200, 160, 3)


def test_a_bad_file_leaves_the_others_alone(client: httpx.Client) -> None:
    answer = post(client, png(), b"<html>no</html>", b"", dicom())
    assert answer.status_code == 200
    checked(answer)
    rows = answer.json()["predictions"]
    assert [row["result"]["status"] for row in rows] == ["ok", "passed_over", "failed", "ok"]
    assert [row["index"] for row in rows] == [0, 1, 2, 3]
    assert "web page" in rows[1]["result"]["message"]
    assert "empty" in rows[2]["result"]["message"]
    assert rows[0]["result"]["probability"] == pytest.approx(rows[3]["result"]["probability"], abs=0.01)


def test_nothing_usable_is_a_problem(client: httpx.Client) -> None:
    single = post(client, b"%PDF-1.4")
    assert single.status_code == 422
    assert single.headers["content-type"] == "application/problem+json"
    assert "PDF" in single.json()["detail"]
    several = post(client, b"%PDF-1.4", b"GIF89a")
    assert several.status_code == 422
    assert [error["status"] for error in several.json()["errors"]] == [422, 422]


def test_the_mask_threshold_moves_the_mask_alone(client: httpx.Client, model: Lungsight) -> None:
    usual, wide = one(client, png()), one(client, png(), mask_threshold=0.01)
    assert wide["mask"]["threshold"] == 0.01
    assert wide["result"]["right_lung_px"] > usual["result"]["right_lung_px"]
    assert wide["result"]["probability"] == usual["result"]["probability"]
    expected = Lungsight(model.bundle, threads=1, mask_threshold=0.01)(draw_chest()).mask
    assert np.array_equal(picture(wide["mask"]["png"]) == 255, expected)


def test_what_a_browser_cannot_show_is_made_for_the_screen(client: httpx.Client) -> None:
    deep = cv2.resize(draw_chest(300, 150), (1200, 2400)).astype(np.uint16) * 16
    told = one(client, dicom(deep, PixelSpacing=[0.15, 0.15]), include=["display"])
    shown = picture(told["display"]["png"])
    assert shown.dtype == np.uint8 and shown.shape == (2048, 1024)
    assert (told["display"]["height"], told["display"]["width"]) == shown.shape
    assert shown[1024, 300] < shown[100, 512]
    assert told["result"]["right_lung_mm2"] == pytest.approx(told["result"]["right_lung_px"] * 0.0225)
    assert "mask" not in told


def test_the_probability_map_gives_the_mask(client: httpx.Client, model: Lungsight) -> None:
    told, result = one(client, png(), include=["probability", "mask"]), model(draw_chest())
    sent = told["probability_map"]
    small = picture(sent["png"])
    assert small.shape == SIZE and small.dtype == np.uint8
    assert np.abs(small / 255 - result.network_map).max() < 0.003
    assert sent["box"] == [0, 0, 200, 160]
    sides = picture(sent["sides_png"])
    assert (sides[:, :20] == 255).all() and (sides[:, -20:] == 0).all()
    restored = cv2.resize(small.astype(np.float32) / 255, (160, 200)) >= told["mask_threshold"]
    assert (restored != result.mask).mean() < 0.01


def test_the_evidence_and_its_share(client: httpx.Client, model: Lungsight) -> None:
    told = one(client, png(), include=["evidence"])["evidence"]
    values = model(draw_chest()).diagnosis.evidence
    assert values is not None
    assert 0 < told["fraction_inside_lungs"] < 1
    back = (picture(told["png"]) - 127.5) / 127.5 * told["scale"]
    assert np.abs(back - values).max() < told["scale"] / 100
    assert one(client, png(np.full((90, 90), 100, np.uint8)), include=["evidence"])["evidence"] is None


def test_a_dicom_seg(client: httpx.Client, model: Lungsight) -> None:
    data = dicom()
    answer = post(client, data, accept="application/dicom")
    assert answer.headers["content-type"] == "application/dicom"
    seg = pydicom.dcmread(io.BytesIO(answer.content))
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == ["Right lung", "Left lung"]
    assert seg.StudyInstanceUID == pydicom.dcmread(io.BytesIO(data)).StudyInstanceUID
    assert not any(value.encode() in answer.content for value in PATIENT.values())
    refused = post(client, png(), accept="application/dicom")
    assert refused.status_code == 406


@given(
    arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.booleans())
)
@settings(max_examples=60, deadline=None)
def test_run_lengths_come_back(mask: np.ndarray) -> None:
    assert np.array_equal(decode(plain(answers.encode_rle(mask))), mask)


def decode(rle: dict[str, Any]) -> np.ndarray:
    values = np.concatenate([np.full(count, turn % 2 == 1) for turn, count in enumerate(rle["counts"])])
    return values.reshape(rle["size"], order="F")


# Forms


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", MediaType.json),
        ("*/*", MediaType.json),
        ("text/html, application/xhtml+xml, */*;q=0.8", MediaType.json),
        ("image/png", MediaType.mask),
        ("application/json;q=0.2, image/png", MediaType.mask),
        ("image/*", MediaType.mask),
        ("application/vnd.lungsight.rle+json", MediaType.rle),
        ("APPLICATION/DICOM", MediaType.dicom),
    ],
)
def test_forms(accept: str, form: MediaType) -> None:
    assert answers.choose_media_type(accept) is form


@pytest.mark.parametrize("accept", ["text/plain", "image/webp;q=1", "image/png;q=0", "application/json;q=x"])
def test_no_such_form(accept: str) -> None:
    with pytest.raises(Problem) as raised:
        answers.choose_media_type(accept)
    assert raised.value.status == 406


def test_a_picture_is_for_one_file(client: httpx.Client) -> None:
    assert post(client, png(), png(), accept="image/png").status_code == 406


# Beside predictions


def test_the_cards_and_limits(client: httpx.Client, model: Lungsight) -> None:
    told = client.get("/v1/models").json()
    assert {one["task"]: one["name"] for one in told["models"]} == {
        "lungs": "tiny-lungs",
        "diagnosis": "tiny-diagnosis",
        "gate": "tiny-gate",
    }
    assert told["cannot_tell"] == [0.45, 0.55]
    assert told["limits"]["files"] == 4
    assert told["paper_mask_threshold"] == 0.2


def test_where_it_cannot_tell(model: Lungsight, tmp_path: Path) -> None:
    wide = Calibration(1.0, 0.0, covariance=((0.0, 0.0), (0.0, 0.25)))
    write_bundle(tmp_path)
    save(tmp_path, diagnosis_card(calibration=wide), model.bundle.diagnosis.onnx)  # type: ignore[union-attr]
    zone = answers.cannot_tell(Lungsight(load_bundle(tmp_path), threads=1))
    # The interval of a logit x is x +- 0.98, and holds 0 where x lies within 0.98.
    assert zone == pytest.approx((1 / (1 + np.exp(0.98)), 1 / (1 + np.exp(-0.98))), abs=0.02)


def test_operators_see_whether_it_lives(client: httpx.Client, app: FastAPI) -> None:
    assert client.get("/healthz").text == "ok\n"
    assert client.get("/readyz").status_code == 200
    state = app.state.lungsight
    state.stop_at = 0.0
    try:
        answer = client.get("/readyz")
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
        assert client.get("/healthz").status_code == 200
    finally:
        state.stop_at = None


def test_metrics_count(client: httpx.Client) -> None:
    def value(line: str) -> float:
        text = client.get("/metrics").text
        return next((float(row.split()[-1]) for row in text.splitlines() if row.startswith(line)), 0.0)

    line = 'lungsight_requests_total{method="POST",route="/v1/predictions",status="200"}'
    before, failed = value(line), value('lungsight_xrays_total{outcome="failed"}')
    post(client, png(), b"junk of no kind" * 9)
    assert value(line) == before + 1
    assert value('lungsight_xrays_total{outcome="failed"}') == failed + 1
    assert value("lungsight_queue_xrays") == 0
    assert value("lungsight_held_bytes") == 0
    client.get("/v1/Quatermain")
    assert "Quatermain" not in client.get("/metrics").text


def test_the_sample_is_a_chest(client: httpx.Client) -> None:
    sample = client.get("/v1/sample")
    assert sample.headers["content-type"] == "image/png"
    assert picture(sample.content).shape == (512, 512)


def test_grey_values_as_they_are(client: httpx.Client) -> None:
    sent = one(client, png(), include=["grey"])["grey"]
    assert np.array_equal(picture(sent["png"]), draw_chest())
    assert (sent["bits"], sent["slope"], sent["intercept"], sent["center"], sent["window"]) == (
        8,
        1,
        0,
        128,
        256,
    )


def test_every_mask_carries_its_warnings(client: httpx.Client) -> None:
    """Whatever its format: a mask that is passed on alone must not look sure."""
    chest = draw_chest()
    chest[:, :90] = 180  # one lung is left
    expected = post(client, png(chest)).json()["predictions"][0]["result"]
    codes = {*expected["flags"], *expected["reasons"]}
    assert "small" in codes
    for accept in ("image/png", "image/jpeg", "application/dicom"):
        data = dicom(chest) if accept == "application/dicom" else png(chest)
        answer = post(client, data, accept=accept)
        assert answer.status_code == 200
        assert set(answer.headers["lungsight-warnings"].split(", ")) == codes
    assert post(client, png(), accept="image/png").headers["lungsight-warnings"] == ""


def test_the_documented_client(client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ten lines of Python in docs/api.md do what they say."""
    text = (Path(__file__).resolve().parents[1] / "docs" / "api.md").read_text("utf-8")
    code = next(block for block in text.split("```python\n")[1:] if "httpx.post" in block).split("```")[0]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chest.png").write_bytes(png())
    exec(code.replace("http://127.0.0.1:8000", str(client.base_url).rstrip("/")), {})
    assert picture((tmp_path / "mask.png").read_bytes()).shape == (200, 160)


def test_a_head_is_a_get_without_its_body(client: httpx.Client) -> None:
    for path in (
        "/",
        "/docs",
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/v1/models",
        "/v1/sample",
    ):
        head, get = client.head(path), client.get(path)
        assert head.status_code == get.status_code == 200, path
        assert head.content == b"" and head.headers["content-type"] == get.headers["content-type"]
    assert client.head("/v1/predictions").status_code == 405


@pytest.mark.parametrize("path", ["/v1/predictions?treshold=0.2", "/v1/models?verbose=1", "/healthz?x"])
def test_an_unknown_name_in_the_query(client: httpx.Client, path: str) -> None:
    answer = client.post(path, files={"files": png()}) if "predictions" in path else client.get(path)
    assert answer.status_code == 422
    assert answer.json()["code"] == "unknown_query"
    assert "treshold" not in answer.text and "verbose" not in answer.text


def test_request_ids(client: httpx.Client) -> None:
    own = "0af7651916cd43dd8448eb211c80319c"
    assert client.get("/healthz", headers={"X-Request-ID": own}).headers["x-request-id"] == own
    for other in ("Quatermain", "cafe", "12345678 ab", "a" * 65):
        answer = client.get("/healthz", headers={"X-Request-ID": other}).headers["x-request-id"]
        assert answer != other and len(answer) == 12


def test_every_code_has_its_words_on_the_page(client: httpx.Client) -> None:
    words = client.get("/v1/wording").json()
    for kind in (Flag, Reason, Decision, GateAnswer, Status):
        for code in kind:
            assert words[kind.__name__.lower()][code], code
    for flag in Flag:
        assert words["meaning"][flag]
    for decision in Decision:
        assert set(words["verdict"][decision]) == {"title", "text", "brief"}


def test_the_documentation_needs_nobody(client: httpx.Client) -> None:
    text = client.get("/docs").text
    assert "<script" not in text and "//" not in text.replace("<!doctype html>", "")
    document = client.get("/openapi.json").json()
    for path in document["paths"]:
        assert f" {path}</code>" in text
    for name in document["components"]["schemas"]:
        assert f'id="{name}"' in text


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from references(one)


def test_openapi_is_whole(client: httpx.Client, app: FastAPI) -> None:
    """Every reference leads somewhere, every problem is one shape, every route is described."""
    document = client.get("/openapi.json").json()
    for reference in references(document):
        found = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
    routes = {route.path for route in app.routes if hasattr(route, "dependant")}
    assert set(document["paths"]) == routes - {"/", "/docs", "/openapi.json"}
    problem = {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}
    for response in document["components"]["responses"].values():
        assert response["content"] == {"application/problem+json": problem}
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for methods in document["paths"].values():
        for operation in methods.values():
            assert {"421", "422"} <= set(operation["responses"])
            assert operation.get("security") == [] or "401" in operation["responses"]


def test_openapi_keeps_the_rules_of_spectral(client: httpx.Client) -> None:
    """What `spectral:oas` asks for (Spectral of npm finds nothing), as far as it can be asked without it."""
    document = client.get("/openapi.json").json()
    info = document["info"]
    assert all(info[name] for name in ("title", "version", "description", "contact", "license"))
    assert document["servers"] and not any(one["url"].endswith("/") for one in document["servers"])
    tags = [one["name"] for one in document["tags"]]
    assert len(set(tags)) == len(tags) and all(one["description"] for one in document["tags"])
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    names = [one["operationId"] for one in operations]
    assert len(set(names)) == len(names)
    for operation in operations:
        assert re.fullmatch(r"[A-Za-z0-9_.~-]+", operation["operationId"])
        assert operation["summary"] and operation["description"]
        assert operation["tags"] and set(operation["tags"]) <= set(tags)
        assert any(status.startswith("2") for status in operation["responses"])
        for parameter in operation.get("parameters", ()):
            assert "$ref" in parameter or (parameter["name"] and parameter["schema"])
    for path in document["paths"]:
        assert not path.endswith("/") and "?" not in path and "{" not in path
    used = set(references(document))
    for kind in ("schemas", "responses", "parameters", "headers"):
        for name in document["components"][kind]:
            assert f"#/components/{kind}/{name}" in used, f"{kind} {name} is described and never used"
    jsonschema = pytest.importorskip("jsonschema")
    media = document["paths"]["/v1/predictions"]["post"]["responses"]["200"]["content"]["application/json"]
    jsonschema.Draft202012Validator({**media["schema"], "components": document["components"]}).validate(
        media["example"]
    )


def test_openapi_describes_it(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    operation = schema["paths"]["/v1/predictions"]["post"]
    assert "multipart/form-data" in operation["requestBody"]["content"]
    assert set(operation["responses"]["200"]["content"]) == set(MediaType)
    assert operation["responses"]["200"]["content"]["application/json"]["example"] == json.loads(
        to_json(EXAMPLE)
    )
    assert {"400", "401", "403", "406", "408", "413", "415", "421", "422", "503"} <= set(
        operation["responses"]
    )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/v1/predictions", 405), ("GET", "/static/../app.py", 404)],
)
def test_problems_everywhere(client: httpx.Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_settings_out_of_range(client: httpx.Client) -> None:
    for query in (
        {"mask_threshold": 0},
        {"mask_threshold": 1.5},
        {"mask_threshold": "nan"},
        {"include": "all"},
    ):
        answer = post(client, png(), **query)
        assert answer.status_code == 422, query
        assert answer.headers["content-type"] == "application/problem+json"


# The engine


class Gated(Lungsight):
    """Waits for a sign before it predicts, notes the batches, and fails where a pixel in the corner is 255."""

    def __init__(self, like: Lungsight) -> None:
        super().__init__(like.bundle, threads=1)
        self.go, self.batches, self.begun = threading.Event(), [], 0

    def predict_many(self, sources: Any, *, batch: int = 8) -> Any:
        xrays = list(sources)
        self.begun += 1
        self.go.wait(60)
        self.batches.append(len(xrays))
        if any(xray.pixels[0, 0] == 255 for xray in xrays):
            raise ValueError("Quatermain")
        return super().predict_many(xrays, batch=batch)


def engine_of(model: Lungsight, room: int = 16) -> Engine:
    return Engine(model, limits=Limits(), batch=4, capacity=room)


def test_requests_go_through_together(model: Lungsight) -> None:
    gated = Gated(model)
    engine = engine_of(gated)
    jobs = [Job(png(), lambda result: result.probability) for _ in range(9)]
    futures = engine.submit(jobs[:1])
    wait_for(lambda: gated.begun == 1)  # the first is in the networks, alone, and stays there
    futures += [engine.submit([job])[0] for job in jobs[1:]]
    wait_for(lambda: engine.ready == 8)
    gated.go.set()
    assert len({future.result(20) for future in futures}) == 1
    assert gated.batches == [1, 4, 4]
    engine.close()
    assert engine.in_flight == 0


def test_one_that_breaks_the_networks_harms_no_other(
    model: Lungsight, caplog: pytest.LogCaptureFixture
) -> None:
    gated = Gated(model)
    engine = engine_of(gated)
    bad = draw_chest()
    bad[0, 0] = 255
    files = [png(), png(bad), png()]
    futures = engine.submit([Job(data, lambda result: result.decision) for data in files])
    gated.go.set()
    assert futures[0].result(20) == futures[2].result(20)
    assert isinstance(futures[1].exception(20), ValueError)
    assert "Quatermain" not in caplog.text and "ValueError" in caplog.text
    engine.close()


def test_no_room(model: Lungsight) -> None:
    gated = Gated(model)
    engine = engine_of(gated, room=5)
    jobs = [Job(png(), lambda result: None) for _ in range(5)]
    futures = engine.submit(jobs)
    with pytest.raises(Busy) as raised:
        engine.submit([Job(png(), lambda result: None)])
    assert int((raised.value.headers or {})["Retry-After"]) >= 1
    gated.go.set()
    for future in futures:
        future.result(20)
    engine.submit([Job(png(), lambda result: None)])[0].result(20)
    engine.close()


def test_what_nobody_waits_for_is_not_done(model: Lungsight) -> None:
    gated = Gated(model)
    engine = engine_of(gated)
    first = engine.submit([Job(png(), lambda result: None)])[0]
    wait_for(lambda: gated.begun == 1)
    given_up = Job(png(), lambda result: None)
    future = engine.submit([given_up])[0]
    given_up.give_up()
    gated.go.set()
    engine.close()
    assert first.done() and not first.exception() and sum(gated.batches) == 1
    assert future.cancelled() or isinstance(future.exception(), CancelledError)
    assert engine.in_flight == 0


def test_closing_finishes_what_waits(model: Lungsight) -> None:
    engine = engine_of(model)
    futures = engine.submit([Job(png(), lambda result: result.decision) for _ in range(10)])
    engine.close()
    assert all(future.done() and future.exception() is None for future in futures)


# A corrected mask


def corrected(client: httpx.Client, *files: bytes) -> httpx.Response:
    parts = [("files", ("x", data)) for data in files]
    return client.post("/v1/corrected", files=parts, headers={"Accept": "application/dicom"})


def test_a_corrected_mask_becomes_a_seg_of_its_image(client: httpx.Client) -> None:
    data, labels = dicom(), np.zeros((200, 160), np.uint8)
    labels[50:150, 20:60], labels[60:140, 100:130] = 1, 2
    answer = corrected(client, data, png(labels))
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/dicom"
    seg, source = (pydicom.dcmread(io.BytesIO(one)) for one in (answer.content, data))
    assert [one.SegmentLabel for one in seg.SegmentSequence] == ["Right lung", "Left lung"]
    assert {one.SegmentAlgorithmType for one in seg.SegmentSequence} == {"SEMIAUTOMATIC"}
    assert [int(frame.sum()) for frame in seg.pixel_array] == [4000, 2400]
    referred = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
    assert referred.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert not any(value.encode() in answer.content for value in PATIENT.values())


@pytest.mark.parametrize(
    ("case", "status", "code"),
    [
        ("one file", 422, "two_files"),
        ("no dicom", 406, "no_dicom"),
        ("other size", 422, "other_size"),
        ("grey picture", 422, "no_mask"),
        ("16 bits", 422, "no_mask"),
        ("text", 422, None),
    ],
)
def test_what_is_no_corrected_mask_is_said(
    client: httpx.Client, case: str, status: int, code: str | None
) -> None:
    mask = np.ones((200, 160), np.uint8)
    files = {
        "one file": (dicom(),),
        "no dicom": (png(), png(mask)),
        "other size": (dicom(), png(mask[:100])),
        "grey picture": (dicom(), png()),
        "16 bits": (dicom(), png(mask.astype(np.uint16))),
        "text": (dicom(), b"hello"),
    }[case]
    answer = corrected(client, *files)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert code is None or answer.json()["code"] == code
