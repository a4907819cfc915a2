"""Weights: found where promised, fetched only if asked, verified, resumed."""

import threading
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch

from causalcf.core.errors import DataError, MissingFileError
from causalcf.metrics import find_weights, inception_features
from causalcf.metrics.weights import WEIGHTS, WeightFile, search_folders

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty torch hub, and no folder of the user's."""
    monkeypatch.delenv("CAUSALCF_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT, in parts where asked, and cuts it short once if told to."""

    cut = False

    def do_GET(self):
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.server.starts.append(start)  # before the answer: the client may go on as soon as it has it
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : 5000 if Handler.cut else None])
        Handler.cut = False

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.starts = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/weights.pth"
        monkeypatch.setitem(WEIGHTS, "mine", WeightFile("mine.pth", url, sha256(CONTENT).hexdigest()[:8]))
        yield server
        server.shutdown()


def test_the_order_of_the_search(hub, tmp_path, monkeypatch):
    monkeypatch.setitem(WEIGHTS, "mine", WeightFile("mine.pth", "https://example.org", ""))
    places = [tmp_path / "given", tmp_path / "own", hub]
    for place in places:
        place.mkdir(exist_ok=True)
        (place / "mine.pth").touch()
    assert find_weights("mine") == hub / "mine.pth"
    monkeypatch.setenv("CAUSALCF_WEIGHTS", str(places[1]))
    assert search_folders() == places[1:]
    assert find_weights("mine") == places[1] / "mine.pth"
    assert find_weights("mine", places[0]) == places[0] / "mine.pth"
    assert find_weights("mine", places[0] / "mine.pth") == places[0] / "mine.pth"


@pytest.mark.parametrize("name", WEIGHTS)
def test_what_is_missing_is_said_with_two_ways_out(name, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("CAUSALCF_WEIGHTS", str(tmp_path / "mine"))
    with pytest.raises(MissingFileError) as error:
        find_weights(name)
    wanted = WEIGHTS[name]
    for part in (wanted.file, wanted.url, wanted.sha256, str(hub), str(tmp_path / "mine"), "FeatureNetwork"):
        assert part in str(error.value)
    with pytest.raises(MissingFileError, match=r"There is no file nowhere\.pth"):
        find_weights(name, "nowhere.pth")


def test_no_such_weights():
    with pytest.raises(DataError, match="'alexnet'; there are"):
        find_weights("alexnet")


def test_damaged_files_are_refused(hub):
    (hub / "vgg16-397923af.pth").write_bytes(b"not it")
    with pytest.raises(DataError, match="damaged or another file"):
        find_weights("vgg16")


def test_downloads_on_request_only(hub, server):
    with pytest.raises(MissingFileError):
        find_weights("mine")
    assert not server.starts
    assert find_weights("mine", download=True) == hub / "mine.pth"
    assert (hub / "mine.pth").read_bytes() == CONTENT
    find_weights("mine", download=True)
    assert server.starts == [0]


def test_broken_downloads_are_resumed(hub, server):
    Handler.cut = True
    with pytest.raises(MissingFileError, match="cut short"):
        find_weights("mine", download=True)
    assert not (hub / "mine.pth").exists()
    find_weights("mine", download=True)
    assert server.starts == [0, 5000]
    assert (hub / "mine.pth").read_bytes() == CONTENT
    assert not list(hub.glob("*.part"))


def test_wrong_downloads_do_not_stay(hub, server):
    (hub / "mine.pth.part").write_bytes(b"rubbish")
    with pytest.raises(DataError, match="damaged or another file"):
        find_weights("mine", download=True)
    assert not list(hub.iterdir())
    find_weights("mine", download=True)


def test_a_server_that_is_not_there(hub, monkeypatch):
    monkeypatch.setitem(WEIGHTS, "mine", WeightFile("mine.pth", "http://127.0.0.1:9/mine.pth", ""))
    with pytest.raises(MissingFileError, match="The download failed"):
        find_weights("mine", download=True)


class Scripted(torch.nn.Module):
    """Like NVIDIA's: grey levels in, probabilities out unless asked for features."""

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        features = x.flatten(1)
        return features if return_features else features.softmax(1)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_inception_comes_as_torchscript(tmp_path, monkeypatch):
    path = tmp_path / "inception-2015-12-05.pt"
    torch.jit.script(Scripted()).save(str(path))
    for given in (tmp_path, path):
        with pytest.raises(DataError, match="is damaged or another file: its SHA-256 is"):
            inception_features(given)
    digest = sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(WEIGHTS, "inception", WeightFile(path.name, "https://example.org", digest))
    extractor = inception_features(tmp_path)
    found = extractor(torch.full((2, 1, 2, 2), 0.5))
    assert torch.equal(found, torch.full((2, 12), 127.5))
    assert extractor.name == "inception"
