"""A real model server on this machine, `transformers serve`, over checkpoints small enough for a test.

    with served(tmp_path) as url:
        Calls(store, url, str(save_paligemma(tmp_path / "vision")))

A model is named by its folder and loaded when it is first asked. `save_paligemma` is the built-in model with a chat
template, so that what the server answers about a picture is what the in-process engine answers; `save_llama` reads any text and writes nonsense: what it speaks is the protocol.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from radvqa.model import checkpoint_path

QUESTION = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else 'answer en ' + part['text'] }}"
    "{% endfor %}{% endfor %}"
)
CHAT = (
    "{% for message in messages %}{{ message['role'] + ':' + message['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
START_S = 180


def save_paligemma(folder: Path) -> Path:
    """The built-in model with the chat template of PaliGemma's own prompt."""
    shutil.copytree(checkpoint_path("radvqa-tiny"), folder)
    (folder / "chat_template.jinja").write_text(QUESTION)
    return folder


def save_llama(folder: Path) -> Path:
    """Two random layers over a tokenizer that knows every byte."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(["<eos>", *letters])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>")
    fast.chat_template = CHAT
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=8192, bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@contextmanager
def served(log_folder: Path) -> Iterator[str]:
    """The address, up to and with /v1, of a server for the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "transformers"), "serve", "--host", "127.0.0.1"]
    quiet = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    log = log_folder / "serve.log"
    with log.open("w") as said:
        server = subprocess.Popen(
            [*command, "--port", str(port), "--device", "cpu"], env=quiet, stdout=said, stderr=said
        )
        try:
            _wait(server, f"http://127.0.0.1:{port}/health", log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(30)


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                if reply.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"no server after {START_S} s: {log.read_text()[-2000:]}")
