"""Tokens, masks, labels, positions and prompts: what goes wrong silently in PaliGemma, made loud."""

import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, PaliGemmaProcessor, SiglipImageProcessor

from radvqa.batch import IGNORED, as_mask, collate, collate_image_first, encode, prefix_visible
from radvqa.errors import InputError
from radvqa.families import PaliGemma
from radvqa.prompt import prompt, sample_prompt, sample_target
from radvqa.sample import Sample
from tiny import tiny_network, tiny_tokenizer

PROMPTS = ["answer en is there a mass?", "answer en what organ?"]
ANSWERS = ["yes", "left lung"]


def processor(tokenizer, num_image_tokens=4):
    pictures = SiglipImageProcessor(size={"height": 28, "width": 28}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    pictures.image_seq_length = num_image_tokens
    return PaliGemmaProcessor(image_processor=pictures, tokenizer=tokenizer)


def batch_of(tokenizer, side="right", answers=ANSWERS, prompts=PROMPTS):
    torch.manual_seed(1)
    rows = [encode(tokenizer, 4, p, a) for p, a in zip(prompts, answers)]
    return collate(
        rows, range(len(rows)), torch.randn(len(rows), 3, 28, 28), tokenizer.pad_token_id, side=side, layout="prefix"
    )


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def network():
    return tiny_network()


@pytest.fixture(scope="module")
def family(network):
    return PaliGemma(network.config)


def logits_of(network, family, batch):
    with torch.no_grad():
        return family.logits(network, family.hidden(network, batch, family.encode(network, batch.pixels)))


def test_tokens_types_and_labels_equal_the_processors(tokenizer):
    pictures = [Image.new("RGB", (40, 30)), Image.new("RGB", (20, 20))]
    theirs = processor(tokenizer)(images=pictures, text=PROMPTS, suffix=ANSWERS, return_tensors="pt", padding=True)
    ours = batch_of(tokenizer, side="left")  # the tiny tokenizer pads on the left
    assert torch.equal(ours.ids, theirs["input_ids"])
    assert torch.equal(ours.labels, theirs["labels"])
    assert torch.equal(ours.causal.long(), theirs["token_type_ids"])
    assert torch.equal(ours.real.long(), theirs["attention_mask"])


def test_tokens_equal_the_processors_with_the_real_gemma_tokenizer(real_data):
    tokenizer = AutoTokenizer.from_pretrained(real_data / "tokenizer_gemma")
    theirs = processor(tokenizer)(images=[Image.new("RGB", (9, 9))] * 2, text=PROMPTS, suffix=ANSWERS, padding=True)[
        "input_ids"
    ]
    for prompt_, answer, ids in zip(PROMPTS, ANSWERS, theirs):
        ours = encode(tokenizer, 4, prompt_, answer).ids
        assert list(ours) == [i for i in ids if i != tokenizer.pad_token_id]
        assert ours[4] == tokenizer.bos_token_id and ours.count(tokenizer.bos_token_id) == 1
        assert ours.count(108) == 1  # the newline, once


def test_nothing_is_truncated(tokenizer):
    long = " ".join(["mass"] * 5000)
    assert len(encode(tokenizer, 4, long, "yes").ids) == 4 + 1 + 5000 + 1 + 2  # image, bos, words, newline, yes eos


def test_labels_only_on_answer_and_eos(tokenizer):
    batch = batch_of(tokenizer)
    supervised = [row[row != IGNORED].tolist() for row in batch.labels]
    words = tokenizer.convert_tokens_to_ids
    assert supervised == [
        [words("yes"), tokenizer.eos_token_id],
        [words("left"), words("lung"), tokenizer.eos_token_id],
    ]
    assert batch.num_supervised == 5


def test_without_an_answer_nothing_is_supervised(tokenizer):
    batch = batch_of(tokenizer, answers=[None, None])
    assert batch.num_supervised == 0 and not batch.causal.any()


def test_mask_as_drawn():
    causal = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 1, 0]]).bool()
    real = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 1], [1, 1, 1, 0]]).bool()
    full, left, right = as_mask(prefix_visible(causal, real), causal)[:, 0].long().tolist()
    assert full == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert left == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 1, 1]]
    assert right == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0]]


def test_positions_count_from_one_on_the_first_real_token(tokenizer):
    batch = batch_of(tokenizer, side="left")
    assert batch.position_ids[0].tolist() == list(range(1, 16))
    assert batch.position_ids[1].tolist() == [1, *range(1, 15)]  # one padding in front


