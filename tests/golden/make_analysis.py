#!/usr/bin/env python3
"""Expected figures of `sals analyze` for a micro checkpoint, computed with numpy in float64 and nothing of Sals: make_analysis.py > analysis.json

Forward pass of a LLaMA-like model, second moments of its keys before and after rope, and what selections keep of the exact attention.
"""
import json
import os
import struct

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = os.path.join(HERE, "micro", "mistral-gqa")
RANK, SCORE_RANK, SINK, RECENT, SPARSITY, ROWS, LENGTH, PAGE = 16, 8, 4, 8, 8, 8, 200, 64

config = json.load(open(os.path.join(MODEL, "config.json")))
raw = open(os.path.join(MODEL, "model.safetensors"), "rb").read()
size = struct.unpack("<Q", raw[:8])[0]
W = {}
for name, entry in json.loads(raw[8:8 + size]).items():
    if name != "__metadata__":
        a, b = entry["data_offsets"]
        assert entry["dtype"] == "F32"
        W[name] = np.frombuffer(raw[8 + size + a:8 + size + b], np.float32).astype(np.float64).reshape(entry["shape"])
L, HQ, HK = config["num_hidden_layers"], config["num_attention_heads"], config["num_key_value_heads"]
DH = config.get("head_dim") or config["hidden_size"] // HQ
D, G, EPS = HK * DH, HQ // HK, config["rms_norm_eps"]
THETA = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]


def rope(x):  # [T, heads, DH]
    angle = np.arange(len(x))[:, None] * THETA ** (-np.arange(DH // 2) * 2 / DH)
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    a, b = x[..., :DH // 2], x[..., DH // 2:]
    return np.concatenate([a * c - b * s, b * c + a * s], -1)


def norm(x, weight):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * weight


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def forward(tokens):
    """-> for each layer queries, keys before rope and exact probabilities [HQ, T, T]"""
    x = W["model.embed_tokens.weight"][tokens]
    out = []
    for layer in range(L):
        p = lambda n: W[f"model.layers.{layer}.{n}.weight"]
        h = norm(x, p("input_layernorm"))
        q = (h @ p("self_attn.q_proj").T).reshape(-1, HQ, DH)
        k = (h @ p("self_attn.k_proj").T).reshape(-1, HK, DH)
        v = (h @ p("self_attn.v_proj").T).reshape(-1, HK, DH)
        logits = np.einsum("ahd,bhd->hab", rope(q), np.repeat(rope(k), G, 1)) / np.sqrt(DH)
        logits[:, np.triu(np.ones(logits.shape[1:], bool), 1)] = -np.inf
        probability = softmax(logits)
        out.append((q, k, probability))
        x = x + np.einsum("hab,bhd->ahd", probability, np.repeat(v, G, 1)).reshape(len(x), -1) @ p("self_attn.o_proj").T
        h = norm(x, p("post_attention_layernorm"))
        gate = h @ p("mlp.gate_proj").T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ p("mlp.up_proj").T)) @ p("mlp.down_proj").T
    return out


def best(scores, count):
    return set(np.argsort(-scores, kind="stable")[:count].tolist())


rng = np.random.default_rng(7)
calibration = rng.integers(0, config["vocab_size"], (3, LENGTH))
sequences = rng.integers(0, config["vocab_size"], (2, LENGTH))
runs = [forward(t) for t in calibration]
layers = []
bases = []
for layer in range(L):
    keys = np.concatenate([r[layer][1].reshape(-1, D) for r in runs])
    turned = np.concatenate([rope(r[layer][1]).reshape(-1, D) for r in runs])
    moment = keys.T @ keys / len(keys)
    value, vector = np.linalg.eigh(moment)
    bases.append(vector[:, ::-1])
    mean = keys.mean(0)
    layers.append({"before": value[::-1].tolist(), "after": np.linalg.eigvalsh(turned.T @ turned / len(turned))[::-1].tolist(), "mean": float(mean @ mean / np.trace(moment))})
positions = [LENGTH // 2 + i // 2 * (LENGTH // 2 - 2) // (ROWS // 2 - 1) + i % 2 for i in range(ROWS)]
sweep = sorted({r for r in (RANK // 8, RANK // 4, RANK // 2, RANK, D // 2, D) if r > 0})
for layer in range(L):
    sums = {"sum": [], "heads": [], "oracle": [], "fixed": [], "overlap": [], "sweep": []}
    for tokens in sequences:
        q, k, probability = forward(tokens)[layer]
        z = k.reshape(-1, D) @ bases[layer]
        last = set()
        for i, at in enumerate(positions):
            length = at + 1
            end = PAGE * (max(0, length - RECENT) // PAGE)
            first = min(SINK, end)
            count = min(end - first, length // SPARSITY)
            mean = probability[:, at, :length].mean(0)
            fixed = mean[:first].sum() + mean[end:].sum()
            mass = lambda chosen: fixed + sum(mean[first + t] for t in chosen)
            grouped = q[at].reshape(HK, G, DH).sum(1).reshape(D) @ bases[layer]
            by_sum = lambda r: best(z[first:end, :r] @ grouped[:r], count)
            heads = []
            for head in range(HQ):
                lifted = np.zeros((HK, DH))
                lifted[head // G] = q[at, head]
                s = z[first:end, :SCORE_RANK] @ (lifted.reshape(D) @ bases[layer])[:SCORE_RANK]
                heads.append((s - s.mean()) / s.std())
            chosen = by_sum(SCORE_RANK)
            sums["sum"].append(mass(chosen))
            sums["heads"].append(mass(best(np.max(heads, 0), count)))
            sums["oracle"].append(mass(best(mean[first:end], count)))
            sums["fixed"].append(fixed)
            sums["sweep"].append([mass(by_sum(r)) for r in sweep])
            if i % 2 == 1:
                sums["overlap"].append(len(chosen & last) / min(len(chosen), len(last)))
            last = chosen
    layers[layer].update({name: np.mean(values, 0).tolist() for name, values in sums.items()})
print(json.dumps({"model": "mistral-gqa", "settings": [f"rank={RANK}", f"score_rank={SCORE_RANK}", f"sink_tokens={SINK}", f"recent_tokens={RECENT}", f"sparsity={SPARSITY}", "dense_below=0"],
                  "rows": ROWS, "sweep": sweep, "calibration": calibration.tolist(), "sequences": sequences.tolist(), "layers": layers}))
