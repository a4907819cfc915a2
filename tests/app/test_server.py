"""The page over HTTP, without a browser: what it sends is what the session gives, and nothing stops it."""

import base64
import io
import socket
import subprocess
import sys
import threading

import numpy as np
import PIL.Image
import pytest
import torch
from starlette.testclient import TestClient

from causalcf.app import Session, Source, State, server
from causalcf.core.errors import CausalCFError
from causalcf.core.pictures import difference_url, doubt_url, image_url

THICK = "unit=3&do.0.thickness=4.0"


@pytest.fixture(scope="module")
def client(session):
    with TestClient(server.build(session), raise_server_exceptions=False) as client:
        yield client


def pixels(url: str) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,")))))


def as_bytes(image: torch.Tensor) -> np.ndarray:
    return np.rint(255 * image[0, 0].numpy()).astype(np.uint8)


def test_facts_say_what_can_be_moved(client, session):
    facts = client.get("/api/facts").json()
    assert facts["rows"] == 297
    thickness, digit, image = (
        next(n for n in facts["nodes"] if n["name"] == k) for k in ("thickness", "digit", "image")
    )
    seen = session.scm.seen["thickness"]["quantiles"][0]
    assert (thickness["low"], thickness["high"]) == (seen[0], seen[-1])
    assert digit["choices"] == [str(i) for i in range(10)]
    assert image["input"] == "none"
    assert {(edge["from"], edge["to"]) for edge in facts["graph"]["edges"]} == set(session.scm.graph.edges)


def test_pictures_are_those_of_the_api_to_the_byte(client, session):
    shown = client.get(f"/api/answer?{THICK}").json()["images"][0]
    x = session.data[3:4]
    cf = session.scm.counterfactual(x, do={"thickness": 4.0}, seed=0)
    truth = session.data.truth(x, {"thickness": 4.0})
    assert np.array_equal(pixels(shown["factual"]), as_bytes(x["image"]))
    assert np.array_equal(pixels(shown["worlds"][0]["counterfactual"]), as_bytes(cf["image"]))
    assert np.array_equal(pixels(shown["worlds"][0]["truth"]), as_bytes(truth["image"]))
    assert shown["worlds"][0]["error"] == pytest.approx(float((cf["image"] - truth["image"]).abs().mean()))


def test_a_difference_says_which_way_a_pixel_moved():
    drawn = pixels(difference_url(torch.tensor([[[1.0, -1.0, 0.0, 0.5]]])))[0]
    brighter, darker, same, half = drawn.tolist()
    assert brighter[0] > brighter[2]
    assert darker[2] > darker[0]
    assert [brighter[3], darker[3], same[3], half[3]] == [255, 255, 0, round(255 * 0.5**0.7)]


def test_colour_stays_and_doubt_is_spread():
    colour = torch.rand(3, 2, 4)
    assert np.array_equal(pixels(image_url(colour)), np.rint(255 * colour.permute(1, 2, 0).numpy()).astype(np.uint8))
    draws = torch.stack([torch.zeros(1, 1, 2), torch.tensor([[[0.0, 1.0]]])])
    assert pixels(doubt_url(draws)).tolist() == [[0, 255]]


def test_acting_cuts_the_edges_into_the_node(client):
    shown = client.get("/api/answer?unit=3&do.0.intensity=100").json()
    assert shown["acted"] == [["intensity"]]
    assert shown["cut"] == [[["thickness", "intensity"]]]
    assert shown["touched"] == [["image"]]
    values = {row["node"]: row for row in shown["values"]}
    assert values["intensity"]["worlds"][0]["value"] == 100
    assert values["thickness"]["worlds"][0]["value"] == values["thickness"]["factual"]


def test_draws_come_with_their_spread(client):
    shown = client.get("/api/answer?unit=3&samples=3&do.0.thickness=4").json()
    world = shown["images"][0]["worlds"][0]
    assert len(world["draws"]) == 3
    assert pixels(world["doubt"]).max() > 0
    assert next(row for row in shown["values"] if row["node"] == "digit")["worlds"][0]["spread"] == "2: 3 of 3"


