#!/usr/bin/env python3
"""Times PyTorch on the work that `sals bench` times, so that a claim is a ratio of two figures of one machine and one hour.

  python3 torch_peers.py op      [--json FILE]      attention: SDPA with the flash and the cuDNN backend, decode and causal prefill
  python3 torch_peers.py step    [--json FILE]      decode step of a plain model, blocks compiled (torch.compile), whole step one CUDA graph
  python3 torch_peers.py prefill [--json FILE]      a prompt through the same model, to its first token

Shapes are read from tests/shapes/NAME/config.json (--shapes NAME ...). Weights and caches are random bf16, scaled as at initialisation; buffers of single
operations are rotated so that together they exceed L2; medians of graph replays. The decode step appends to a cache of exactly the context's size and
attends to all of it without a mask, the fastest torch can do: gpt-fast itself reads the whole allocated cache under a mask and is slower.
"""
import argparse
import json
import math
import os
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}
DTYPE = torch.bfloat16


def shape_of(name):
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "shapes", name, "config.json")
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    heads = config["num_attention_heads"]
    return {
        "L": config["num_hidden_layers"], "H": config["hidden_size"], "F": config["intermediate_size"], "HQ": heads,
        "HK": config.get("num_key_value_heads", heads), "DH": config["hidden_size"] // heads, "V": config["vocab_size"],
        "theta": config["rope_theta"], "eps": config["rms_norm_eps"],
    }


def random(*size, deviation=1.0):
    return torch.empty(size, device="cuda", dtype=DTYPE).normal_(0, deviation)


def median_ms(run, repeats=20):
    for _ in range(3):
        run()
    times = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times)[len(times) // 2]


def graph_of(run):
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph


def ceilings():
    x = random(1 << 30)
    y = torch.empty_like(x)
    copy = median_ms(lambda: y.copy_(x))
    a, b = x[: 8192 * 8192].view(8192, 8192), y[: 8192 * 8192].view(8192, 8192)
    b.copy_(a)
    multiply = median_ms(lambda: torch.mm(a, b))
    return {"copy_bytes_per_second": 2 * x.nbytes / copy * 1e3, "matrix_flops_per_second": 2 * 8192**3 / multiply * 1e3}


def attend(q, k, v, backend, causal):
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1])


