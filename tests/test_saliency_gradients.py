"""Gradient methods: parity with naive loops that store every attention, and properties that can be checked by sums."""

import numpy as np
import pytest
import torch

from radvqa.errors import InputError
from radvqa.saliency import METHODS, method_named
from radvqa.saliency.fill import blurred, filled, without
from radvqa.saliency.integrated import per_patch, scores_of
from radvqa.saliency.lrp import relevance_rules
from radvqa.saliency.relevancy import propagate
from radvqa.saliency.trace import trace
from radvqa.saliency.turn import WHOLE, Target, prepare
from saliency_tiny import SOFTCAPPED, saliency_model, saliency_picture, saliency_turn

GRADIENT_METHODS = ("gradient", "relevancy", "gradcam", "integrated", "lrp")


def stored(turn, tokens, quantity="logit", against=None):
    """The naive way: eager attention of both towers all kept, a backward pass a token through the stored matrices.

    Returns, for each token, (A [H, L, L], dA) of every vision and every language layer.
    """
    network, batch = turn.model.network, turn.batch
    network.set_attn_implementation("eager")
    mask = batch.attention_mask()
    additive = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    vision = network.model.vision_tower(batch.pixels, output_attentions=True)
    features = network.model.multi_modal_projector(vision.last_hidden_state)
    embeds = network.get_input_embeddings()(batch.ids.masked_fill(batch.ids == turn.model.family.image_token_id, 0))
    embeds = torch.cat([features, embeds[:, 16:]], 1)
    language = network.model.language_model(
        inputs_embeds=embeds, attention_mask=additive, position_ids=batch.position_ids, output_attentions=True
    )
    logits = network.lm_head(language.last_hidden_state)[0].float()
    banned = turn.model.family.banned_tokens(turn.model.tokenizer)
    logits[:, banned] = -torch.inf
    values = logits.log_softmax(-1) if quantity == "logprob" else logits
    kept = [*vision.attentions, *language.attentions]
    found = []
    for token in tokens:
        column = int(turn.columns[token])
        score = values[column - 1, batch.ids[0, column]]
        if against is not None:
            score = score - values[column - 1, against]
        gradients = torch.autograd.grad(score, kept, retain_graph=True)
        pairs = [(a[0].detach().double().numpy(), g[0].double().numpy()) for a, g in zip(kept, gradients)]
        found.append((pairs[: len(vision.attentions)], pairs[len(vision.attentions) :]))
    network.set_attn_implementation("sdpa")
    return found


def naive_relevancy(layers):
    """Chefer et al. 2021: R = I; for each layer upwards R = R + mean_h((dA * A)+) R."""
    relevance = np.eye(layers[0][0].shape[-1])
    for attention, gradient in layers:
        relevance = relevance + (attention * gradient).clip(min=0).mean(0) @ relevance
    return relevance


@pytest.mark.parametrize("quantity", ["logit", "logprob"])
def test_relevancy_equals_the_naive_loop_in_both_towers(quantity):
    turn = saliency_turn()
    tokens = range(len(turn.columns))
    found = method_named("relevancy")(turn, Target(tokens=tuple(tokens), quantity=quantity))
    alone = method_named("relevancy")(turn, Target(tokens=tuple(tokens), quantity=quantity), tower=False)
    for t, (vision, language) in enumerate(stored(turn, tokens, quantity)):
        row = naive_relevancy(language)[int(turn.rows[t])][:16]
        wanted = row @ naive_relevancy(vision)
        assert np.abs(alone.values[t].ravel() - row).max() < 1e-5 * max(1, np.abs(row).max())
        assert np.abs(found.values[t].ravel() - wanted).max() < 1e-5 * max(1, np.abs(wanted).max())
        assert row.max() > 1e-4


def test_relevancy_of_a_contrast_equals_the_naive_loop():
    turn = saliency_turn(answer="left lung")
    other = turn.model.tokenizer.convert_tokens_to_ids("right")
    found = method_named("relevancy")(turn, Target(against="right lung"))
    ((vision, language),) = stored(turn, [0], against=other)
    wanted = naive_relevancy(language)[int(turn.rows[0])][:16] @ naive_relevancy(vision)
    assert np.abs(found.overall.ravel() - wanted).max() < 1e-5 * max(1, wanted.max())
    assert found.chosen == (0,)
    with pytest.raises(InputError, match="the same"):
        method_named("relevancy")(turn, Target(against=" left  lung"))


def test_where_nothing_reaches_the_picture_its_relevancy_is_nothing():
    """Every positive contribution of the image rows can be zero; then there is nothing to carry through the tower."""
    traced = trace(saliency_turn(), WHOLE, vision=True)
    width = traced.layers["vision"][0].num_rows
    assert torch.equal(
        propagate(traced, "vision", torch.zeros(len(traced.tokens), width)), torch.zeros(len(traced.tokens), width)
    )


