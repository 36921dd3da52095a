"""What becomes of a model and its optimizer, by format and by what has happened in between.

Each cell of the table saves a model that was trained with a tfopt optimizer, loads it, and trains
both models further. `OUTCOMES` says what must be seen: both stay equal, bit for bit, or there is
exactly one warning, or a dash with the reason why the cell has no meaning.
"""

import copy
import pickle
import warnings

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from models import X, Y
from training import assert_same, slots_of

import tfopt

LIBRARIES = {"keras": keras, "tf_keras": tf_keras}
KINDS = ("functional", "sequential", "subclassed")


class Stack:
    """A subclassed model with lists of layers, of either library."""

    def __init__(self, names=(None, None, None), outputs=2, **kwargs):
        super().__init__(**kwargs)
        dense = LIBRARIES[self.library].layers.Dense
        self.arguments = {"names": list(names), "outputs": outputs}
        self.hidden = [dense(6, activation="tanh", name=name) for name in names[:2]]
        self.head = dense(outputs, name=names[2])

    def call(self, inputs):
        for layer in self.hidden:
            inputs = layer(inputs)
        return self.head(inputs)

    def get_config(self):
        return self.arguments

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable("matrix")
class KerasStack(Stack, keras.Model):
    library = "keras"


@tf_keras.saving.register_keras_serializable("matrix")
class TfKerasStack(Stack, tf_keras.Model):
    library = "tf_keras"


STACKS = {"keras": KerasStack, "tf_keras": TfKerasStack}


# --- models ---------------------------------------------------------------------------------------


def make(library, kind, names=(None, None, None), outputs=2, frozen=False):
    """A model of three layers."""
    layers = LIBRARIES[library].layers
    if kind == "subclassed":
        model = STACKS[library](names, outputs)
        model(X)
        first = model.hidden[0]
    else:
        stack = [layers.Dense(6, activation="tanh", name=name) for name in names[:2]]
        stack.append(layers.Dense(outputs, name=names[2]))
        first = stack[0]
        if kind == "sequential":
            model = LIBRARIES[library].Sequential([layers.Input((6,)), *stack])
        else:
            inputs = outputs = layers.Input((6,))
            for layer in stack:
                outputs = layer(outputs)
            model = LIBRARIES[library].Model(inputs, outputs)
    first.trainable = not frozen
    return model


def compiled(library, model, optimizer):
    loss = LIBRARIES[library].losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss, jit_compile=False)
    return model


def unfreeze(library, model):
    """Unfreezes all layers; the model is compiled again, with the optimizer that it has."""
    for layer in [*model.layers, *getattr(model, "hidden", [])]:
        layer.trainable = True
    return compiled(library, model, model.optimizer)


def train(model, batches):
    if batches:
        model.fit(X[: 8 * batches], Y[: 8 * batches], batch_size=8, shuffle=False, verbose=0)


def copy_weights(source, model):
    """Layer by layer: in tf-keras the weights of a model include those of its optimizer."""
    for layer, other in zip(source.layers, model.layers, strict=True):
        other.set_weights(layer.get_weights())


def state_of(model):
    """Values by variable, since the order of slots is that in which variables were seen."""
    variables, optimizer = model.trainable_variables, model.optimizer
    slots = [slots_of(optimizer, variable) for variable in variables]
    first = [slot for each in slots for name, slot in each.items() if name != "micro_steps"]
    return [optimizer.iterations, *map(np.asarray, variables), *first]


# --- states ---------------------------------------------------------------------------------------

NAMED = ("base", "middle", "head")
COSINE = {"learning_rate": tfopt.schedules.CosineDecay(0.05, 100)}


class State:
    """What has happened before a model is saved, and how the other one differs.

    Args:
        batches: how many batches the model is trained for.
        options: of its optimizer.
        model: of its model.
        there: what is otherwise in the model that takes the file: "model", "options", "class".
        shifted: whether other layers were made before.
        built: whether the other optimizer is built before it loads.
        twice: whether it loads once more, after it was trained.
        then: what happens to both models after one more batch.
    """

    def __init__(
        self,
        batches=2,
        options=None,
        model=None,
        there=None,
        shifted=False,
        built=False,
        twice=False,
        then=lambda library, model: model,
    ):
        self.batches, self.shifted, self.built, self.twice = batches, shifted, built, twice
        self.options = {"learning_rate": 0.05, **(options or {})}
        self.model, self.then = {"names": NAMED, **(model or {})}, then
        there = there or {}
        self.optimizer_there = there.get("class", tfopt.Adam)
        self.options_there = {**self.options, **there.get("options", {})}
        self.model_there = {**self.model, **there.get("model", {})}
        self.other_model = "model" in there
        self.other_optimizer = "options" in there or "class" in there


