"""Time projections of voxels onto a bank of image embeddings, and their captions.

    streamed   ours: all voxels at once, block by block of the bank
    dense      as published: the bank is normalised once in float32, which is not
               counted; then four voxels at a time, a softmax over the whole bank

Both run in this process on the same threads, interleaved; medians of CPU seconds (on a
GPU of wall seconds), and what they gave is compared. The bank has clustered directions
and lengths that vary, the voxels point near some of its images.

    OMP_NUM_THREADS=1 python benchmarks/brainscuba.py [--images 100000] [--features 512]
        [--voxels 200] [--repeats 3] [--inverse-temperature 150] [--device cuda]
    python benchmarks/brainscuba.py --full [--images 2000000] [--voxels 1000]
    python benchmarks/brainscuba.py --captions [--voxels 32] [--language small]

With --full the bank is written as float16 into a temporary folder and read from there
once, by us only; the memory of the process is told, with and without files in it.

With --captions embeddings of drawings are captioned by beam search (beam 5):

    batched    ours: all at once, with a cache of keys and values
    single     ours, one at a time
    published  one at a time, without a cache: all tokens again at every step

by the captioner that ships, or with --language small by a random GPT-2 of published
size (124 million weights, prefix of 10; 12 tokens, as random ones never stop).
"""

import argparse
import resource
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch

from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.captioner import Captioner, load_captioner
from neurovis.adapters.captioner_networks import PrefixMapper
from neurovis.core.device import exact_float32
from neurovis.core.embedding_bank import bank_of, open_bank
from neurovis.core.rng import generator
from neurovis.generation.bank_projection import project_onto_bank
from tasks.braindive_observers import to_pixels
from tasks.brainscuba_experiment import embed_drawings
from tasks.sketch_training import draw_sketches

BLOCK = 50_000
FOUR = 4  # voxels at a time, as published
NOISE = 2  # standard deviation, where lengths of embeddings are about 10


def draw_block(number, n_rows, width):
    """Return embeddings, float16: a common direction, one of 50 clusters, and noise."""
    common = generator(0, "brainscuba benchmark", width).standard_normal((51, width))
    rng = generator(0, "brainscuba benchmark", width, number)
    rows = rng.standard_normal((n_rows, width), dtype=np.float32)
    rows += common[rng.integers(1, 51, n_rows)].astype(np.float32)
    rows += common[0].astype(np.float32)
    length = rng.normal(10, 1, (n_rows, 1)).astype(np.float32)
    rows *= length / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float16)


def blocks(options):
    for number, start in enumerate(range(0, options.images, BLOCK)):
        n_rows = min(BLOCK, options.images - start)
        yield draw_block(number, n_rows, options.features)


def draw_voxels(options):
    near = draw_block(0, BLOCK, options.features)[: options.voxels].astype(np.float32)
    rng = generator(0, "brainscuba benchmark", "voxels")
    n_more = options.voxels - len(near)
    near = np.concatenate([near, near[np.arange(max(n_more, 0)) % len(near)]])
    return near + NOISE * rng.standard_normal(near.shape).astype(np.float32)


def project_densely(weights, directions, lengths, beta):
    """Project as published, four voxels at a time."""
    unit = torch.nn.functional.normalize(weights, dim=1)
    found = []
    with exact_float32(), torch.inference_mode():
        for start in range(0, len(unit), FOUR):
            share = torch.softmax(beta * unit[start : start + FOUR] @ directions.T, -1)
            mean = torch.nn.functional.normalize(share @ directions, dim=1)
            found.append(mean * (share @ lengths)[:, None])
    return torch.cat(found).cpu().numpy()


def timed(call, device):
    clock = time.perf_counter if device == "cuda" else time.process_time
    start = clock()
    result = call()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start, result


def compare_projections(options):
    bank = bank_of(list(blocks(options)), "benchmark")
    weights = draw_voxels(options)
    beta, device = options.inverse_temperature, options.device
    rows = torch.from_numpy(bank.rows(np.arange(bank.n_images))).to(device)
    lengths = rows.norm(dim=1)
    directions = rows / lengths[:, None]
    moved = torch.from_numpy(weights).to(device)
    calls = {
        "streamed": lambda: (
            project_onto_bank(
                weights, bank, inverse_temperature=beta, device=device
            ).vectors
        ),
        "dense": lambda: project_densely(moved, directions, lengths, beta),
    }
    seconds = {name: [] for name in calls}
    found = {}
    for _ in range(options.repeats):
        for name, call in calls.items():
            spent, found[name] = timed(call, device)
            seconds[name].append(spent)
    difference = np.linalg.norm(found["streamed"] - found["dense"], axis=1)
    largest = (difference / np.linalg.norm(found["dense"], axis=1)).max()
    print(f"largest difference: {largest:.1e} of the length")
    if not largest < 1e-3:
        raise AssertionError(f"streamed and dense projections differ by {largest:.1e}")
    # Four products and sums per voxel, image and feature.
    work = 4 * options.voxels * options.images * options.features / 1e9
    for name, values in seconds.items():
        spent = statistics.median(values)
        print(
            f"{name}: {spent:.2f} s, {options.voxels / spent:.1f} voxels/s, "
            f"{work / spent:.0f} GFLOP/s of products"
        )
    ratios = [d / s for s, d in zip(*seconds.values(), strict=True)]
    print(f"streamed is {statistics.median(ratios):.1f} times as fast")


class Memory:
    """Peak of what the process holds besides files, looked at ten times a second."""

    def __init__(self):
        self.peak = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self):
        while not self._ended.wait(0.1):
            self.peak = max(self.peak, _own_memory())

    def __enter__(self):
        self.start = _own_memory()
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._ended.set()
        self._thread.join()