def operations(args):
    decode, prefill = [], []
    for heads, kv in ((32, 8), (32, 32)):
        for batch in args.batches:
            for context in args.contexts:
                size = 4 * batch * context * kv * 128
                if size > 24e9:
                    continue
                sets = max(1, min(8, math.ceil(200e6 / size) + 1))
                data = [(random(batch, heads, 1, 128), random(batch, kv, context, 128), random(batch, kv, context, 128)) for _ in range(sets)]
                # of a graph, as many as sals bench op has: launching one takes microseconds
                launches = max(sets, min(32, int((4 << 30) // size)))
                for name, backend in BACKENDS.items():
                    row = {"backend": name, "heads": heads, "kv_heads": kv, "batch": batch, "context": context, "bytes": size}
                    try:
                        graph = graph_of(lambda: [attend(*data[i % sets], backend, False) for i in range(launches)])
                        us = median_ms(graph.replay) * 1e3 / launches
                        row |= {"microseconds": us, "bytes_per_second": size / us * 1e6}
                    except RuntimeError as error:
                        row["error"] = str(error).splitlines()[0][:200]
                    decode.append(row)
                    print(row, flush=True)
                del data
    for heads, kv in ((32, 8), (32, 32)):
        for tokens in args.prompts:
            q, k, v = random(1, heads, tokens, 128), random(1, kv, tokens, 128), random(1, kv, tokens, 128)
            for name, backend in BACKENDS.items():
                row = {"backend": name, "heads": heads, "kv_heads": kv, "tokens": tokens}
                try:
                    ms = median_ms(lambda: attend(q, k, v, backend, True), 5)
                    row |= {"microseconds": ms * 1e3, "flops_per_second": 2.0 * heads * 128 * tokens * (tokens + 1) / ms * 1e3}
                except RuntimeError as error:
                    row["error"] = str(error).splitlines()[0][:200]
                prefill.append(row)
                print(row, flush=True)
    return {"decode_attention": decode, "prefill_attention": prefill}


class Block(torch.nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        width = (s["HQ"] + 2 * s["HK"]) * s["DH"]
        self.norm1 = torch.nn.Parameter(torch.ones(s["H"], device="cuda", dtype=DTYPE))
        self.norm2 = torch.nn.Parameter(torch.ones(s["H"], device="cuda", dtype=DTYPE))
        self.qkv = torch.nn.Parameter(random(width, s["H"], deviation=s["H"] ** -0.5))
        self.out = torch.nn.Parameter(random(s["H"], s["HQ"] * s["DH"], deviation=(2 * s["L"] * s["H"]) ** -0.5))
        self.gate_up = torch.nn.Parameter(random(2 * s["F"], s["H"], deviation=s["H"] ** -0.5))
        self.down = torch.nn.Parameter(random(s["H"], s["F"], deviation=(2 * s["L"] * s["F"]) ** -0.5))

    def forward(self, x, cos, sin, keys, values, causal: bool):
        s = self.s
        b, t, _ = x.shape
        q, k, v = F.linear(norm(x, self.norm1, s["eps"]), self.qkv).split([s["HQ"] * s["DH"], s["HK"] * s["DH"], s["HK"] * s["DH"]], -1)
        q = rope(q.view(b, t, s["HQ"], s["DH"]).transpose(1, 2), cos, sin)
        k = rope(k.view(b, t, s["HK"], s["DH"]).transpose(1, 2), cos, sin)
        v = v.view(b, t, s["HK"], s["DH"]).transpose(1, 2)
        keys[:, :, -t:].copy_(k)
        values[:, :, -t:].copy_(v)
        o = F.scaled_dot_product_attention(q, keys, values, is_causal=causal, enable_gqa=s["HQ"] != s["HK"])
        x = x + F.linear(o.transpose(1, 2).reshape(b, t, -1), self.out)
        gate, up = F.linear(norm(x, self.norm2, s["eps"]), self.gate_up).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, self.down)


def norm(x, weight, eps):
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * weight


def rope(x, cos, sin):
    a, b = x.float().chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(x.dtype)


class Model:
    def __init__(self, shape, compiled=True):
        self.s = shape
        self.blocks = [Block(shape) for _ in range(shape["L"])]
        if compiled:
            for block in self.blocks:
                # one compilation serves every layer
                block.compile(dynamic=False)
        self.embedding = random(shape["V"], shape["H"])
        self.head = random(shape["V"], shape["H"], deviation=shape["H"] ** -0.5)
        self.gain = torch.ones(shape["H"], device="cuda", dtype=DTYPE)

    def angles(self, positions):
        half = self.s["DH"] // 2
        inverse = self.s["theta"] ** (-torch.arange(half, device="cuda", dtype=torch.float32) / half)
        angle = positions.float()[:, None] * inverse
        return angle.cos(), angle.sin()

    @torch.no_grad()
    def forward(self, tokens, cos, sin, caches, causal):
        x = F.embedding(tokens, self.embedding)
        for block, (keys, values) in zip(self.blocks, caches):
            x = block(x, cos, sin, keys, values, causal)
        return F.linear(norm(x[:, -1], self.gain, self.s["eps"]), self.head).float().argmax(-1)


def steps(args):
    rows = []
    for name in args.shapes:
        shape = shape_of(name)
        model = Model(shape)
        for batch, context in args.points:
            size = 4 * batch * context * shape["HK"] * shape["DH"]
            if size * shape["L"] > 60e9:
                continue
            caches = [(random(batch, shape["HK"], context, shape["DH"]), random(batch, shape["HK"], context, shape["DH"])) for _ in range(shape["L"])]
            tokens = torch.randint(16, shape["V"], (batch, 1), device="cuda")
            cos, sin = model.angles(torch.full((1,), context - 1, device="cuda"))
            for backend_name, backend in BACKENDS.items():
                # the backend is chosen when a block is traced
                torch._dynamo.reset()
                row = {"shape": name, "attention": backend_name, "batch": batch, "context": context}
                start = time.perf_counter()
                try:
                    with sdpa_kernel(backend):
                        graph = graph_of(lambda: model.forward(tokens, cos, sin, caches, False))
                    row |= {"step_milliseconds": median_ms(graph.replay), "compile_seconds": time.perf_counter() - start}
                    del graph
                except RuntimeError as error:
                    row["error"] = str(error).splitlines()[0][:200]
                rows.append(row)
                print(row, flush=True)
            del caches
        del model
        torch.cuda.empty_cache()
    return {"steps": rows}


def prompts(args):
    rows = []
    for name in args.shapes:
        shape = shape_of(name)
        model = Model(shape)
        for length in args.prompts:
            caches = [(random(1, shape["HK"], length, shape["DH"]), random(1, shape["HK"], length, shape["DH"])) for _ in range(shape["L"])]
            tokens = torch.randint(16, shape["V"], (1, length), device="cuda")
            cos, sin = model.angles(torch.arange(length, device="cuda"))
            for backend_name, backend in BACKENDS.items():
                torch._dynamo.reset()
                row = {"shape": name, "attention": backend_name, "tokens": length}
                try:
                    with sdpa_kernel(backend):
                        ms = median_ms(lambda: model.forward(tokens, cos, sin, caches, True), 3)
                    row |= {"first_token_milliseconds": ms, "tokens_per_second": length / ms * 1e3}
                except RuntimeError as error:
                    row["error"] = str(error).splitlines()[0][:200]
                rows.append(row)
                print(row, flush=True)
            del caches
        del model
        torch.cuda.empty_cache()
    return {"prompts": rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("op", "step", "prefill"))
    parser.add_argument("--shapes", nargs="+", default=["mistral-7b-v0.2"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 16])
    parser.add_argument("--contexts", nargs="+", type=int, default=[1024, 4096, 32768, 131072])
    parser.add_argument("--points", nargs="+", type=lambda text: tuple(map(int, text.split("x"))), default=[(1, 4096), (8, 4096), (8, 32768)], metavar="BATCHxCONTEXT")
    parser.add_argument("--prompts", nargs="+", type=int, default=[4096, 32768])
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    report = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()), "device": torch.cuda.get_device_name(), "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(), "command": " ".join(sys.argv[1:]), "ceilings": ceilings(),
    }
    torch.cuda.empty_cache()
    report |= {"op": operations, "step": steps, "prefill": prompts}[args.what](args)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
