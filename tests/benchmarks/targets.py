"""What tfopt should reach, as data: each target is about rows of a run, by title."""

import dataclasses

import contenders


@dataclasses.dataclass(frozen=True)
class Target:
    """A bound for a figure of one row, or of more."""

    title: str
    least = most = None  # one of them is a field
    unit = ""

    @property
    def titles(self):
        return (self.title,)

    @property
    def text(self):
        return self.title

    def value(self, rows):
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Faster(Target):
    """Another library takes at least so many times as long; of several, the faster one does."""

    peers: tuple[str, ...]
    least: float
    unit = "x"

    @property
    def text(self):
        return f"{self.title}: {' and '.join(self.peers)} over tfopt"

    def value(self, rows):
        ratios = rows[self.title]["ratios"]
        found = [ratios[peer]["median"] for peer in self.peers if peer in ratios]
        return min(found) if found else None


@dataclasses.dataclass(frozen=True)
class Grows(Target):
    """One case takes at most so many times as long as another."""

    base: str
    most: float
    unit = "x"

    @property
    def titles(self):
        return (self.title, self.base)

    @property
    def text(self):
        return f"{self.title} over {self.base}"

    def value(self, rows):
        return rows[self.title]["tfopt"]["median"] / rows[self.base]["tfopt"]["median"]


@dataclasses.dataclass(frozen=True)
class Reaches(Target):
    """A dense step moves its bytes at least at this part of the copy bandwidth."""

    least: float
    unit = " of copy bandwidth"

    def value(self, rows):
        return rows[self.title]["reached"]["median"]


@dataclasses.dataclass(frozen=True)
class ReachesAs(Target):
    """A dense step moves its bytes at least at this part of the speed of another's.

    Each speed is one of copy bandwidth in the same rounds, so that the machine may change between.
    """

    base: str
    least: float
    unit = "x"

    @property
    def titles(self):
        return (self.title, self.base)

    @property
    def text(self):
        return f"{self.title}: bytes a second over those of {self.base}"

    def value(self, rows):
        ours, theirs = (rows[title]["reached"]["median"] for title in self.titles)
        return ours / theirs


@dataclasses.dataclass(frozen=True)
class Takes(Target):
    """It takes tfopt at most so many seconds."""

    most: float
    unit = " s"

    def value(self, rows):
        return rows[self.title]["tfopt"]["median"]


KERAS, LEGACY = ("Keras 3",), ("legacy",)
BOTH = KERAS + LEGACY
FUSED = ("SGD", "SGD momentum", "Adam", "Adadelta", "Adagrad", "Adamax", "Ftrl")

TARGETS = (
    Faster("SGD momentum, transformer, graph", KERAS, 1.8),
    Faster("SGD momentum, transformer, graph", LEGACY, 0.97),
    Faster("RMSprop, transformer, graph", BOTH, 3),
    Faster("Adam, transformer, graph", KERAS, 3),
    Faster("Adam, transformer, graph", LEGACY, 0.97),
    Faster("Adam, transformer, graph", ("PyTorch fused",), 1 / 1.25),
    Faster("Adam global_clipnorm, transformer, graph", KERAS, 4),
    Faster("Adam global_clipnorm, transformer, graph", LEGACY, 1.6),
    Faster("AdamW, transformer, graph", KERAS, 4),
    Faster("Nadam, transformer, graph", BOTH, 4.5),
    Faster("Lion, transformer, graph", KERAS, 3),
    Faster("Adam, small, graph", BOTH, 1.4),
    Faster("Adam, small, eager", KERAS, 40),
    Faster("Adam, small, eager", LEGACY, 4),
    Faster("Adam, 1e6 uniform, default", BOTH, 2),
    Faster("Adam, 1e6 uniform, lazy", KERAS, 45),
    Grows("Adam, 1e6 uniform, lazy", "Adam, 1e5 uniform, lazy", 1.3),
    Faster("SGD momentum, 1e6 uniform, default", LEGACY, 1.1),
    Faster("Adagrad, 1e6 uniform, default", LEGACY, 1.1),
    Faster("Ftrl, 1e6 uniform, default", LEGACY, 1.1),
    *(
        Reaches(f"{optimizer}, {problem}, graph", 0.8)
        for problem in ("matrix", "transformer")
        for optimizer in FUSED
    ),
    *(
        Faster(f"{optimizer} in 3 groups, small, {mode}", ("one group",), 1 / 1.05)
        for optimizer in ("SGD", "Adam", "AdamW")
        for mode in ("graph", "eager")
    ),
    *(
        Faster(f"{optimizer}, {problem}", KERAS, 0.97)
        for optimizer in ("Muon", "ScheduleFreeAdamW")
        for problem in ("transformer, graph", "small, eager")
    ),
    *(  # a tenth is for what is not memory
        ReachesAs(f"{name}, transformer, graph", "AdamW, transformer, graph", 0.9)
        for name in contenders.ALONE
    ),
    Takes("import tfopt", 0.5),
)


def evaluate(rows):
    """(target, value, how far on the right side of its bound); None for what was not run."""
    by_title = {row["title"]: row for row in rows}
    for target in TARGETS:
        value = None
        if all(title in by_title for title in target.titles):
            value = target.value(by_title)
        if value is None:
            yield target, None, None
        elif target.least is not None:
            yield target, value, value / target.least - 1
        else:
            yield target, value, 1 - value / target.most
