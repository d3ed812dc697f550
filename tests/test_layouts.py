"""The two layouts: packed equals one by one, in loss and in gradients; adapters are asked under their own."""

import pytest
import torch
from PIL import Image

from radvqa.batch import IGNORED, collate, encode, pack
from radvqa.errors import InputError
from radvqa.families.last_layer import last_layer_at
from radvqa.layouts import make_batch, make_image_first
from radvqa.model import load
from radvqa.predict import Question, answer_batch
from radvqa.recipe_sections import Adapt
from radvqa.saliency.turn import prepare
from radvqa.train import trainable_model
from tiny import save_tiny
from training_tiny import run, stepper_of

FIRST = Adapt(rank=4, alpha=8, layout="image-first", projector=True)


def gradients(stepper, batches):
    """Loss and gradients summed over batches, in training mode."""
    torch.manual_seed(1)
    for name, parameter in stepper.model.network.named_parameters():
        if "lora_B" in name:  # at zero, LoRA-A has no gradient
            torch.nn.init.normal_(parameter, std=0.1)
    stepper.model.network.train().zero_grad()
    total = 0.0
    for batch in batches:
        loss = stepper.loss(batch)
        loss.backward()
        total += loss.item()
    named = stepper.model.network.named_parameters()
    return total, {n: p.grad.clone() for n, p in named if p.requires_grad}


@pytest.mark.parametrize("settings", [FIRST, Adapt(method="full", layout="image-first")])
def test_image_first_equals_one_by_one_in_loss_and_gradients(base, sources, settings):
    """Three pictures of 3, 3 and 1 questions in packed rows, against seven rows of one question under the same mask."""
    stepper = stepper_of(base, sources, settings)
    model, store, items = stepper.model, stepper.store, [*stepper.items[:6], stepper.items[9]]
    packed = make_image_first(model, store, items)
    assert len(packed.ids) < len(items) and packed.num_supervised == sum(i.encoded.num_supervised for i in items)
    together = gradients(stepper, [packed])
    alone = gradients(stepper, [make_batch(model, store, [item]) for item in items])
    assert together[0] == pytest.approx(alone[0], rel=1e-5)
    assert any("vision_tower" in name for name in alone[1])
    for name, gradient in alone[1].items():
        assert torch.allclose(together[1][name], gradient, atol=1e-5 * max(1.0, float(gradient.abs().max()))), name


def test_a_shared_picture_equals_the_picture_encoded_for_each_question(base, sources):
    stepper = stepper_of(base, sources)
    model, store, items = stepper.model, stepper.store, stepper.items[:6]
    shared = gradients(stepper, [make_batch(model, store, items)])
    alone = gradients(stepper, [make_batch(model, store, [item]) for item in items])
    assert shared[0] == pytest.approx(alone[0], rel=1e-5)
    for name, gradient in alone[1].items():
        assert torch.allclose(shared[1][name], gradient, atol=1e-5 * max(1.0, float(gradient.abs().max()))), name


def test_short_pictures_share_a_row_and_do_not_see_each_other(base, sources):
    assert pack([10, 4, 5, 6, 3]) == [[0], [3, 1], [2, 4]]
    stepper = stepper_of(base, sources, FIRST)
    items = [
        *stepper.items[:3],
        stepper.items[4],
        stepper.items[7],
    ]  # three questions on one picture, one on two others
    batch = make_image_first(stepper.model, stepper.store, items)
    assert len(batch.ids) == 2 and batch.image_of_row.tolist() == [0, 1, 2]
    mask, row = batch.attention_mask()[1, 0], 1
    second = (batch.picture[row] == 1) & batch.real[row]
    first = (batch.picture[row] == 0) & batch.real[row]
    assert second.any() and not mask[second][:, first].any() and not mask[first][:, second].any()
    assert batch.position_ids[row, second][:4].tolist() == [1, 2, 3, 4]


def test_mask_of_the_image_first_layout_as_drawn(base):
    tokenizer = load(base).tokenizer
    row = encode(tokenizer, 2, "a", "b")  # i i bos a \\n b eos
    batch = collate([row], [0], torch.zeros(1, 3, 28, 28), 0, layout="image-first")
    drawn = batch.attention_mask()[0, 0].long().tolist()
    assert drawn[:4] == [[1, 1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0]]
    assert (batch.labels[0] != IGNORED).tolist() == [False] * 5 + [True] * 2


