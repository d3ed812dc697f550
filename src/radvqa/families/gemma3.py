"""Gemma 3 and MedGemma: SigLIP tower, pooling projector, Gemma 3; only the image block is bidirectional, all text is causal.

    <bos><start_of_turn>user \\n\\n<start_of_image> <image> x N <end_of_image> \\n\\n prompt <end_of_turn> model  answer <end_of_turn>
    |---------------- the picture's, shared by its questions -----------------| question, causal | causal, supervised |

In: a network and a Batch. Out: as PaliGemma's. Its own mask is the layout image-first. Pan and scan, which cuts a picture
into several, is left out: a picture is 256 tokens.
"""

from __future__ import annotations

import re
from typing import Any

from transformers import Gemma3ForConditionalGeneration, PreTrainedTokenizerBase

from radvqa.batch import Encoded
from radvqa.errors import InputError
from radvqa.families.paligemma import PaliGemma

TURN = "<start_of_turn>user\n\n\n<start_of_image>{image}<end_of_image>\n\n{prompt}<end_of_turn>\n<start_of_turn>model\n"
"""As the checkpoints' chat template and processor word one question about one picture."""


class Gemma3(PaliGemma):
    """What is particular to Gemma 3."""

    name = "gemma3"
    network_class: Any = Gemma3ForConditionalGeneration
    layout = "image-first"
    turn, end = TURN, "<end_of_turn>"
    after = 1
    """<end_of_image> belongs to the picture."""
    block = True

    def image_tokens_a_side(self) -> int:
        return int(self.config.mm_tokens_per_image**0.5)

    def tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        """An answer ends with its turn."""
        tokenizer.eos_token = self.end
        return tokenizer

    def tokens(self, tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str | None) -> Encoded:
        """The turn is tokenised with one image token, which then stands for all of them."""
        image = tokenizer.convert_ids_to_tokens(self.image_token_id)
        text = self.turn.format(image=image, prompt=prompt)
        ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
        first = ids.index(self.image_token_id)
        prefix = [*ids[:first], *[self.image_token_id] * self.num_image_tokens, *ids[first + 1 :]]
        suffix = []
        if answer is not None:
            suffix = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        return Encoded((*prefix, *suffix), len(prefix), self.num_image_tokens, first, self.after, self.block)

    def banned_tokens(self, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """Ids that are no words of an answer: special tokens but the end, and unused embedding rows."""
        markers = re.compile(r"<(start|end)_of_(image|turn)>|<unused\d+>")
        banned = {i for token, i in tokenizer.get_vocab().items() if markers.fullmatch(token)}
        banned |= {self.image_token_id, *tokenizer.all_special_ids, *range(len(tokenizer), self.text.vocab_size)}
        return sorted(banned - {tokenizer.eos_token_id, None})

    def projector_target(self) -> str:
        raise InputError(f"{self.name}'s projector has no linear layer", key="adapt.projector", fix="use false")
