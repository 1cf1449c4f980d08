#!/usr/bin/env python3
"""Markdown tables and plots from the JSON of `sals bench` and of torch_peers.py.

  python3 report.py FILE.json ... [--plots FOLDER]

Files are told apart by what is in them. A figure of a peer stands beside ours where heads or shape, rows and context are the same; the better of its
backends counts. Plots are SVG.
"""
import argparse
import json
import os


def table(head, rows):
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print()


def tokens(n):
    return f"{n // 1024}K" if n % 1024 == 0 else f"{n:,}"


def gib(n):
    return f"{n / 2**30:.2f} GiB" if n >= 2**30 else f"{n / 2**20:.1f} MiB"


def best(rows, field, **keys):
    found = [r[field] for r in rows if field in r and all(r.get(k) == v for k, v in keys.items())]
    return min(found) if found else None


def ratio(peer, ours):
    return f"{peer / ours:.2f}" if peer and ours else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--plots", metavar="FOLDER")
    args = parser.parse_args()
    ours, peers = [], {"decode_attention": [], "prefill_attention": [], "steps": [], "prompts": []}
    for file in args.files:
        with open(file, encoding="utf-8") as stream:
            report = json.load(stream)
        if "torch" in report:
            for key in peers:
                peers[key] += report.get(key, [])
        else:
            ours.append(report)

    for report in ours:
        c = report["ceilings"]
        print(f"{report['model']} on {report['device']}, {report['date']}: read {c['read_bytes_per_second'] / 1e12:.2f} TB/s, copy {c['copy_bytes_per_second'] / 1e12:.2f} TB/s, "
              f"bf16 {c['matrix_flops_per_second'] / 1e12:.0f} TFLOP/s, empty kernel {c['graph_gap_microseconds']:.2f} us\n")
        shape = os.path.basename(report["model"].rstrip("/"))
        if report.get("steps"):
            rows = []
            for s in report.get("steps"):
                dense = best([x for x in report.get("steps") if x["cache"] == "dense"], "step_milliseconds", batch=s["batch"], context=s["context"])
                torch = best(peers["steps"], "step_milliseconds", shape=shape, batch=s["batch"], context=s["context"])
                rows.append([s["cache"], f"{s['batch']} x {tokens(s['context'])}", f"{s['step_milliseconds']:.2f}", f"{s['slowest_milliseconds']:.2f}", f"{s['host_microseconds']:.0f}",
                             f"{s['batch'] / s['step_milliseconds'] * 1e3:,.0f}", gib(s["cache_bytes"]), gib(s["page_bytes"]), f"{s['compression']:.2f}" if "compression" in s else "",
                             f"{s['floor_share']:.0%}", ratio(dense, s["step_milliseconds"]), ratio(torch, s["step_milliseconds"])])
            table(["cache", "rows x context", "ms a step", "slowest", "host us", "tokens/s", "cache read", "pages held", "compression", "of reading", "x dense", "x torch"], rows)
        if report.get("prompts"):
            rows = []
            for p in report.get("prompts"):
                torch = best(peers["prompts"], "first_token_milliseconds", shape=shape, tokens=p["tokens"] + p["tokens"] % 2)
                rows.append([p["cache"], f"{p['tokens']:,}", f"{p['first_token_milliseconds']:.1f}", f"{p['tokens_per_second']:,.0f}", f"{p['linear_flops_per_second'] / 1e12:.0f}",
                             f"{p['linear_share']:.0%}", f"{p['attention_flops_per_second'] / 1e12:.0f}", ratio(torch, p["first_token_milliseconds"])])
            table(["cache", "prompt", "first token ms", "tokens/s", "linear TFLOP/s", "of bf16", "attention TFLOP/s", "x torch"], rows)
        if report.get("operators"):
            rows = []
            for o in sorted(report["operators"], key=lambda o: (o["heads"], o["batch"], o["context"])):
                heads, kv = map(int, o["heads"].split("/"))
                same = dict(heads=o["heads"], batch=o["batch"], context=o["context"])
                own = best([x for x in report["operators"] if x["cache"] == "dense" and not x.get("problem")], "microseconds", **same)
                torch = best(peers["decode_attention"], "microseconds", heads=heads, kv_heads=kv, batch=o["batch"], context=o["context"])
                fastest = min((x for x in (own, torch) if x), default=None)
                stages = ", ".join(f"{s['name'].split(',')[0]} {s['microseconds']:.1f}" for s in o["stages"])
                rows.append([o["heads"], o["cache"], f"{o['batch']} x {tokens(o['context'])}", o.get("problem") or f"{o['microseconds']:.1f}", f"{own:.1f}" if own else "",
                             f"{torch:.1f}" if torch else "", "" if o.get("problem") else ratio(fastest, o["microseconds"]), f"{o['floor_share']:.0%}", stages])
            table(["heads", "cache", "rows x context", "us", "own dense us", "torch us", "x fastest dense", "of floor", "stages, us"], rows)
        if args.plots and report.get("operators"):
            plot(report["operators"], args.plots)


COLORS = ["#444444", "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728"]


def plot(operators, folder):
    """Microseconds over context, both logarithmic, one file for each shape and batch."""
    import math

    os.makedirs(folder, exist_ok=True)
    groups = {}
    for o in operators:
        if not o.get("problem"):
            groups.setdefault((o["heads"], o["batch"]), {}).setdefault(o["cache"], []).append((o["context"], o["microseconds"]))
    for (heads, batch), lines in groups.items():
        points = [p for line in lines.values() for p in line]
        if len({p[0] for p in points}) < 2:
            continue
        left, right = math.log2(min(p[0] for p in points)), math.log2(max(p[0] for p in points))
        low, high = math.floor(math.log10(min(p[1] for p in points))), math.ceil(math.log10(max(p[1] for p in points)))
        x = lambda v: 60 + 420 * (math.log2(v) - left) / (right - left)
        y = lambda v: 300 - 260 * (math.log10(v) - low) / (high - low)
        out = ['<svg xmlns="http://www.w3.org/2000/svg" width="680" height="340" font-family="sans-serif" font-size="12">',
               '<rect width="680" height="340" fill="white"/>', f'<text x="60" y="24">Attention of one layer, {heads} heads of 128, {batch} rows: us over context</text>']
        for power in range(low, high + 1):
            out.append(f'<line x1="60" x2="480" y1="{y(10.0**power):.1f}" y2="{y(10.0**power):.1f}" stroke="#ddd"/><text x="54" y="{y(10.0**power) + 4:.1f}" text-anchor="end">{10**power:,}</text>')
        for context in sorted({p[0] for p in points}):
            out.append(f'<text x="{x(context):.1f}" y="320" text-anchor="middle">{tokens(context)}</text>')
        for i, (cache, line) in enumerate(lines.items()):
            color = COLORS[i % len(COLORS)]
            path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in sorted(line))
            out.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
            out.append(f'<text x="490" y="{60 + 18 * i}" fill="{color}">{cache.replace(",latent_format=int8,centred=true", " int8")}</text>')
        out.append("</svg>")
        with open(os.path.join(folder, f"attention-{heads.replace('/', '-')}-rows-{batch}.svg"), "w", encoding="utf-8") as file:
            file.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