STATES = {
    "never trained": State(batches=0),
    "trained": State(),
    "in the middle of a window": State(batches=3, options={"gradient_accumulation_steps": 2}),
    "part frozen": State(model={"frozen": True}, then=unfreeze),
    "variable added": State(model={"frozen": True}, there={"model": {"frozen": False}}),
    "other head": State(there={"model": {"names": ("base", "middle", "top"), "outputs": 3}}),
    "other class": State(there={"class": tfopt.RMSprop}),
    "shifted names": State(model={"names": (None,) * 3}, shifted=True),
    "renamed": State(there={"model": {"names": ("one", "two", "three")}}),
    "loaded twice": State(twice=True),
    "loaded after build": State(built=True),
    "other rate": State(there={"options": {"learning_rate": 1e-5}}),
    "same schedule": State(options=COSINE),
    "other schedule": State(there={"options": COSINE}),
}


# --- formats --------------------------------------------------------------------------------------


def whole_model(ending):
    def transfer(library, source, other, state, folder):
        path = str(folder / f"model{ending}")
        source.save(path)
        model = LIBRARIES[library].models.load_model(path)
        if state.twice:
            train(model, 1)
            model = LIBRARIES[library].models.load_model(path)
        return model

    return transfer


def weights_file(ending):
    def transfer(library, source, other, state, folder):
        path = str(folder / f"model{ending}")
        source.save(path) if ending == ".keras" else source.save_weights(path)
        model = other()
        skip = {"skip_mismatch": True} if state.other_model else {}
        for number in range(1 + state.twice):
            train(model, number)
            model.load_weights(path, **skip)
        return model

    return transfer


def checkpoint(library, source, other, state, folder):
    path = str(folder / "model")
    model = other()
    if library == "tf_keras":
        source.save_weights(path, save_format="tf")
    else:
        path = tf.train.Checkpoint(model=source, optimizer=source.optimizer).save(path)
    for number in range(1 + state.twice):
        train(model, number)
        if library == "tf_keras":
            model.load_weights(path).expect_partial()
        else:
            saved = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
            saved.restore(path).expect_partial()
    return model


def pickled(library, source, other, state, folder):
    model = other()
    for number in range(1 + state.twice):
        train(model, number)
        compiled(library, model, pickle.loads(pickle.dumps(source.optimizer)))
        copy_weights(source, model)
    return model


def copied(library, source, other, state, folder):
    """A copied model has a copied optimizer."""
    model = copy.deepcopy(source)
    if not model.optimizer:  # older tf-keras copies the model alone
        compiled(library, model, copy.deepcopy(source.optimizer))
    return model


FORMATS = {
    ".keras": whole_model(".keras"),
    ".keras, weights": weights_file(".keras"),
    ".weights.h5": weights_file(".weights.h5"),
    ".h5": whole_model(".h5"),
    "TensorFlow's": checkpoint,
    "pickle": pickled,
    "deepcopy": copied,
}


# --- what must be seen ----------------------------------------------------------------------------

GOES_ON = ""
WHOLE = "the file makes the model, its names and its optimizer"
OBJECT = "the object has its own class and hyperparameters"
KEEPS = "keeps the hyperparameters"
NEW_SCHEDULE = "another schedule"
AFRESH = "begin afresh"

LOADS_WEIGHTS = {
    "variable added": AFRESH,
    "other head": AFRESH,
    "other class": "saved by Adam is not loaded",
    "other rate": KEEPS,
    "other schedule": NEW_SCHEDULE,
}
MAKES_MODEL = dict.fromkeys(
    ("variable added", "other head", "renamed", "other class", "loaded after build"), "—" + WHOLE
) | dict.fromkeys(("other rate", "other schedule"), "—" + WHOLE)

OUTCOMES = {
    ".keras": MAKES_MODEL,
    ".h5": MAKES_MODEL,
    ".keras, weights": LOADS_WEIGHTS,
    ".weights.h5": LOADS_WEIGHTS,
    "TensorFlow's": {
        "variable added": GOES_ON,
        "other head": "—TensorFlow refuses variables of another shape",
        "other class": "was saved by Adam and is restored into RMSprop",
        "other rate": "was 1e-05 and is 0.05",
        "other schedule": "—schedules are not in it, as with OptimizerV2",
    },
    "pickle": {
        "variable added": "!no values for 4 of 12 slots",
        "other head": "—the weights of a model must fit",
        "loaded after build": "—it is loaded as a whole",
    }
    | dict.fromkeys(("other class", "other rate", "other schedule"), "—" + OBJECT),
    "deepcopy": dict.fromkeys(
        (
            "variable added",
            "other head",
            "other class",
            "shifted names",
            "renamed",
            "loaded twice",
            "loaded after build",
            "other rate",
            "other schedule",
        ),
        "—the copy is of this model",
    ),
}


def outcome(form, state):
    """A word of the warning; "" if training goes on; "!" and a word of an error; "—" and why."""
    return OUTCOMES[form].get(state, GOES_ON)


