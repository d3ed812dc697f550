"""Gemma 3, LLaVA and PaliGemma 2: tokens, pixels and logits are the library's own, packed rows equal one by one."""

import peft
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import Gemma3ForConditionalGeneration, LlavaForConditionalGeneration

from families_tiny import gemma3_processor, llava_processor, save_gemma3, save_llava, save_paligemma2
from radvqa import train
from radvqa.errors import InputError
from radvqa.layouts import make_batch, make_image_first
from radvqa.model import adapt, load, num_trainable
from radvqa.recipe_sections import Adapt
from test_layouts import gradients
from training_tiny import LORA, run, stepper_of

SAVE = {"gemma3": save_gemma3, "llava": save_llava, "paligemma2": save_paligemma2}
CHATS = {
    "gemma3": (
        gemma3_processor,
        Gemma3ForConditionalGeneration,
        "<bos><start_of_turn>user\n<start_of_image>{}<end_of_turn>\n<start_of_turn>model\n{}<end_of_turn>",
    ),
    "llava": (llava_processor, LlavaForConditionalGeneration, "<bos>USER: <image>\n{} ASSISTANT: {}<eos>"),
}
ASKED = [("is there a mass in the left lung?", "no"), ("what organ?", "left lung"), ("what modality?", "mr")]


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    return {name: save(tmp_path_factory.mktemp(name)) for name, save in SAVE.items()}


@pytest.mark.parametrize("name", CHATS)
def test_tokens_pixels_and_logits_are_the_librarys(bases, sources, name):
    """One row a question with its picture, as the family's processor and forward have it, against ours under its layout."""
    make, network_class, chat = CHATS[name]
    model, pictures = (
        load(bases[name], style="plain"),
        [Image.new("RGB", (70, 40), "gray"), sources[0][0].image(sources[0][1][0].image)],
    )
    rows = [(0, *ASKED[0]), (1, *ASKED[1])]
    theirs = make(bases[name])(
        images=[[pictures[i]] for i, _, _ in rows] if name == "gemma3" else [pictures[i] for i, _, _ in rows],
        text=[chat.format(q, a) for _, q, a in rows], return_tensors="pt", padding=True, padding_side="right",
        add_special_tokens=False,
    )  # fmt: skip
    pixels = torch.stack([model.form.normalise(model.form.resize(picture)[None])[0] for picture in pictures])
    assert torch.allclose(pixels, theirs["pixel_values"], atol=1e-6)
    encoded = [model.encode(q, a) for _, q, a in rows]
    for row, ids, real in zip(encoded, theirs["input_ids"], theirs["attention_mask"]):
        assert list(row.ids) == ids[real.bool()].tolist()
    from radvqa.batch import collate

    batch = collate(encoded, [0, 1], pixels, model.tokenizer.pad_token_id, layout=model.layout)
    assert model.layout == "image-first"
    with torch.no_grad():
        ours = model.family.logits(
            model.network, model.family.hidden(model.network, batch, model.family.encode(model.network, pixels))
        )
        network = network_class.from_pretrained(bases[name], dtype=torch.float32).eval()
        expected = network(**theirs).logits
    assert torch.allclose(ours[batch.real], expected[batch.real], atol=1e-4)


@pytest.mark.parametrize("name", SAVE)
def test_packed_rows_equal_one_question_at_a_time(bases, sources, name):
    """Three pictures of 3, 3 and 1 questions, in loss and gradients, under the family's own mask (PaliGemma 2: asked for)."""
    stepper = stepper_of(bases[name], sources, Adapt(rank=4, layout="image-first"))
    model, store, items = stepper.model, stepper.store, [*stepper.items[:6], stepper.items[9]]
    packed = make_image_first(model, store, items)
    assert len(packed.ids) < len(items)
    together = gradients(stepper, [packed])
    alone = gradients(stepper, [make_batch(model, store, [item]) for item in items])
    assert together[0] == pytest.approx(alone[0], rel=1e-5)
    for parameter, gradient in alone[1].items():
        assert torch.allclose(together[1][parameter], gradient, atol=2e-5 * max(1.0, float(gradient.abs().max()))), (
            parameter
        )


@pytest.mark.parametrize("name", SAVE)
def test_a_stage_trains_and_its_adapter_answers(bases, sources, tmp_path, name):
    settings = LORA.model_copy(update={"vision": ("q_proj", "fc1")})
    summary = run(bases[name], sources, tmp_path / "s", settings, steps=3)
    assert summary["layout"] == ("prefix" if name == "paligemma2" else "image-first")
    model = load(bases[name], tmp_path / "s" / "adapter")
    assert model.layout == summary["layout"]
    picture = sources[0][0].image(sources[0][1][0].image)
    answer = model.answer(picture, "what organ?", ("liver", "left lung"))
    assert answer.token_logprobs and len(answer.option_logprobs) == 2
    assert not {"<image>", "<start_of_turn>", "<end_of_turn>"} & set(answer.text.split())
    plain = peft.PeftModel.from_pretrained(load(bases[name]).network, tmp_path / "s" / "adapter")
    assert any(float(p.detach().abs().max()) > 0 for n, p in plain.named_parameters() if "lora_B" in n)


