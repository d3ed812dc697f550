"""Captured rows: equal to eager attention, the same in a teacher-forced pass as in generation, nothing left behind."""

import gc
import threading

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import DynamicCache

from radvqa.batch import Batch, collate, encode
from radvqa.errors import InputError
from radvqa.predict import _step
from radvqa.prompt import prompt
from radvqa.saliency.capture import NAME, attention_modules, capture
from radvqa.saliency.turn import prepare
from saliency_tiny import ANSWER, QUESTION, SOFTCAPPED, saliency_model, saliency_picture, saliency_turn


def batch_of(model, side, answers=("mass in the left lung", "no"), questions=(QUESTION, "is there a nodule ?")):
    rows = [encode(model.tokenizer, model.family.num_image_tokens, prompt(q), a) for q, a in zip(questions, answers)]
    pixels = model.form.normalise(
        torch.stack([torch.from_numpy(model.form.resize(saliency_picture(i)).copy()) for i in range(len(rows))]).numpy()
    )
    return collate(rows, list(range(len(rows))), pixels, model.tokenizer.pad_token_id, side=side, layout="prefix")


def eager_weights(network, batch, family):
    """Every layer's attention as transformers returns it: eager, everything stored."""
    before = network.config.text_config._attn_implementation
    network.set_attn_implementation("eager")
    mask = batch.attention_mask()
    additive = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    out = network(
        input_ids=batch.ids, pixel_values=batch.pixels, attention_mask=additive, position_ids=batch.position_ids,
        output_attentions=True,
    )  # fmt: skip
    network.set_attn_implementation(before)
    return out.attentions


@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_rows_equal_eager_attention(side):
    model = saliency_model()
    batch = batch_of(model, side)
    expected = eager_weights(model.network, batch, model.family)
    with capture(model.network) as seen:
        model.family.hidden(model.network, batch, model.family.encode(model.network, batch.pixels))
    for layer, wanted in zip(seen.layers(), expected):
        real = batch.real[:, None, :, None]
        assert ((layer.weights() - wanted) * real).abs().max() < 1e-6
    # far from uniform, or the comparison would say little
    assert expected[1].max() > 0.2 and expected[1][batch.real.nonzero()[0, 0]].std() > 0.01


@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_chosen_rows_differ_by_batch_row(side):
    model = saliency_model()
    batch = batch_of(model, side, answers=("mass", "no"))
    columns = torch.stack([torch.nonzero(c).flatten() for c in batch.causal])
    if side == "right":
        assert columns[0, 0] != columns[1, 0]
    expected = eager_weights(model.network, batch, model.family)
    with capture(model.network, rows=columns - 1) as seen:
        model.family.hidden(model.network, batch, model.family.encode(model.network, batch.pixels))
    for layer, wanted in zip(seen.layers(), expected):
        assert layer.num_rows == 2
        for b in range(2):
            assert (layer.weights()[b] - wanted[b][:, columns[b] - 1]).abs().max() < 1e-6


@torch.no_grad()
def test_image_at_position_0_is_there():
    turn = saliency_turn()
    assert turn.image[0] == 0 and len(turn.image) == 16 == turn.grid[0] * turn.grid[1]


@torch.no_grad()
def test_vision_tower_equals_eager():
    model, eager = saliency_model(), saliency_model(attention="eager")
    turn = saliency_turn(model)
    with capture(model.network, towers=("vision",)) as seen:
        model.family.encode(model.network, turn.batch.pixels)
    wanted = eager.network.model.vision_tower(turn.batch.pixels, output_attentions=True).attentions
    assert len(wanted) == 2
    for layer, weights in zip(seen.layers("vision"), wanted):
        assert (layer.weights() - weights).abs().max() < 1e-6