def _own_memory():
    """Return GiB that are not mapped from files (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 2**20
    return float("nan")


def project_large(options):
    with tempfile.TemporaryDirectory() as folder:
        for number, rows in enumerate(blocks(options)):
            np.save(Path(folder) / f"embeddings_{number}.npy", rows)
        bank = open_bank(folder)
        weights = draw_voxels(options)
        with Memory() as memory:
            spent, found = timed(
                lambda: project_onto_bank(
                    weights,
                    bank,
                    inverse_temperature=options.inverse_temperature,
                    device=options.device,
                ),
                options.device,
            )
    work = 4 * options.voxels * options.images * options.features / 1e9
    print(
        f"{spent:.1f} s, {options.voxels / spent:.1f} voxels/s, "
        f"{work / spent:.0f} GFLOP/s of products; median effective number "
        f"{np.median(found.effective_number):.1f}"
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"peak memory {memory.peak:.2f} GiB (before {memory.start:.2f}), with mapped "
        f"files {peak:.2f} GiB; the bank has "
        f"{2 * options.images * options.features / 2**30:.2f} GiB"
    )


def search_as_published(captioner, embedding, beam, max_tokens):
    """Caption one embedding as published: every step reads all tokens again."""
    model, stop = captioner.language_model, captioner.stop_token
    with torch.inference_mode(), exact_float32():
        prefix = captioner.mapper(embedding[None].to(captioner.device))
        logits = model(inputs_embeds=prefix).logits[0, -1].log_softmax(-1)
        total, first = logits.topk(beam)
        tokens = first[:, None]
        length, ended = torch.ones(beam), first == stop
        words = model.transformer.wte
        while tokens.shape[1] < max_tokens and not ended.all():
            read = torch.cat([prefix.expand(beam, -1, -1), words(tokens)], 1)
            logits = model(inputs_embeds=read).logits[:, -1].log_softmax(-1)
            logits[ended] = -torch.inf
            logits[ended, 0] = 0
            length[~ended] += 1
            mean = (total[:, None] + logits) / length[:, None]
            best, place = mean.flatten().topk(beam)
            row, token = place // logits.shape[1], place % logits.shape[1]
            length, total = length[row], best * length[row]
            tokens = torch.cat([tokens[row], token[:, None]], 1)
            ended = ended[row] | (token == stop)
        best = int((total / length).argmax())
    return captioner.tokenizer.decode(
        tokens[best][: int(length[best])].tolist()
    ).strip()


def small_language_model():
    """Return a captioner of published size with random weights."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(bos_token_id=0, eos_token_id=0)
    words = {f"w{i}": i for i in range(config.vocab_size - 1)}
    tokenizer = Tokenizer(models.WordLevel({**words, ".": len(words)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return Captioner(
        "random GPT-2",
        PrefixMapper(512, config.n_embd, 10),
        GPT2LMHeadModel(config),
        tokenizer,
        len(words),
        trained=False,
    )


def compare_captions(options):
    if options.language == "small":
        captioner, longest = small_language_model(), 12
        embeddings = draw_block(0, BLOCK, 512)[: options.voxels].astype(np.float32)
    else:
        captioner, longest = load_captioner("sketch"), 67
        drawn, _ = draw_sketches(options.voxels, seed=1)
        network = load_backbone("sketch_clip")
        embeddings = embed_drawings(network, to_pixels(drawn), torch.device("cpu"))
    captioner = captioner.to(options.device)
    rows = torch.from_numpy(embeddings)
    few = slice(min(options.voxels, 8))  # one at a time takes long
    calls = {
        "batched": lambda: captioner.caption(embeddings, max_tokens=longest),
        "single": lambda: captioner.caption(
            embeddings[few], max_tokens=longest, batch_size=1
        ),
        "published": lambda: [
            search_as_published(captioner, row, 5, longest) for row in rows[few]
        ],
    }
    rate, found = {name: [] for name in calls}, {}
    for _ in range(options.repeats):
        for name, call in calls.items():
            spent, found[name] = timed(call, options.device)
            rate[name].append(len(found[name]) / spent)
    texts = [list(found[name]["caption"][few]) for name in ("batched", "single")]
    same = sum(a == b == c for a, b, c in zip(*texts, found["published"], strict=True))
    print(f"equal captions: {same} of {len(texts[0])}")
    for name, values in rate.items():
        print(f"{name}: {statistics.median(values):.2f} captions/s")
    for name in ("single", "published"):
        ratios = [a / b for a, b in zip(rate["batched"], rate[name], strict=True)]
        print(f"batched is {statistics.median(ratios):.1f} times as fast as {name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--voxels", type=int)
    parser.add_argument("--inverse-temperature", type=float, default=150.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--captions", action="store_true")
    parser.add_argument("--language", default="sketch", choices=("sketch", "small"))
    options = parser.parse_args()
    if options.captions:
        options.voxels = options.voxels or (8 if options.language == "small" else 64)
        print(
            f"{options.voxels} embeddings, language model {options.language}, beam 5, "
            f"{options.device}, {torch.get_num_threads()} thread(s)"
        )
        compare_captions(options)
        return
    options.images = options.images or (2_000_000 if options.full else 100_000)
    options.voxels = options.voxels or (1000 if options.full else 200)
    print(
        f"{options.images} images x {options.features} features, {options.voxels} "
        f"voxels, inverse temperature {options.inverse_temperature:g}, "
        f"{options.device}, {torch.get_num_threads()} thread(s), torch "
        f"{torch.__version__}"
    )
    if options.full:
        project_large(options)
    else:
        compare_projections(options)


if __name__ == "__main__":
    main()