@pytest.mark.parametrize("side", ["left", "right"])
def test_logits_and_loss_equal_the_librarys_forward(tokenizer, network, family, side):
    batch = batch_of(tokenizer, side)
    ours = logits_of(network, family, batch)
    with torch.no_grad():
        theirs = network(
            input_ids=batch.ids, pixel_values=batch.pixels, attention_mask=batch.real.long(),
            token_type_ids=batch.causal.long(), labels=batch.labels,
        )  # fmt: skip
    assert torch.allclose(ours[batch.real], theirs.logits[batch.real], atol=1e-4)
    here = batch.labels[:, 1:] != IGNORED
    loss = torch.nn.functional.cross_entropy(ours[:, :-1][here], batch.labels[:, 1:][here])
    assert loss.item() == pytest.approx(theirs.loss.item(), abs=1e-5)


def test_an_answer_token_does_not_reach_earlier_logits_and_the_prompt_does(tokenizer, network, family):
    batch = batch_of(tokenizer)
    before = logits_of(network, family, batch)
    last = int(batch.causal[1].nonzero().max())  # eos of row 1
    batch.ids[1, last - 1] = tokenizer.convert_tokens_to_ids("liver")
    after = logits_of(network, family, batch)
    assert torch.equal(before[1, : last - 1], after[1, : last - 1])
    assert not torch.allclose(before[1, last - 1], after[1, last - 1])
    batch.ids[1, 6] = tokenizer.convert_tokens_to_ids("mr")  # a word of the prompt: the image tokens in front see it
    assert not torch.allclose(after[1, 0], logits_of(network, family, batch)[1, 0])


def test_padding_and_neighbours_do_not_change_a_row(tokenizer, network, family):
    both, alone = batch_of(tokenizer), batch_of(tokenizer, prompts=PROMPTS[:1], answers=ANSWERS[:1])
    together = logits_of(network, family, both)[0]
    torch.manual_seed(1)
    alone.pixels[:] = both.pixels[:1]
    assert torch.allclose(together[both.real[0]], logits_of(network, family, alone)[0], atol=1e-5)


def test_one_picture_shared_equals_the_picture_repeated(tokenizer, network, family):
    rows = [encode(tokenizer, 4, p, a) for p, a in zip(PROMPTS, ANSWERS)]
    picture = torch.randn(1, 3, 28, 28)
    shared = collate(rows, [0, 0], picture, 0, layout="prefix")
    repeated = collate(rows, [0, 1], picture.repeat(2, 1, 1, 1), 0, layout="prefix")
    assert torch.allclose(logits_of(network, family, shared), logits_of(network, family, repeated), atol=1e-5)


def test_the_picture_matters_and_image_positions_come_from_the_ids(tokenizer, network, family):
    batch = batch_of(tokenizer, side="left")
    starts = [int((row == family.image_token_id).nonzero()[0]) for row in batch.ids]
    assert starts == [0, 1]  # 0 is a valid start; with padding on the left the others begin later
    before = logits_of(network, family, batch)
    batch.pixels[0] += 1
    after = logits_of(network, family, batch)
    assert not torch.allclose(before[0], after[0]) and torch.equal(before[1], after[1])


def test_the_prompt_of_training_is_the_prompt_of_prediction():
    sample = Sample(
        id="1", question=" Is there\n a mass? ", answers=("No  mass",), kind="open", split="train", source="x"
    )
    assert sample_prompt(sample) == prompt("Is there a mass?") == "answer en Is there a mass?"
    assert sample_target(sample) == "No mass"


def test_choices_are_worded_with_letters_and_unknown_styles_are_refused():
    assert prompt("Which?", ["ct", "mr"], "de", "paligemma") == "answer de Which? A: ct B: mr"
    assert prompt("Which?", style="plain") == "Which?"
    with pytest.raises(InputError, match="unknown prompt style 'x'; use paligemma or plain"):
        prompt("Which?", style="x")


def test_image_first_equals_each_question_alone_under_the_same_mask(tokenizer, network, family):
    """Two pictures, three questions and one: the losses of a row are those of its questions asked one by one."""
    asked = [
        [("is there a mass?", "no"), ("what organ?", "left lung"), ("where?", "liver")],
        [("is there a mass?", "yes")],
    ]
    groups = [[encode(tokenizer, 4, p, a) for p, a in some] for some in asked]
    pixels = torch.randn(2, 3, 28, 28)
    together = collate_image_first(groups, pixels, tokenizer.pad_token_id)
    logits = logits_of(network, family, together)
    for i, group in enumerate(groups):
        for number, question in enumerate(group, start=1):
            alone = collate_image_first([[question]], pixels[i : i + 1], tokenizer.pad_token_id)
            expected = logits_of(network, family, alone)[0, 4:]
            assert torch.allclose(logits[i, together.owner[i] == number], expected, atol=1e-5)
    assert together.num_supervised == sum(q.num_supervised for group in groups for q in group)