def test_lora_counts_by_hand(bases):
    """r 2. Gemma 3 and LLaVA, q of 2 layers: 2 x 2 x (32 + 32); fc1 2 x 2 x (32 + 64); its projector 2 x (32 + 32) twice."""
    settings = Adapt(rank=2, vision=(), language=("q_proj",))
    assert num_trainable(adapt(load(bases["gemma3"]), settings)) == {"language": 256, "vision": 0, "projector": 0}
    # LLaVA's features leave CLIP before its last layer: of 3 layers 2 are adapted
    towered = Adapt(rank=2, vision=("fc1",), language=())
    assert num_trainable(adapt(load(bases["llava"]), towered)) == {"language": 0, "vision": 384, "projector": 0}
    settings = settings.model_copy(update={"projector": True})
    assert num_trainable(adapt(load(bases["llava"]), settings)) == {"language": 256, "vision": 0, "projector": 256}
    with pytest.raises(InputError, match=r"adapt\.projector: gemma3's projector has no linear layer; use false"):
        adapt(load(bases["gemma3"]), settings)


@pytest.mark.parametrize("name", CHATS)
def test_the_prefix_layout_is_refused_where_it_is_not_the_models(bases, name):
    with pytest.raises(
        InputError, match=rf"adapt\.layout: {name} was trained under the mask of image-first, not of prefix"
    ):
        adapt(load(bases[name]), Adapt(layout="prefix"))


def test_capped_attention_scores_are_computed_as_trained(bases, sources):
    """sdpa leaves the cap out: it is refused, and the default is eager for the language model alone."""
    with pytest.raises(InputError, match="attention: sdpa does not cap attention scores, as gemma2 does; use eager"):
        load(bases["paligemma2"], attention="sdpa")
    models = [load(bases["paligemma2"], attention=attention) for attention in (None, "eager")]
    core = models[0].network.model
    assert core.language_model.config._attn_implementation == "eager"
    assert core.vision_tower.config._attn_implementation == "sdpa"
    picture = sources[0][0].image(sources[0][1][0].image)
    a, b = (model.answer(picture, "what organ?") for model in models)
    assert a.text == b.text and a.logprob == pytest.approx(b.logprob, abs=1e-4)


def test_the_middle_of_a_long_picture_is_seen_as_by_clips_processor(bases):
    from transformers import CLIPImageProcessor

    form, theirs = load(bases["llava"]).form, CLIPImageProcessor.from_pretrained(bases["llava"])
    generator = torch.Generator().manual_seed(0)
    for height, width in ((40, 97), (301, 64), (28, 28), (33, 35)):
        values = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8).numpy()
        picture = Image.fromarray(values)
        expected = theirs(picture, return_tensors="pt")["pixel_values"]
        assert torch.allclose(form.normalise(form.resize(picture)[None]), expected, atol=1e-6)


def test_what_a_cropping_processor_hides_is_not_explained(bases, sources):
    picture = sources[0][0].image(sources[0][1][0].image)
    with pytest.raises(InputError, match="llava's processor cuts a picture's edges away"):
        load(bases["llava"]).explain(picture, "what organ?")
    assert load(bases["gemma3"]).explain(picture, "what organ?", method="raw").values.shape[1:] == (2, 2)


@pytest.mark.parametrize("name", CHATS)
def test_full_fine_tuning_goes_on_after_a_cut_although_some_weights_are_never_reached(
    bases, sources, tmp_path, name, monkeypatch
):
    settings, original = Adapt(method="full"), train.Stepper.step
    run(bases[name], sources, tmp_path / "whole", settings, steps=3, lr=1e-3)

    def killed(self, step):
        if step == 2:
            raise KeyboardInterrupt
        return original(self, step)

    monkeypatch.setattr(train.Stepper, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        run(bases[name], sources, tmp_path / "cut", settings, steps=3, lr=1e-3, checkpoint_every_s=0)
    monkeypatch.setattr(train.Stepper, "step", original)
    run(bases[name], sources, tmp_path / "cut", settings, steps=3, lr=1e-3, checkpoint_every_s=0)
    whole, cut = (load_file(tmp_path / x / "adapter" / "model.safetensors") for x in ("whole", "cut"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
