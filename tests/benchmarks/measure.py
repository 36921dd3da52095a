"""Clocks: contenders in turn, and the machine's copy bandwidth."""

import concurrent.futures
import os
import statistics
import time

import numpy as np

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
CHUNK = 0.02  # seconds that a contender has the machine for, at least one step
MIN_ROUNDS = 7
WARM_UP = 5  # steps: tfopt traces eager ones when they come for the third time


class Contender:
    """Something that does steps."""

    def step(self):
        raise NotImplementedError

    def clock(self, count):
        """Seconds a step, over `count` of them."""
        if count > 1:
            self.step()  # what the contender before it left in the caches is not its fault
        start = time.perf_counter()
        for _ in range(count):
            self.step()
        return (time.perf_counter() - start) / count


class Copy(Contender):
    """Copies memory, in as many threads as there are cores: the limit of any step."""

    def __init__(self, threads=CORES, megabytes=256):
        self.source = np.ones(megabytes * 2**20 // 8)
        self.target = np.empty_like(self.source)
        self.bytes = 2 * self.source.nbytes  # read and written
        self.parts = list(
            zip(
                np.array_split(self.target, threads),
                np.array_split(self.source, threads),
                strict=True,
            )
        )
        self.pool = concurrent.futures.ThreadPoolExecutor(threads)

    def step(self):
        list(self.pool.map(lambda part: np.copyto(*part), self.parts))

    def bandwidth(self):
        """Bytes a second."""
        self.step()
        return self.bytes / statistics.median(self.clock(1) for _ in range(9))


def warm_up(contenders):
    """The first steps of each; gives the seconds of the last one."""
    return {name: [c.clock(1) for _ in range(WARM_UP)][-1] for name, c in contenders.items()}


def balanced(names):
    """Orders in which each name stands equally often in each place and after each other name.

    This is Williams' design: a Latin square by zigzag, 0, 1, -1, 2, -2, ...; for an odd number
    of names followed by itself, read backwards.
    """
    count = len(names)
    zigzag = [(place + 1) // 2 * (1 if place % 2 else -1) for place in range(count)]
    orders = [[names[(step + start) % count] for step in zigzag] for start in range(count)]
    return orders + [order[::-1] for order in orders] if count % 2 else orders


def in_turn(contenders, seconds, chunk=CHUNK, first=None):
    """Round after round, each contender does a few steps; gives seconds a step, by round.

    A drift of the machine's speed meets all of them alike. Their order is balanced, because
    who comes after whom matters for caches and for threads that still spin.
    """
    first = first or warm_up(contenders)
    counts = {name: max(1, round(chunk / seconds)) for name, seconds in first.items()}
    times = {name: [] for name in contenders}
    orders = balanced(list(contenders))
    until, rounds = time.perf_counter() + seconds, 0
    while rounds < MIN_ROUNDS or time.perf_counter() < until:
        for order in orders:
            for name in order:
                times[name].append(contenders[name].clock(counts[name]))
        rounds += len(orders)
    return times


def summary(samples):
    """Median and middle half."""
    low, median, high = np.percentile(samples, [25, 50, 75])
    return {"median": float(median), "low": float(low), "high": float(high)}


def row(section, title, times, ours="tfopt", **more):
    """Figures of one case.

    A ratio is the median of the rounds' ratios, not the ratio of medians: a change of speed
    that lasts longer than a round then cancels.
    """
    ratios = {
        name: summary(np.divide(theirs, times[ours]))
        for name, theirs in times.items()
        if not name.startswith(("tfopt", "copy"))
    }
    return {
        "section": section,
        "title": title,
        "tfopt": summary(times[ours]),
        "ratios": ratios,
        **more,
    }
