"""What makes a GPU fast, as far as a CPU can show it: compiled layers, the mask as blocks, LoRA beside 16-bit weights."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch._dynamo.utils import counters
from torch.nn.attention.flex_attention import flex_attention

from families_tiny import save_gemma3, save_llava, save_paligemma2
from radvqa import stepper as stepping
from radvqa.compiled import compile_layers
from radvqa.families.blocks import BLOCKS, attend, block_mask
from radvqa.lora import fuse
from training_tiny import LORA, log_of, run, stepper_of


def test_layers_that_cannot_be_compiled_stay_as_they_are(base, sources, tmp_path, monkeypatch):
    def fails(*_):
        raise RuntimeError("no compiler")

    told, rows = [], {}
    monkeypatch.setattr(stepping, "compile_layers", lambda model: compile_layers(model, backend=fails))
    for compiled in (False, True):
        torch._dynamo.reset()
        run(base, sources, tmp_path / str(compiled), steps=2, compile=compiled, eval_samples=4, progress=told.append)
        rows[compiled] = [row.get("loss", row.get("validation_loss")) for row in log_of(tmp_path / str(compiled))]
    notes = [row["note"] for row in told if "note" in row]
    assert rows[True] == rows[False] and len(notes) == 1
    assert notes[0].startswith("the layers cannot be compiled here (") and "no compiler" in notes[0]


@pytest.mark.parametrize("layout", ["prefix", "image-first"])
def test_compiled_layers_share_three_programs_and_change_nothing(base, sources, monkeypatch, layout):
    """One for the tower's first layer, which needs no gradient of its input, one for its others, one for the decoder's."""
    monkeypatch.setattr(stepping, "compile_layers", lambda model: compile_layers(model, backend="aot_eager"))
    rows = []
    for compiled in (False, True):
        torch._dynamo.reset()
        counters.clear()
        stepper = stepper_of(base, sources, LORA.model_copy(update={"layout": layout}), compile=compiled)
        rows.append([stepper.step(step)["loss"] for step in range(2)])
    assert rows[0] == pytest.approx(rows[1], abs=1e-6)
    assert not counters["graph_break"] and counters["stats"]["unique_graphs"] <= 6  # of one length, and of any


@pytest.mark.parametrize("save", [save_gemma3, save_paligemma2, save_llava])
def test_other_families_compile_too(sources, tmp_path, monkeypatch, save):
    monkeypatch.setattr(stepping, "compile_layers", lambda model: compile_layers(model, backend="aot_eager"))
    other, rows = save(tmp_path / "other"), []
    for compiled in (False, True):
        torch._dynamo.reset()
        counters.clear()
        stepper = stepper_of(other, sources, LORA.model_copy(update={"layout": None}), compile=compiled)
        rows.append(stepper.step(0)["loss"])
    assert rows[0] == pytest.approx(rows[1], rel=1e-6) and counters["stats"]["unique_graphs"] and not stepper.notes


@pytest.mark.parametrize("inputs, outputs", [(24, 64), (64, 24)])
def test_lora_beside_16_bit_weights_is_no_further_from_the_truth_than_pefts(inputs, outputs):
    torch.manual_seed(0)
    layer = get_peft_model(torch.nn.Sequential(torch.nn.Linear(inputs, outputs)), LoraConfig(r=5, target_modules=["0"]))
    layer.get_base_model()[0].base_layer.to(torch.bfloat16)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x, wanted = torch.randn(7, 11, inputs), torch.randn(7, 11, outputs)

    def found(network, dtype):
        given = x.to(torch.bfloat16).to(dtype).requires_grad_()
        out = network(given)
        (out.double() * wanted).sum().backward()
        return [out, given.grad, *(p.grad for n, p in network.named_parameters() if "lora" in n)]

    truth = found(copy.deepcopy(layer).double(), torch.float64)
    theirs = found(copy.deepcopy(layer), torch.bfloat16)
    assert fuse(layer) == 1
    for ours, plain, true in zip(found(layer, torch.bfloat16), theirs, truth):
        error, most = ((some.double() - true).norm() / true.norm() for some in (ours, plain))
        assert error < max(1.5 * most, 4e-3)  # rounding of bfloat16


@pytest.mark.parametrize("layout", ["prefix", "image-first"])
def test_the_mask_as_blocks_is_the_mask(base, sources, layout, monkeypatch):
    """Entry by entry, and the states of a forward pass that attends through it."""
    stepper = stepper_of(base, sources, LORA.model_copy(update={"layout": layout}))
    model = stepper.model
    batch = stepper.build(model, stepper.store, stepper.items[:7])
    blocks, dense = block_mask(batch), batch.attention_mask()
    rows, length = batch.ids.shape
    query, key, value = (torch.randn(rows, heads, length, 8) for heads in (4, 1, 1))
    found = attend(model.network, query, key, value, blocks, scaling=0.3)[0].transpose(1, 2)
    wanted = torch.nn.functional.scaled_dot_product_attention(
        query, key.expand_as(query), value.expand_as(query), attn_mask=dense, scale=0.3
    )
    assert torch.allclose(
        found[batch.real[:, None].expand(-1, 4, -1)], wanted[batch.real[:, None].expand(-1, 4, -1)], atol=1e-5
    )
    at = batch.labels > 0
    states = {}
    for name in ("sdpa", BLOCKS):
        monkeypatch.setattr("radvqa.families.paligemma.LEAST", 1)
        model.family.core(model.network).model.language_model.set_attn_implementation(name)
        with torch.no_grad():
            states[name] = model.family.hidden(
                model.network, batch, model.family.encode(model.network, batch.pixels), at=at
            )
    assert torch.allclose(states["sdpa"], states[BLOCKS], atol=1e-5) and flex_attention.__module__
