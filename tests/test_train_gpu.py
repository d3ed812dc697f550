"""What only a GPU can show: compiled layers under the block mask, and a step that does not fit. Skipped without one."""

import numpy as np
import pytest
import torch

from radvqa import bench_arms
from radvqa.bench_arms import Bench
from radvqa.bench_model import Sizes, words
from radvqa.order import Item
from radvqa.recipe_sections import Stage, TrainSource
from radvqa.stepper import Stepper

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SIZES = Sizes(questions=5, image_px=224, vocabulary=1200, batch_size=30)


def uneven(sizes: Sizes, images: int) -> list[tuple[int, str, str]]:
    """Questions of two to forty words, answers of one to five."""
    rng = np.random.default_rng(5)
    return [
        (i, words(rng, int(rng.integers(2, 40))), words(rng, int(rng.integers(1, 6))))
        for i in range(images)
        for _ in range(sizes.questions)
    ]


def stepper_of(layout: str, compiled: bool, dtype: torch.dtype = torch.float32, batch_size: int = 30) -> Stepper:
    bench = Bench(SIZES, 6)
    model = bench.model(layout)
    torch.manual_seed(1)
    for name, parameter in model.network.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.05)
        else:
            parameter.data = parameter.data.to(dtype)
    items = [Item(str(n), str(i), model.encode(prompt, answer)) for n, (i, prompt, answer) in enumerate(bench.rows)]
    stage = Stage(
        name="s",
        data=(TrainSource(corpus="c"),),
        steps=6,
        batch_size=batch_size,
        questions_per_image=5,
        compile=compiled,
    )
    return Stepper(model, items, bench, stage, 0)


@pytest.fixture(autouse=True)
def other_lengths(monkeypatch):
    monkeypatch.setattr(bench_arms, "rows_of", uneven)


@pytest.mark.parametrize("layout", ["prefix", "image-first"])
@pytest.mark.parametrize("dtype, near", [(torch.float32, 1e-4), (torch.bfloat16, 3e-2)])
def test_compiled_layers_and_blocks_equal_the_plain_ones(layout, dtype, near):
    found = []
    for compiled in (False, True):
        torch._dynamo.reset()
        stepper = stepper_of(layout, compiled, dtype)
        for step in range(4):  # lengths differ from step to step
            batch = stepper.build(stepper.model, stepper.store, stepper.micro_batches(step)[0])
            loss = stepper.loss(batch.to("cuda", dtype)) / batch.num_supervised
            loss.backward()
        found.append((loss.item(), [parameter.grad for parameter in stepper.parameters]))
    (plain, plain_grads), (quick, quick_grads) = found
    assert quick == pytest.approx(plain, rel=near)
    for a, b in zip(quick_grads, plain_grads):
        assert float((a - b).norm()) <= 3 * near * float(b.norm()) + 1e-7
    assert float(torch.stack([grad.norm() for grad in plain_grads]).min()) > 0


def test_a_step_that_does_not_fit_is_cut_and_repeated():
    whole, small = (stepper_of("prefix", False) for _ in range(2))
    wanted = whole.step(0)
    peak = torch.cuda.max_memory_allocated()
    del whole
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 0.5 * peak) / total)
    try:
        row = small.step(0)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert small.size < 30 and row["micro_batches"] > wanted["micro_batches"]
    assert row["loss"] == pytest.approx(wanted["loss"], rel=1e-4)
