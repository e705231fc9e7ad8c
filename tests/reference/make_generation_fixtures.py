"""Writes fixtures/generation/: a small random GPT-2 and what Hugging Face's generate says with it.

Every answer is generated in float32 and in float64, and kept only where both agree, so that no
answer hangs on a rounding. Needs torch, safetensors and transformers 5; run:
python make_generation_fixtures.py (some 60 s).
"""

import json
import pathlib

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

EOS = 5
PROMPTS = 16
LONGEST_PROMPT = 20
MAX_NEW_TOKENS = 40

CONFIGURATION = {
    "model_type": "gpt2",
    "vocab_size": 60,
    "n_positions": 64,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 2,
    "n_inner": None,
    "activation_function": "gelu_new",
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "layer_norm_epsilon": 1e-5,
}

WAYS = [
    {},
    {"repetition_penalty": 1.2},
    {"repetition_penalty": 0.8},
    {"no_repeat_ngram_size": 3},
    {"no_repeat_ngram_size": 2, "repetition_penalty": 1.2},
    {"min_new_tokens": 12},
    {"num_beams": 4, "length_penalty": 0.6, "early_stopping": False},
    {"num_beams": 4, "length_penalty": 0.6, "early_stopping": True},
    {"num_beams": 4, "length_penalty": 1.0, "early_stopping": False},
    {"num_beams": 4, "length_penalty": 1.0, "early_stopping": True},
    {"num_beams": 3, "length_penalty": 2.0, "early_stopping": False},
    {"num_beams": 3, "length_penalty": -1.0, "early_stopping": False},
    {"num_beams": 4, "no_repeat_ngram_size": 3},
    {"num_beams": 2, "repetition_penalty": 1.2, "min_new_tokens": 8},
]


def make_model():
    torch.manual_seed(7)
    model = GPT2LMHeadModel(GPT2Config(**CONFIGURATION, initializer_range=0.3, bos_token_id=EOS, eos_token_id=EOS))
    model.eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.1)
        # Longer than the other tokens' rows: texts end now and then.
        model.transformer.wte.weight[EOS] *= 1.4
    return model


def answer(model, prompt, way):
    """The tokens of an answer, and whether it ended by itself."""
    tokens = torch.tensor([prompt])
    said = model.generate(
        tokens,
        attention_mask=torch.ones_like(tokens),
        max_new_tokens=MAX_NEW_TOKENS,
        do_sample=False,
        eos_token_id=EOS,
        pad_token_id=EOS,
        **way,
    )[0, len(prompt) :].tolist()
    ended = EOS in said
    return said[: said.index(EOS)] if ended else said, ended


def main():
    torch.set_num_threads(1)
    model = make_model()
    wide = make_model().double()
    generator = torch.Generator().manual_seed(8)
    prompts = []
    for _ in range(PROMPTS):
        length = int(torch.randint(1, LONGEST_PROMPT + 1, (1,), generator=generator))
        prompt = torch.randint(CONFIGURATION["vocab_size"], (length,), generator=generator)
        prompts.append(prompt.tolist())

    cases = []
    for way in WAYS:
        answers = []
        for index, prompt in enumerate(prompts):
            tokens, ended = answer(model, prompt, way)
            if (tokens, ended) == answer(wide, prompt, way):
                answers.append({"prompt": index, "tokens": tokens, "ended": ended})
        cases.append({"options": way, "answers": answers})
        lengths = [len(a["tokens"]) for a in answers]
        print(way, f"{len(answers)} of {PROMPTS} agree,", sum(a["ended"] for a in answers), "end;", *lengths)

    directory = pathlib.Path(__file__).parent / "fixtures" / "generation"
    directory.mkdir(parents=True, exist_ok=True)
    expected = {"eos_token_id": EOS, "max_new_tokens": MAX_NEW_TOKENS, "prompts": prompts, "cases": cases}
    (directory / "config.json").write_text(json.dumps(CONFIGURATION, indent=2) + "\n")
    (directory / "expected.json").write_text(json.dumps(expected) + "\n")
    # The tied head is the embedding once more.
    parameters = {n: p.detach().contiguous() for n, p in model.state_dict().items() if n != "lm_head.weight"}
    save_file(parameters, directory / "model.safetensors")


if __name__ == "__main__":
    main()