def test_gradient_x_attention_equals_the_naive_loop():
    turn = saliency_turn()
    found = method_named("gradient")(turn)
    signed = method_named("gradient")(turn, signed=True)
    for t, (_, language) in enumerate(stored(turn, range(5))):
        row = int(turn.rows[t])
        own = np.stack([(a * g)[:, row, :16] for a, g in language])
        assert np.abs(found.values[t].ravel() - own.clip(min=0).mean((0, 1))).max() < 1e-5
        assert np.abs(signed.values[t].ravel() - own.mean((0, 1))).max() < 1e-5
        assert np.abs(own).max() > 1e-3


def test_gradients_of_attention_follow_from_those_of_the_output():
    """dA = dO V^T, every row of every layer, the vision tower too."""
    turn = saliency_turn()
    traced = trace(turn, Target(tokens=(1,)), vision=True)
    ((vision, language),) = stored(turn, [1])
    for tower, layers in (("vision", vision), ("language", language)):
        for number, (attention, gradient) in enumerate(layers):
            weights, slopes = traced.chunk(tower, number, torch.arange(attention.shape[-1]))
            assert np.abs(weights[0].numpy() - attention).max() < 1e-6
            assert np.abs((slopes[0].numpy() - gradient) * (attention > 0)).max() < 1e-5


def test_gradcam_equals_the_formula():
    turn = saliency_turn()
    found = method_named("gradcam")(turn, Target(tokens=(2,)))
    network = turn.model.network
    hidden = network.model.vision_tower(turn.batch.pixels, output_hidden_states=True).hidden_states[-1]
    hidden = hidden.detach().requires_grad_()
    features = network.model.multi_modal_projector(network.model.vision_tower.post_layernorm(hidden))
    scores = turn.score(turn.logits(turn.model.family.hidden(network, turn.batch, features)))
    (gradient,) = torch.autograd.grad(scores[0, 2], hidden)
    wanted = (hidden[0] * gradient[0].mean(0)).sum(-1).clamp(min=0).detach().numpy()
    assert np.abs(found.values[2].ravel() - wanted).max() < 1e-5 and wanted.max() > 0
    with pytest.raises(InputError, match="the tower has 2"):
        method_named("gradcam")(turn, layer=2)


def test_integrated_gradients_sum_to_the_change_of_the_score():
    turn = saliency_turn()
    found = method_named("integrated")(turn, steps=64)
    with torch.no_grad():
        ends = [scores_of(turn, WHOLE, p)[0] for p in (turn.batch.pixels, torch.zeros_like(turn.batch.pixels))]
    change = (ends[0] - ends[1])[:5].numpy()
    assert np.abs(found.values[:5].sum((1, 2)) - change).max() < 0.02 * np.abs(change).max()
    coarse = np.abs(method_named("integrated")(turn, steps=4).details["gap"]).max()
    assert np.abs(found.details["gap"]).max() < coarse


def test_lrp_conserves_relevance_where_there_are_no_biases():
    """Gemma has no biases: what the answer's logit hands down arrives, at image tokens and words together.

    Softmax takes part of the relevance through its own bias-like term (Taylor expansion), hence the loose bound.
    """
    turn = saliency_turn()
    family, network = turn.model.family, turn.model.network
    with torch.no_grad():
        features = family.encode(network, turn.batch.pixels)
        embeds = network.get_input_embeddings()(turn.batch.ids.masked_fill(turn.batch.ids == family.image_token_id, 0))
        embeds = torch.cat([features, embeds[:, 16:]], 1)
    embeds.requires_grad_()
    plain = family.language(network, embeds, turn.batch.attention_mask(), turn.batch.position_ids)
    with relevance_rules(network):
        hidden = family.language(network, embeds, turn.batch.attention_mask(), turn.batch.position_ids)
        scores = turn.score(turn.logits(hidden))[0]
        (gradient,) = torch.autograd.grad(scores[0], embeds)
    assert torch.allclose(plain, hidden, atol=1e-4)  # the rules change gradients, not values
    (ordinary,) = torch.autograd.grad(turn.score(turn.logits(plain))[0, 0], embeds)
    score, arrived, without_rules = (float(x.detach().sum()) for x in (scores[0], gradient * embeds, ordinary * embeds))
    assert abs(arrived - score) < 0.25 * abs(score) < abs(without_rules - score)  # 1.48: 1.30 with, -0.42 without