def shift(library):
    """Makes layers, so that those made next have other names than in a new process."""
    LIBRARIES[library].backend.clear_session()
    for _ in range(2):
        LIBRARIES[library].layers.Dense(1)
    LIBRARIES[library].Sequential([])


def run(form, name, library, kind, folder):
    """Runs one cell; gives the warnings, and both models after they were trained further."""
    state = STATES[name]
    LIBRARIES[library].backend.clear_session()
    source = make(library, kind, **state.model)
    compiled(library, source, tfopt.Adam(**state.options))
    train(source, state.batches)

    def other():
        model = make(library, kind, **state.model_there)
        compiled(library, model, state.optimizer_there(**state.options_there))
        if state.built:
            model.optimizer.build(model.trainable_variables)
        return model

    if state.shifted:
        shift(library)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = FORMATS[form](library, source, other, state, folder)
        before = model.optimizer.iterations.numpy()
        models = []
        for each in (source, model):
            train(each, 1)
            models.append(state.then(library, each))
            train(each, 2)
    texts = [str(w.message) for w in caught if issubclass(w.category, tfopt.TfoptWarning)]
    return texts, before, models


def assert_as_the_table_says(form, name, library, kind, folder):
    wanted = outcome(form, name)
    if wanted[:1] == "!":
        try:
            run(form, name, library, kind, folder)
        except ValueError as error:
            assert wanted[1:] in str(error)
            return
        raise AssertionError(f"must raise: {wanted[1:]}")
    texts, before, (source, model) = run(form, name, library, kind, folder)
    if wanted == GOES_ON:
        assert not texts, texts
        if name != "variable added":
            assert_same(state_of(model), state_of(source))
    else:
        assert len(texts) == 1, texts
        assert wanted in texts[0]
        none = wanted in (NEW_SCHEDULE, LOADS_WEIGHTS["other class"])
        assert before == (0 if none else STATES[name].batches)
        assert all(np.all(np.isfinite(value)) for value in state_of(model))


# What a library cannot save, whoever wrote the optimizer: format, library, kind of model; why.
NOT_SAVED = {
    (".h5", "keras", "subclassed"): "HDF5 cannot hold subclassed models",
    (".h5", "tf_keras", "subclassed"): "HDF5 cannot hold subclassed models",
    ("TensorFlow's", "keras", "subclassed"): (
        "`tf.train.Checkpoint` does not find layers that a model of Keras 3 keeps in a list: "
        "neither their weights nor their slots are saved"
    ),
}


# The config of a subclassed model does not say which layers are frozen.
NOT_IN_THE_CONFIG = {(form, "part frozen", "subclassed") for form in (".keras", "deepcopy")}


def cells():
    """Every cell that has a meaning: format, state, library, kind of model."""
    return [
        (form, state, library, kind)
        for form in FORMATS
        for state in STATES
        for library in LIBRARIES
        for kind in KINDS
        if outcome(form, state)[:1] != "—"
        and (form, library, kind) not in NOT_SAVED
        and (form, state, kind) not in NOT_IN_THE_CONFIG
    ]


def some_cells():
    """Each state once, each format at least once, each library and kind of model in turn."""
    every, chosen = cells(), []
    for number, state in enumerate(STATES):
        of_state = [cell for cell in every if cell[1] == state]
        forms = list(dict.fromkeys(cell[0] for cell in of_state))
        of_form = [cell for cell in of_state if cell[0] == forms[number % len(forms)]]
        chosen.append(of_form[number % len(of_form)])
    missing = [form for form in FORMATS if form not in {cell[0] for cell in chosen}]
    return [*chosen, *(next(cell for cell in every if cell[0] == form) for form in missing)]


def table():
    """The table in Markdown, with a line for each reason of a dash."""
    reasons = []
    lines = [f"| | {' | '.join(f'`{form}`' for form in FORMATS)} |", "| --- " * 8 + "|"]
    for state in STATES:
        words = []
        for form in FORMATS:
            wanted = outcome(form, state)
            if wanted[:1] == "—":
                if wanted[1:] not in reasons:
                    reasons.append(wanted[1:])
                words.append(f"— ({reasons.index(wanted[1:]) + 1})")
            else:
                words.append({"": "goes on", "!": "raises"}.get(wanted[:1], "warns once"))
        lines.append(f"| {state} | {' | '.join(words)} |")
    lines += ["", *(f"{number}. {reason}." for number, reason in enumerate(reasons, 1)), ""]
    return "\n".join([*lines, "What the libraries themselves do not save:", "", *not_saved()])


def not_saved():
    """What a library does not save, in Markdown."""
    return [
        f"- `{form}`: {reason}." for form, reason in {k[0]: r for k, r in NOT_SAVED.items()}.items()
    ]