def test_the_last_layer_at_some_positions_equals_it_at_all(base, sources):
    stepper = stepper_of(base, sources)
    model = stepper.model
    batch = make_batch(model, stepper.store, stepper.items[:7])
    features = model.family.encode(model.network, batch.pixels)
    at = batch.labels != IGNORED
    at[3] = False  # a row of which nothing is wanted
    at[4, :] = batch.real[4]  # and one of which all is
    some = model.family.hidden(model.network, batch, features, at=at)
    whole = model.family.hidden(model.network, batch, features)
    assert torch.allclose(some, whole[at], atol=1e-5) and some.shape[0] == int(at.sum())
    layer = model.family.core(model.network).model.language_model.layers[-1]
    assert not layer._forward_pre_hooks  # it takes itself away
    layer.gradient_checkpointing = True
    with last_layer_at(layer.train(), at, batch.attention_mask) as chosen:
        assert torch.equal(chosen(whole), whole[at]) and not layer._forward_pre_hooks


def test_an_adapter_is_asked_and_explained_under_its_own_layout(base, sources, tmp_path):
    run(base, sources, tmp_path / "s", FIRST, steps=3)
    model = load(base, tmp_path / "s" / "adapter")
    assert model.layout == "image-first" and load(base).layout == "prefix"
    picture = sources[0][0].image(sources[0][1][0].image)
    turn = prepare(model, picture, "what organ?", "left lung")
    assert turn.prompt_tokens[0] == "answer" and len(turn.columns) == 3 and turn.batch.causal.sum() > 3
    pixels = model.form.normalise(model.form.resize(picture)[None])
    options = ("liver", "left lung")
    asked = [Question(0, "answer en what organ?", options), Question(0, "answer en what modality is shown?", options)]
    answers = answer_batch(model, pixels, asked, max_new_tokens=4)
    for question, answer in zip(asked, answers):  # the same by one forward pass of prompt and option, right padded
        for option, logprob in zip(options, answer.option_logprobs):
            row = encode(model.tokenizer, 4, question.prompt, option)
            batch = collate([row], [0], pixels, 0, layout="image-first")
            with torch.no_grad():
                hidden = model.family.hidden(model.network, batch, model.family.encode(model.network, pixels))
                logits = model.family.logits(model.network, hidden)[0]
            logits[:, model.family.banned_tokens(model.tokenizer)] = -torch.inf
            logprobs = logits.log_softmax(-1)
            naive = sum(logprobs[t - 1, row.ids[t]].item() for t in range(row.num_prefix, len(row.ids)))
            assert logprob == pytest.approx(naive, abs=1e-4)


def test_full_fine_tuning_remembers_its_layout_and_wording(base, sources, tmp_path):
    run(base, sources, tmp_path / "s", Adapt(method="full", layout="image-first"), steps=1)
    assert load(base, tmp_path / "s" / "adapter").layout == "image-first"
    assert load(tmp_path / "s" / "adapter").layout == "image-first"


def test_an_adapter_of_another_layout_modules_or_rank_is_refused_naming_both(base, sources, tmp_path):
    run(base, sources, tmp_path / "s", FIRST, steps=2)
    adapter = tmp_path / "s" / "adapter"
    for changed, words in (
        ({"layout": None}, "trained under the layout image-first, and the recipe says prefix"),
        ({"rank": 5}, "this adapter has r 4, and the recipe 5"),
        ({"language": ("q_proj",)}, r"this adapter has target_modules .*v_proj.*, and the recipe .*q_proj"),
        ({"method": "rslora"}, "this adapter has use_rslora False, and the recipe True"),
    ):
        with pytest.raises(InputError, match=words):
            trainable_model(str(base), adapter, FIRST.model_copy(update=changed), "paligemma")
    other = save_tiny(tmp_path / "other", vocab_size=1500)
    with pytest.raises(InputError, match=rf"trained on '{base}', not on '{other}'"):
        trainable_model(str(other), adapter, FIRST, "paligemma")


def test_flash_attention_is_refused(base):
    with pytest.raises(InputError, match="attention 'flash_attention_2' drops the prefix mask; use sdpa or eager"):
        load(base, attention="flash_attention_2")


def test_pictures_of_any_shape_reach_both_layouts(base):
    model = load(base)
    tall = model.form.normalise(model.form.resize(Image.new("RGB", (9, 400), "white"))[None])
    assert tall.shape == (1, 3, 28, 28)