def test_noise_check_and_rungs(client, session):
    sites = {site["name"]: site for site in client.get("/api/noise?unit=3&noise.image.z.1=2.5").json()["sites"]}
    abducted = session.at(State(unit=3)).abducted["image.z"][0]
    assert sites["image.z"]["values"][0] == pytest.approx(float(abducted[0]))
    assert sites["image.z"]["values"][1] == 2.5
    assert sites["image.z"]["edited"] == [1]
    assert sites["image.eps"]["picture"].startswith("data:image/png")
    assert all(site["low"] < site["high"] for site in sites.values())
    assert client.get(f"/api/check?{THICK}&at.world=0").json()["sentence"].startswith("Nothing about this")
    for rung in ("see", "do"):
        found = client.get(f"/api/{rung}?{THICK}&at.world=0").json()
        assert len(found["units"]) == 12
        assert found["units"][0]["values"]["thickness"] == pytest.approx(4, abs=0.5)


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("answer?unit=297", 422, "There is no unit 297"),
        ("answer?unit=3&do.0.thickness=-1", 422, "'thickness' must be above 0"),
        ("answer?colour=red", 422, "does not know"),
        ("check?unit=3&at.world=9", 422, "There is no world 9"),
        ("check?unit=3&at.world=x", 422, "'world' takes a whole number, got 'x'"),
        ("sing", 404, "This page has no 'sing'"),
    ],
)
def test_bad_input_is_one_sentence_and_the_page_lives_on(client, path, code, message):
    reply = client.get(f"/api/{path}")
    assert reply.status_code == code
    assert message in reply.json()["error"]
    assert "\n" not in reply.json()["error"]
    assert client.get(f"/api/answer?{THICK}").status_code == 200


def test_a_model_that_raises_is_one_sentence(session, monkeypatch, caplog):
    def broken(self, *args, **options):
        raise RuntimeError("out of ink")

    with TestClient(server.build(session), raise_server_exceptions=False) as client:
        with monkeypatch.context() as patch:
            patch.setattr(type(session.scm), "counterfactual", broken)
            reply = client.get(f"/api/answer?{THICK}")
        assert reply.status_code == 500
        assert reply.json()["error"] == "The model raised RuntimeError: out of ink"
        assert "out of ink" in caplog.text
        assert client.get(f"/api/answer?{THICK}").status_code == 200


def test_two_people_at_once_do_not_disturb_each_other(client):
    """Draws are random, and torch's random state is one: each must still get what they get alone."""
    queries = [f"/api/answer?unit={i}&samples=2&seed={i}&do.0.thickness={1 + i % 4}" for i in range(8)]
    alone = [client.get(query).json()["images"] for query in queries]
    together: dict[int, list] = {}

    def ask(i: int) -> None:
        together[i] = client.get(queries[i]).json()["images"]

    people = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert [together[i] for i in range(8)] == alone


def test_the_page_calls_no_other_server(client):
    page = client.get("/")
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for name in ("page.js", "draw.js", "graph.js", "dom.js", "explain.js", "page.css"):
        text = client.get(f"/static/{name}").text
        assert "//" not in text.replace("http://www.w3.org/2000/svg", "").replace("// ", "")
    assert "<noscript>" in page.text
    assert client.get("/static/..%2Fserver.py").status_code == 404


def test_a_table_has_values_and_no_pictures(mixed, rows):
    session = Session(mixed, rows, Source("mixed", "rows", "", ""))
    with TestClient(server.build(session)) as client:
        assert {n["input"] for n in client.get("/api/facts").json()["nodes"] if n["name"] == "v"} == {"none"}
        shown = client.get("/api/answer?unit=2&do.0.b=true&do.0.c=red").json()
        values = {row["node"]: row["worlds"][0]["value"] for row in shown["values"]}
        assert (values["b"], values["c"], shown["images"]) == ("true", "red", [])
        assert client.get("/api/noise?unit=2").status_code == 200
        assert client.get("/api/see?unit=2&do.0.b=true&do.0.x=0").status_code == 200


def test_a_port_in_use_is_one_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CausalCFError, match=f"Cannot listen on 127.0.0.1, port {port}: Address already in use"):
            server.listen("127.0.0.1", port)


def test_without_the_extra_one_sentence_says_how_to_get_it(session, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(CausalCFError, match=r"pip install 'causalcf\[app\]'"):
        server.build(session)


def test_the_command_serves_the_page_until_it_is_stopped():
    import urllib.request

    command = [sys.executable, "-m", "causalcf", "app", "morphomnist-vae", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            address = running.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(f"{address}api/facts", timeout=60) as reply:
                assert b"morphomnist-vae" in reply.read()
        finally:
            running.terminate()
            running.communicate(timeout=30)
