"""Writes fixtures/generation.json: what transformers generates with the models of make_fixtures.py.

Run: python make_generation_fixtures.py (needs torch, transformers and safetensors).
"""

import json
import pathlib

import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

HERE = pathlib.Path(__file__).parent / "fixtures"
PROMPTS = [[7, 30, 101, 4], [200], [11, 12, 13, 11, 12, 13, 11], [150, 3, 77, 91, 20, 5, 60, 61], [42, 42]]
MAX_NEW_TOKENS = 20
CASES = {
    "greedy": {},
    "no repeat 3-gram": {"no_repeat_ngram_size": 3},
    "repetition penalty": {"repetition_penalty": 1.2},
    "beams, length penalty 0.6": {"num_beams": 4, "length_penalty": 0.6},
    "beams, length penalty 1": {"num_beams": 4, "length_penalty": 1.0},
    "beams, early stopping": {"num_beams": 4, "length_penalty": 1.0, "early_stopping": True},
    "beams, no repeat 3-gram": {"num_beams": 4, "no_repeat_ngram_size": 3},
    "beams, repetition penalty": {"num_beams": 3, "repetition_penalty": 1.2},
}


def main():
    out = []
    for name in ("gelu", "gelu_new"):
        config = GPT2Config(**json.loads((HERE / name / "config.json").read_text()))
        model = GPT2LMHeadModel(config).eval()
        state = load_file(HERE / name / "model.safetensors")
        model.load_state_dict(state, strict=False)
        model.tie_weights()
        # An end that some texts find early and others do not: the token that greedy texts end in most.
        def greedy(prompt):
            ids = torch.tensor([prompt])
            return model.generate(ids, max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0)
        tails = [greedy(p)[0, len(p) :].tolist() for p in PROMPTS]
        end = tails[2][5]
        for case, options in CASES.items():
            for prompt in PROMPTS:
                ids = torch.tensor([prompt])
                with torch.no_grad():
                    result = model.generate(
                        ids,
                        attention_mask=torch.ones_like(ids),
                        max_new_tokens=MAX_NEW_TOKENS,
                        do_sample=False,
                        eos_token_id=end,
                        pad_token_id=0,
                        **options,
                    )[0, len(prompt) :].tolist()
                if end in result:
                    result = result[: result.index(end)]
                out.append(
                    {
                        "model": name,
                        "case": case,
                        "options": options,
                        "prompt": prompt,
                        "end": end,
                        "max_tokens": MAX_NEW_TOKENS,
                        "tokens": result,
                    }
                )
    lines = ",\n".join(json.dumps(case) for case in out)
    (HERE / "generation.json").write_text(f"[\n{lines}\n]\n")
    for case in out:
        print(case["model"], case["case"], case["prompt"], "->", case["tokens"])


main()
