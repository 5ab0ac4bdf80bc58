"""Time eccNET's search against the plain formulation of the same model.

The plain formulation does what the published code does: at every fixation a pass of
the whole window, every zone of every pooling computed on the full map and masked,
and one pass of an empty image at the start of each trial. Both run in this process
with the same thread count, interleaved; fixations must agree.

    python benchmarks/search.py [--windows 524,806] [--repeats 3] [--threads 1]
    python benchmarks/search.py --memory     # peak memory at window 1358
"""

import argparse
import resource
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F

from neurovis.adapters.eccentric_pooling import pooling_zones, same_pool
from neurovis.adapters.eccnet import MARGIN_PX, load_eccnet
from neurovis.adapters.search_loop import SearchState
from neurovis.core.device import exact_float32
from stimuli.search_arrays import make_search_arrays
from tasks.search_asymmetry import search_rules, search_trial

CONDITIONS = {524: "left_right", 806: "hetero_t20", 1358: "Ls"}


def masked_pool(x, rule):
    """Pool the full map once per zone, mask each, add."""
    side = x.shape[-1]
    zones = pooling_zones(side, rule)
    total = 0
    for number, window in enumerate(zones.windows):
        pad = max((len(zones.index) - 1) * 2 + window - side, 0)
        pads = [pad // 2, pad - pad // 2] * 2
        inside = F.avg_pool2d(F.pad(x.new_ones(1, 1, side, side), pads), window, 2)
        pooled = F.avg_pool2d(F.pad(x, pads), window, 2) / inside
        total = total + pooled * torch.from_numpy(zones.index == number)
    return total


class PlainWindow:
    """Stands in for `GazeWindow`: whole windows only."""

    def __init__(self, window, trunk):
        self.side, self.rules, self.trunk = window.side, window.rules, trunk
        self.background = window.background

    def see_many(self, images, fixations):
        return tuple(
            torch.stack(parts)
            for parts in zip(*map(self.see, images, fixations), strict=True)
        )

    def see(self, image, fixation):
        half = self.side // 2
        height, width = image.shape[:2]
        canvas = np.full(
            (height + self.side, width + self.side, 3), self.background, np.uint8
        )
        canvas[half : half + height, half : half + width] = image
        row, column = fixation
        view = canvas[row : row + self.side, column : column + self.side]
        return self.forward(view)

    def forward(self, view):
        x = self.trunk.preprocess(torch.from_numpy(view[None].copy()))
        outputs = []
        for stage in range(5):
            if stage:
                x = masked_pool(x, self.rules[stage - 1])
            x = self.trunk.run_stage(stage, x)
            outputs.append(x)
        s3, s4, s5 = outputs[2:]
        s3 = same_pool(same_pool(s3, 2, "average"), 2, "average")
        return s3[0], same_pool(s4, 2, "average")[0], s5[0]


def plain_search(model, plain, trial, rules):
    """Search with whole-window passes and the dummy pass of the published code."""
    with torch.inference_mode(), exact_float32():
        plain.forward(np.zeros((plain.side, plain.side, 3), np.uint8))
        state = SearchState(trial, rules)
        while state.begin_glance():
            features = plain.see(state.image, state.fixations[-1])
            state.fixate(*model.attend(state, features, plain.side).winner)
    return state.scanpath(model.name)


def cpu_seconds(function):
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def compare(window, model, n_trials, repeats):
    name = CONDITIONS[window]
    stimuli = make_search_arrays(name, trials=n_trials, seed=0)
    rules = search_rules(stimuli.table.iloc[0])
    assert 2 * (rules.eye_radius_px + MARGIN_PX) == window
    trials = [search_trial(stimuli, i) for i in range(len(stimuli))]
    set_up, _ = cpu_seconds(lambda: model.window(rules).surround)
    plain = PlainWindow(model.window(rules), model.trunk)
    ours, theirs, saccades, differing = [], [], 0, 0
    for trial in trials:
        pairs = []
        for _ in range(repeats):
            fast, path = cpu_seconds(lambda t=trial: model.search([t], rules)[0])
            slow, other = cpu_seconds(
                lambda t=trial: plain_search(model, plain, t, rules)
            )
            pairs.append((fast, slow))
        ours.append(statistics.median(p[0] for p in pairs))
        theirs.append(statistics.median(p[1] for p in pairs))
        saccades += path.n_saccades
        differing += not (
            np.array_equal(path.x_px, other.x_px)
            and np.array_equal(path.y_px, other.y_px)
        )
    print(
        f"window {window} ({name}): {len(trials)} trials, {saccades} saccades; "
        f"CPU seconds per trial {np.mean(ours):.2f} against {np.mean(theirs):.2f} "
        f"plain: {np.sum(theirs) / np.sum(ours):.1f}x; set-up once {set_up:.2f} s; "
        f"differing scanpaths: {differing}"
    )


def memory(model, n_trials):
    """Search at window 1358 and print the peak resident memory of the process."""
    stimuli = make_search_arrays(CONDITIONS[1358], trials=n_trials, seed=0)
    rules = search_rules(stimuli.table.iloc[0])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    trials = [search_trial(stimuli, i) for i in range(len(stimuli))]
    model.search(trials, rules)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"window 1358: peak memory {after:.2f} GiB, of which {before:.2f} GiB were "
        f"there before the search (libraries and weights)"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", default="524,806")
    parser.add_argument("--weights", default="seeded:0")
    parser.add_argument("--trials", type=int, default=1, help="per set size")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = load_eccnet("eccnet", weights=arguments.weights, device="cpu")
    print(f"torch {torch.__version__}, {arguments.threads} thread(s)")
    if arguments.memory:
        memory(model, arguments.trials)
        return
    for window in arguments.windows.split(","):
        compare(int(window), model, arguments.trials, arguments.repeats)


if __name__ == "__main__":
    main()