def test_lrp_without_softmax_conserves_exactly():
    """One gated layer and a norm, no attention: relevance in = relevance out to rounding."""
    turn = saliency_turn()
    network = turn.model.network
    layer = network.model.language_model.layers[0]
    x = torch.randn(1, 3, 32, requires_grad=True)
    with relevance_rules(network):
        out = layer.mlp(layer.post_attention_layernorm(x)) + x
        (gradient,) = torch.autograd.grad(out.sum(), x)
    assert float((gradient * x).sum()) == pytest.approx(float(out.sum()), rel=1e-4)
    (ordinary,) = torch.autograd.grad((layer.mlp(layer.post_attention_layernorm(x)) + x).sum(), x)
    assert float((ordinary * x).sum()) != pytest.approx(float(out.sum()), rel=1e-2)


@pytest.mark.parametrize("name", GRADIENT_METHODS)
def test_nothing_is_left_behind(name):
    model = saliency_model()
    turn = saliency_turn(model)
    network = model.network
    before = turn.logprobs(turn.batch.pixels)
    asking = [parameter.requires_grad for parameter in network.parameters()]
    method_named(name)(turn)
    assert asking == [parameter.requires_grad for parameter in network.parameters()]
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any("forward" in vars(module) for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())
    assert network.config.text_config._attn_implementation == "sdpa"
    assert torch.equal(before, turn.logprobs(turn.batch.pixels))


@pytest.mark.parametrize("name", [*GRADIENT_METHODS, "occlusion", "rise"])
def test_the_map_depends_on_picture_question_and_on_the_first_word_of_the_answer(name):
    """Unlike attention, these know which word the row predicts."""
    model = saliency_model()
    base = method_named(name)(saliency_turn(model)).values[0]
    question = method_named(name)(saliency_turn(model, question="is there a nodule in the right lung ?")).values[0]
    answer = method_named(name)(saliency_turn(model, answer="nodule in the left lung")).values[0]
    picture = method_named(name)(prepare(model, saliency_picture(7), saliency_turn(model).question, "mass")).values[0]
    for other in (question, answer, picture):
        assert np.abs(base - other).max() > 0.02 * np.abs(base).max()


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_keeps_the_signature_and_its_sign(name):
    turn = saliency_turn(answer="left lung")
    found = method_named(name)(turn, Target(tokens=(1,)))
    assert found.values.shape == (3, 4, 4) and found.method == name and found.scale
    assert found.signed or found.values.min() >= 0
    assert np.allclose(found.overall, found.values[1])
    again = method_named(name)(turn, Target(tokens=(1,)))
    assert np.array_equal(found.values, again.values)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "flow"])
def test_paligemma_2_with_its_capped_logits(name):
    """Every method runs on the other generation of the family too, which has eager attention only."""
    turn = saliency_turn(saliency_model(attention="eager", **SOFTCAPPED), answer="left lung")
    found = method_named(name)(turn)
    assert found.values.shape == (3, 4, 4) and found.values[:2].std() > 0
    assert turn.model.network.config.text_config._attn_implementation == "eager"


# ---------------------------------------------------------------- fill-ins and patches


def test_without_replaces_whole_patches_and_nothing_else():
    turn = saliency_turn()
    pixels = turn.batch.pixels
    kept = torch.ones(2, 4, 4)
    kept[1, 0, 3] = 0
    found = without(pixels, kept, "grey")
    assert torch.equal(found[0], pixels[0])
    assert (found[1, :, :14, 42:] == 0).all() and torch.equal(found[1, :, 14:], pixels[0, :, 14:])
    assert torch.equal(found[1, :, :, :42], pixels[0, :, :, :42])


def test_fills():
    pixels = torch.randn(1, 3, 56, 56)
    assert filled(pixels, "black").max() <= pixels.amin() + 4 and torch.equal(
        filled(pixels, "black")[0, 0, 0, 0], pixels[0, 0].min()
    )
    assert torch.allclose(filled(pixels, "mean")[0, :, 3, 3], pixels.mean((0, 2, 3)))
    flat = torch.full((1, 3, 20, 20), 0.7)
    assert torch.allclose(blurred(flat, 2.0), flat, atol=1e-6)
    assert blurred(pixels, 5.6).std() < 0.2 * pixels.std()
    with pytest.raises(InputError, match="unknown fill-in"):
        filled(pixels, "pink")


def test_per_patch_sums():
    turn = saliency_turn()
    values = torch.zeros(1, 3, 56, 56)
    values[0, :, 15, 30] = torch.tensor([1.0, 2.0, 3.0])  # row 1, column 2 of the grid: patch 6
    found = per_patch(turn, values)[0]
    assert found[6] == 6 and found.sum() == 6
