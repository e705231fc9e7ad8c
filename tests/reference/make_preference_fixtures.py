"""Writes fixtures/preference/: losses of pairs and of sampled answers by PyTorch, in float64, with gradients.

The model is that of fixtures/gelu_new, whose parameters are read; the reference is the same with
noise. The losses are written out from the papers; they are TRL 1.16's (dpo_trainer.py: sigmoid, ipo;
experimental/cpo: simpo; grpo_trainer.py: loss type grpo, scale_rewards group, one iteration).
Needs torch and safetensors. Run: python make_preference_fixtures.py (rewrites the fixtures, some 3 s).
"""

import json
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from make_fixtures import leaves, sequence_logits

HERE = pathlib.Path(__file__).parent / "fixtures"
# What is compared of the gradients: from both ends of the model, all kinds of shapes.
COMPARED = [
    "transformer.wte.weight",
    "transformer.h.0.attn.c_attn.weight",
    "transformer.h.1.mlp.c_proj.weight",
    "transformer.ln_f.weight",
]
PAIR_CASES = {
    "dpo": {"method": "dpo", "beta": 0.3, "gamma": 0.0, "sft_weight": 0.0},
    "dpo_sft": {"method": "dpo", "beta": 0.1, "gamma": 0.0, "sft_weight": 0.7},
    "ipo": {"method": "ipo", "beta": 0.4, "gamma": 0.0, "sft_weight": 0.0},
    "simpo": {"method": "simpo", "beta": 2.0, "gamma": 0.5, "sft_weight": 0.0},
}
GRPO_BETA, GROUP = 0.2, 3


def random_sequence(vocabulary, prompt, answer, generator):
    """A prompt's and an answer's tokens; the prompt may be given."""
    if isinstance(prompt, int):
        prompt = torch.randint(vocabulary, (prompt,), generator=generator).tolist()
    answer = torch.randint(vocabulary, (answer,), generator=generator).tolist()
    return {"tokens": prompt + answer, "prompt": len(prompt)}


def answer_logps(c, p, sequence):
    """log p of each of the answer's tokens [T]."""
    tokens = torch.tensor(sequence["tokens"])
    logps = sequence_logits(c, p, tokens[:-1]).log_softmax(-1)
    own = logps.gather(1, tokens[1:, None])[:, 0]
    return own[sequence["prompt"] - 1 :]


def pair_loss(case, logps, references):
    """One pair's loss and margin; both lists are of the chosen answer and the rejected one."""
    beta, method = case["beta"], case["method"]
    lengths = [len(own) for own in logps]
    ratios = [(own - ref).sum() for own, ref in zip(logps, references)]
    if method == "dpo":
        margin = beta * (ratios[0] - ratios[1])
        loss = -F.logsigmoid(margin)
    elif method == "ipo":
        h = ratios[0] / lengths[0] - ratios[1] / lengths[1]
        margin = beta * h
        loss = (h - 1 / (2 * beta)) ** 2
    else:
        margin = beta * (logps[0].mean() - logps[1].mean())
        loss = -F.logsigmoid(margin - case["gamma"])
    return loss - case["sft_weight"] * logps[0].mean(), margin


def grpo_loss(logps, references, advantage):
    """One answer's loss, and its divergence from the reference."""
    ratio = torch.exp(logps - logps.detach())
    log = references - logps
    k3 = torch.exp(log) - log - 1
    return (-ratio * advantage + GRPO_BETA * k3).mean(), k3.mean()


def main():
    c = json.loads((HERE / "gelu_new" / "config.json").read_text())
    parameters = load_file(HERE / "gelu_new" / "model.safetensors")
    generator = torch.Generator().manual_seed(20240713)
    noisy = {
        name: value + 0.02 * torch.randn(value.shape, generator=generator)
        for name, value in parameters.items()
    }
    reference = leaves(noisy, torch.float64)
    arrays, vocabulary = {}, c["vocab_size"]

    def gradients(name, total, p):
        total.backward()
        for tensor in COMPARED:
            arrays[f"{name}.{tensor}"] = p[tensor].grad.float().contiguous()

    pairs = []
    for prompt, chosen, rejected in [(4, 7, 5), (9, 3, 11), (2, 6, 6)]:
        first = random_sequence(vocabulary, prompt, chosen, generator)
        question = first["tokens"][:prompt]
        pairs.append([first, random_sequence(vocabulary, question, rejected, generator)])
    with torch.no_grad():
        pair_references = [[answer_logps(c, reference, own) for own in pair] for pair in pairs]
    cases = {}
    for name, case in PAIR_CASES.items():
        p = leaves(parameters, torch.float64)
        results = [
            pair_loss(case, [answer_logps(c, p, own) for own in pair], refs)
            for pair, refs in zip(pairs, pair_references)
        ]
        losses, margins = zip(*results)
        gradients(name, sum(losses) / len(losses), p)
        cases[name] = {
            **case,
            "losses": [loss.item() for loss in losses],
            "margins": [margin.item() for margin in margins],
        }

    answers = []
    for prompt, lengths in [(5, (6, 2, 9)), (3, (4, 8, 1))]:
        question = torch.randint(vocabulary, (prompt,), generator=generator).tolist()
        answers += [random_sequence(vocabulary, question, n, generator) for n in lengths]
    rewards = torch.tensor([0.5, 2.25, 1.0, 3.0, 3.0, 0.25], dtype=torch.float64)
    groups = rewards.view(-1, GROUP)
    advantages = (groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)
    with torch.no_grad():
        answer_references = [answer_logps(c, reference, own) for own in answers]
    p = leaves(parameters, torch.float64)
    losses, divergences = zip(*[
        grpo_loss(answer_logps(c, p, own), refs, advantage)
        for own, refs, advantage in zip(answers, answer_references, advantages.flatten())
    ])
    gradients("grpo", sum(losses) / len(losses), p)

    out = HERE / "preference"
    out.mkdir(exist_ok=True)
    save_file(arrays, out / "gradients.safetensors")
    expected = {
        "pairs": pairs,
        "pair_references": [[own.sum().item() for own in pair] for pair in pair_references],
        "cases": cases,
        "grpo": {
            "beta": GRPO_BETA,
            "group": GROUP,
            "answers": answers,
            "rewards": rewards.tolist(),
            "advantages": advantages.flatten().tolist(),
            "references": [own.tolist() for own in answer_references],
            "losses": [loss.item() for loss in losses],
            "divergences": [own.item() for own in divergences],
        },
    }
    (out / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    for name, case in cases.items():
        print(name, case["losses"], case["margins"])
    print("grpo", expected["grpo"]["losses"], expected["grpo"]["divergences"])


main()