@pytest.mark.parametrize("text", [{}, SOFTCAPPED], ids=["paligemma", "paligemma2"])
@torch.no_grad()
def test_rows_equal_what_each_layer_returns_under_eager(text):
    """Both generations of the family: shared key heads, softcapped logits (which SDPA does not do), layers of two kinds."""
    model = saliency_model(attention="eager" if text else "sdpa", **text)
    batch, returned = batch_of(model, "left"), []
    with capture(model.network) as seen:
        model.family.hidden(model.network, batch, model.family.encode(model.network, batch.pixels))
    model.network.set_attn_implementation("eager")
    modules = attention_modules(model.network, "language")
    handles = [module.register_forward_hook(lambda _, __, output: returned.append(output[1])) for module in modules]
    model.family.hidden(model.network, batch, model.family.encode(model.network, batch.pixels))
    for handle in handles:
        handle.remove()
    assert len(returned) == 3
    for layer, wanted in zip(seen.layers(), returned):
        assert layer.softcap == text.get("attn_logit_softcapping")
        assert ((layer.weights() - wanted) * batch.real[:, None, :, None]).abs().max() < 1e-6


@torch.no_grad()
def test_teacher_forced_rows_equal_those_of_generation_with_a_cache():
    turn = saliency_turn()
    model, batch = turn.model, turn.batch
    with capture(model.network, rows=turn.rows) as seen:
        model.family.hidden(model.network, batch, model.family.encode(model.network, batch.pixels))
    num_prefix = int(turn.columns[0])
    prefix = collate(
        [encode(model.tokenizer, 16, prompt(turn.question), None)],
        [0],
        batch.pixels,
        model.tokenizer.pad_token_id,
        layout="prefix",
    )
    cache = DynamicCache(config=model.family.config.get_text_config())
    with capture(model.network) as steps:
        model.family.hidden(model.network, prefix, model.family.encode(model.network, batch.pixels), cache)
        for i in range(len(turn.columns) - 1):
            now = num_prefix + i + 1
            _step(model, batch.ids[:, now - 1 : now], batch.real[:, :now], cache)
    for layer, calls in zip(seen.layers(), steps.calls["language"]):
        assert len(calls) == len(turn.columns)
        for i, call in enumerate(calls):
            length = num_prefix + i
            row = call.weights()[0, :, -1]
            assert row.shape[-1] == length
            assert (layer.weights()[0, :, i, :length] - row).abs().max() < 1e-6
            assert float(layer.weights()[0, :, i, length:].abs().max()) == 0.0


@torch.no_grad()
def test_transformers_own_generate_gives_the_same_rows():
    """model.generate with left padding, its own 2-D mask and token types: every step's row equals the one-pass row."""
    model = saliency_model()
    batch = batch_of(model, "left", answers=(None, None))
    with capture(model.network) as steps:
        ids = model.network.generate(
            input_ids=batch.ids, pixel_values=batch.pixels, attention_mask=batch.real.long(),
            token_type_ids=torch.zeros_like(batch.ids), max_new_tokens=3, min_new_tokens=3, do_sample=False,
        )  # fmt: skip
    num_new, start = ids.shape[1] - batch.ids.shape[1], batch.ids.shape[1]
    for b in range(2):
        first = int(batch.real[b].int().argmax())
        rows = [encode(model.tokenizer, 16, prompt((QUESTION, "is there a nodule ?")[b]), None)]
        one = collate(rows, [0], batch.pixels[b : b + 1], 0, layout="prefix")
        whole = torch.cat([one.ids, ids[b : b + 1, start:]], 1)
        causal = torch.cat([one.causal, torch.ones(1, num_new, dtype=torch.bool)], 1)
        forced = Batch(
            one.pixels, one.image_of_row, whole, whole >= 0, causal, torch.arange(1, whole.shape[1] + 1)[None], whole
        )
        with capture(model.network) as seen:
            model.family.hidden(model.network, forced, model.family.encode(model.network, forced.pixels))
        for layer, calls in zip(seen.layers(), steps.calls["language"]):
            for i, call in enumerate(calls):
                row = call.weights()[b, :, -1]
                now = layer.weights()[0, :, start - first + i - 1, : row.shape[-1] - first]
                assert (now - row[:, first:]).abs().max() < 1e-5
                assert float(row[:, :first].abs().sum()) == 0.0  # padding in front is never looked at


