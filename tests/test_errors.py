"""The checks that many places share: what passes, and the sentence for what does not."""

import pytest
import torch

import minimeta as mm
from minimeta import FromScratch, MinimetaError, demo
from minimeta.errors import check_device, check_seed


@pytest.mark.parametrize("seed", [0, -1, True, torch.tensor(3), -(1 << 63), (1 << 64) - 1])
def test_a_seed_that_torch_takes_passes(seed):
    assert check_seed("seed", seed) == int(seed)
    torch.Generator().manual_seed(check_seed("seed", seed))


@pytest.mark.parametrize("seed", [1.0, "1", None, -(1 << 63) - 1, 1 << 64, 10**23])
def test_any_other_seed_is_refused_where_torch_would_choke_on_it(seed):
    episode, mlp = mm.tasks("sinusoids", shots=2, queries=2).at([0]), mm.MLP(1, 1, (2,))
    calls = [
        lambda: FromScratch(mlp, steps=1, lr=0.1, seed=seed)(episode),
        lambda: demo.train("MAML", seed=seed, effort=1e-9),
    ]
    for call in calls:
        with pytest.raises(
            MinimetaError, match="seed=.* was given; it is one whole number that fits"
        ):
            call()


def test_a_device_that_is_here_passes():
    assert check_device("cpu") == check_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("device", ["foo", "cuda:77", "meta", None, 1.5, [], "cpu:x"])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(device):
    for call in (lambda: check_device(device), lambda: mm.tasks("sinusoids", device=device)):
        with pytest.raises(MinimetaError, match="device=.* machine is cpu") as refused:
            call()
        assert "\n" not in str(refused.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_cuda_without_a_gpu_is_refused():
    for source in ("glyphs", "sinusoids", "attributes"):
        with pytest.raises(MinimetaError, match=r"device='cuda' was given.* machine is cpu; give"):
            mm.tasks(source, device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_passes_and_can_be_used_after_a_refusal():
    with pytest.raises(MinimetaError, match="cpu, cuda:0"):
        check_device("cuda:77")
    assert check_device("cuda").type == "cuda" and mm.tasks("sinusoids", device="cuda").at([0])
