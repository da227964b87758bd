"""Inception's features: of torch-fidelity's own network, where that is installed; wrong files told in one line."""

import io
import sys

import pytest
import torch

from dsopt.errors import InputError
from dsopt.models.inception import inception

CPU = torch.device("cpu")


def test_files_that_are_not_its_weights_are_refused_and_not_run() -> None:
    pytest.importorskip("torch_fidelity")
    ran = []

    class Malice:
        def __reduce__(self):
            return ran.append, (1,)

    sinks = [io.BytesIO(), io.BytesIO()]
    torch.save(Malice(), sinks[0])
    torch.save({"weight": torch.zeros(2)}, sinks[1])
    for data in (b"not a file of torch", *(sink.getvalue() for sink in sinks)):
        with pytest.raises(InputError, match=r"^measure.weights: are not those of Inception: [^\n]*$"):
            inception(data, CPU)
    assert not ran


@pytest.mark.slow
def test_features_are_torch_fidelitys_of_pictures_as_they_are() -> None:
    """With random weights, which its own class saves and loads; gray images are seen as color images with equal channels."""
    networks = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    sink = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(networks.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        torch.manual_seed(0)
        network = networks.FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"])
    torch.save(network.state_dict(), sink)
    color = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found, logits = inception(sink.getvalue(), CPU)
    torch.testing.assert_close(found(color), network(color)[0])
    torch.testing.assert_close(logits(found(color)), network(color)[1])
    gray = color[:, :1]
    torch.testing.assert_close(found(gray), network(gray.expand(-1, 3, -1, -1))[0])
    assert found(color).shape == (1, 2048)


def test_without_torch_fidelity_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(InputError, match=r"needs torch-fidelity; install it with pip install 'dsopt\[fid\]'"):
        inception(b"", CPU)