@torch.no_grad()
def test_peft_wrapped_network():
    model = saliency_model()
    turn = saliency_turn(model)
    config = LoraConfig(r=4, target_modules=model.family.lora_targets(["q_proj", "k_proj"], ["q_proj"]))
    model.network = get_peft_model(model.network, config)
    for name, parameter in model.network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    with capture(model.network, rows=turn.rows, towers=("language", "vision")) as seen:
        model.family.hidden(model.network, turn.batch, model.family.encode(model.network, turn.batch.pixels))
    expected = eager_weights(model.network.get_base_model(), turn.batch, model.family)
    for layer, wanted in zip(seen.layers(), expected):
        assert (layer.weights() - wanted[:, :, turn.rows]).abs().max() < 1e-6
    assert len(seen.layers("vision")) == 2


def test_the_output_of_the_network_does_not_change_and_nothing_is_left_behind():
    model = saliency_model()
    turn = saliency_turn(model)
    family, network = model.family, model.network
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())
    plain = family.hidden(network, turn.batch, family.encode(network, turn.batch.pixels))
    with capture(network, towers=("language", "vision")) as seen:
        assert network.config.text_config._attn_implementation == NAME
        within = family.hidden(network, turn.batch, family.encode(network, turn.batch.pixels))
    assert torch.equal(plain, within)
    assert network.config.text_config._attn_implementation == "sdpa"
    assert network.config.vision_config._attn_implementation == "sdpa"
    assert hooks == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())
    calls = len(seen.calls["language"][0])
    family.hidden(network, turn.batch, family.encode(network, turn.batch.pixels))
    assert len(seen.calls["language"][0]) == calls == 1


def test_an_error_inside_restores_everything():
    model = saliency_model()
    with pytest.raises(RuntimeError, match="inside"), capture(model.network):
        raise RuntimeError("inside")
    assert model.network.config.text_config._attn_implementation == "sdpa"
    with capture(model.network):  # and the next capture opens
        pass


def test_captures_do_not_nest_and_threads_wait():
    model = saliency_model()
    turn = saliency_turn(model)
    with capture(model.network), pytest.raises(AssertionError, match="already open"), capture(model.network):
        pass
    found = []

    def work():
        with torch.no_grad(), capture(model.network, rows=turn.rows) as seen:
            model.family.hidden(model.network, turn.batch, model.family.encode(model.network, turn.batch.pixels))
        found.append(len(seen.layers()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [3, 3, 3, 3]


def test_flash_attention_is_refused():
    model = saliency_model()
    model.network.config.text_config._attn_implementation = "flash_attention_2"
    with pytest.raises(InputError, match="prefix mask"), capture(model.network):
        pass


@torch.no_grad()
def test_memory_is_rows_times_length_never_length_squared():
    """With an answer's rows captured, what is kept grows with L, and no stored tensor has L x L elements but the mask."""
    model = saliency_model(image_px=224)  # 256 image tokens
    turn = prepare(model, saliency_picture(), QUESTION, ANSWER)
    with capture(model.network, rows=turn.rows) as seen:
        model.family.hidden(model.network, turn.batch, model.family.encode(model.network, turn.batch.pixels))
    gc.collect()
    length, heads, layers = turn.batch.ids.shape[1], 4, 3
    kept = sum(t.numel() for layer in seen.layers() for t in (layer.query, layer.key, layer.mask))
    everything = layers * heads * length * length
    # keys 3 x 270 x 8, queries 3 x 4 x T x 8, mask rows 3 x T x 270: about 1 in 60 of 3 x 4 x 270 x 270
    assert kept * 20 < everything
    assert seen.layers()[0].weights().shape == (1, heads, len(turn.columns), length)
