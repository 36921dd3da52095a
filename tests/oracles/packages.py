"""The packages that have the optimizers, how each takes steps, and what is patched in them."""

import ast
import contextlib
import copy
import importlib
import importlib.metadata
import importlib.util
import math
import os
import subprocess
import sys
import types

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # for TensorFlow Addons: its optimizers are OptimizerV2
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TORCHDYNAMO_DISABLE"] = "1"  # Dion compiles its functions

import jax
import keras
import numpy as np
import optax
import schedulefree
import tensorflow as tf
import tf_keras
import torch

jax.config.update("jax_enable_x64", True)
torch.set_default_dtype(torch.float64)
keras.config.set_floatx("float64")

# What has no release with the optimizer in it, or none that can be installed: a commit, a path.
REPOSITORIES = {
    "KellerJordan/Muon": ("857d1adc159e098212f828d927460782d3da59e9", "muon.py"),
    "KellerJordan/modded-nanogpt": ("f411b3d346aa52d3504324ca93c230fd84c6c07f", "train_gpt.py"),
    "apple/ml-ademamix": ("c3d73c09f1287e5c33b95189bb0aa7de0a5a7667", "pytorch/ademamix.py"),
    "iShohei220/adopt": ("6468572b4b3688a2f056b796b071da540568520e", "src/adopt/adopt.py"),
    "kyleliang919/C-Optim": ("ccadd1847bf1f35ccb3ab296d71a117167bc2e99", "c_adamw.py"),
    "microsoft/dion": ("0a059a4542e5aa74b40dcd1dce363836c7afcd48", "dion/scalar_opts.py"),
    "sail-sg/Adan": ("2c65beaf400775753b155da4082c3819fea689b9", "adan.py"),
    "tensorflow/addons": ("d208d752e98c310280938efa939117bf635a60a8", "tensorflow_addons"),
    "zichongli5/NorMuon": ("d45c9a4280d758e2cf0b2b8333765d040e953937", "normuon.py"),
}


def version_of(package):
    """The version of a package, or the commit of a repository."""
    if package in REPOSITORIES:
        return REPOSITORIES[package][0]
    return importlib.metadata.version(package)


def path_in(folder, repository):
    """Where in a folder the file of a repository is. The repository is cloned if need be."""
    commit, path = REPOSITORIES[repository]
    clone = os.path.join(folder, repository)
    if not os.path.exists(clone):
        url = f"https://github.com/{repository}"
        git = ["git", "clone", "-q", "--no-checkout", "--filter=blob:none", url, clone]
        subprocess.run(git, check=True)
    subprocess.run(["git", "-C", clone, "checkout", "-q", commit, "--", path], check=True)
    return os.path.join(clone, path)


def module_at(path, name):
    specification = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def stub(name, path=None, **names):
    """Makes a module without content importable; with a path, what is below it has content."""
    module = sys.modules[name] = types.ModuleType(name)
    module.__path__ = [] if path is None else [path]
    vars(module).update(names)


def names(folder):
    """What a call may name, by the name it has there."""
    paths = {repository: path_in(folder, repository) for repository in REPOSITORIES}

    # Of timm only the optimizers are imported: its models need torchvision.
    stub("timm", os.path.dirname(importlib.util.find_spec("timm").origin))
    stub("timm.models", group_parameters=None)
    timm_optimizers = importlib.import_module("timm.optim")

    stub("transformers.utils.versions", require_version=lambda *_: None)  # for C-Optim
    stub("tensorflow_addons", paths["tensorflow/addons"])  # whose own imports need its kernels
    addons = importlib.import_module("tensorflow_addons.optimizers")

    with open(paths["KellerJordan/modded-nanogpt"]) as file:
        assignments = [n for n in ast.parse(file.read()).body if isinstance(n, ast.Assign)]
    (polar_express,) = (
        ast.literal_eval(n.value)
        for n in assignments
        if ast.unparse(n.targets[0]) == "polar_express_coeffs"
    )

    def of(repository):
        return module_at(paths[repository], "source_of_" + os.path.basename(repository))

    return {
        "np": np,
        "optax": optax,
        "schedulefree": schedulefree,
        "torch": torch,
        "keras": keras,
        "legacy": tf_keras.optimizers.legacy,
        "timm": types.SimpleNamespace(optim=timm_optimizers),
        "tfa": types.SimpleNamespace(optimizers=addons),
        "polar_express_coeffs": polar_express,
        "muon": of("KellerJordan/Muon"),
        "normuon": of("zichongli5/NorMuon"),
        "ademamix": of("apple/ml-ademamix"),
        "adopt": of("iShohei220/adopt"),
        "c_adamw": of("kyleliang919/C-Optim"),
        "adan": of("sail-sg/Adan"),
        "dion": of("microsoft/dion"),
        "by_function": ByFunction,
        "matrices_only": lambda weights: [x.ndim > 1 for x in weights],
    }


@contextlib.contextmanager
def float64_orthogonalization():
    """Lets Muon's iterations run in float64: they are in bfloat16 otherwise."""
    module = sys.modules["timm.optim.muon"]
    function, cast = module.zeropower_via_newtonschulz, torch.Tensor.bfloat16
    defaults = function.__defaults__
    torch.Tensor.bfloat16 = lambda self: self.clone()
    function.__defaults__ = tuple(torch.float64 if d is torch.bfloat16 else d for d in defaults)
    try:
        yield
    finally:
        torch.Tensor.bfloat16, function.__defaults__ = cast, defaults


class ByFunction:
    """An optimizer of torch whose steps are calls of a function with all weights and slots."""

    def __init__(self, parameters, slots, update):
        self.parameters, self.update, self.steps = parameters, update, 0
        self.slots = [[torch.zeros_like(p.data) for p in parameters] for _ in range(slots)]

    def step(self):
        self.steps += 1
        weights, gradients = [p.data for p in self.parameters], [p.grad for p in self.parameters]
        self.update(weights, gradients, self.slots, self.steps)


# --- steps: each gives the weights after each step, and weights for evaluation or None ------------


def torch_weights(parameters, transposed):
    arrays = [parameter.detach().numpy().copy() for parameter in parameters]
    return [array.T for array in arrays] if transposed else arrays


def with_torch(make, initial, steps, transposed=False, average=None):
    """An optimizer of torch. Its matrices are transposed where the shape has a meaning.

    With `average` it is torch's AveragedModel that is evaluated, which takes the weights after the
    steps for which `average(step)` is true; without, what a schedule-free optimizer has.
    """
    turn = np.transpose if transposed else np.asarray
    parameters = [torch.nn.Parameter(torch.tensor(turn(x).copy())) for x in initial]
    module = torch.nn.ParameterList(parameters)
    averaged = average and torch.optim.swa_utils.AveragedModel(module)
    optimizer = make(parameters)
    schedule_free = hasattr(optimizer, "train")
    if schedule_free:
        optimizer.train()
    weights, evaluated = [], []
    for step, gradients in enumerate(steps):
        for parameter, g in zip(parameters, gradients, strict=True):
            parameter.grad = torch.tensor(turn(g).copy())
        optimizer.step()
        weights.append(torch_weights(parameters, transposed))
        if schedule_free:
            state = copy.deepcopy((optimizer.state_dict(), [p.data for p in parameters]))
            optimizer.eval()
            evaluated.append(torch_weights(parameters, transposed))
            optimizer.load_state_dict(state[0])
            for parameter, value in zip(parameters, state[1], strict=True):
                parameter.data.copy_(value)
            assert optimizer.param_groups[0]["train_mode"]
        if average:
            if average(step):
                averaged.update_parameters(module)
            there = [*averaged.module] if averaged.n_averaged else []
            none = [np.full_like(x, math.nan) for x in initial]
            evaluated.append(torch_weights(there, transposed) or none)
    return weights, evaluated or None


def with_optax(make, initial, steps, lookahead=False):
    optimizer = make(None)
    weights = [jax.numpy.asarray(x) for x in initial]
    parameters = optax.LookaheadParams.init_synced(weights) if lookahead else weights
    state, trajectory = optimizer.init(parameters), []
    for gradients in steps:
        gradients = [jax.numpy.asarray(g) for g in gradients]
        changes, state = optimizer.update(gradients, state, parameters)
        parameters = optax.apply_updates(parameters, changes)
        now = parameters.fast if lookahead else parameters
        trajectory.append([np.asarray(x) for x in now])
    return trajectory, None


def with_keras(make, initial, steps, variable=keras.Variable):
    """An optimizer of Keras 3; of TensorFlow Addons with `variable=tf.Variable`."""
    optimizer, trajectory = make(None), []
    variables = [variable(x, dtype="float64") for x in initial]
    for gradients in steps:
        pairs = zip([tf.constant(g) for g in gradients], variables, strict=True)
        optimizer.apply_gradients(pairs)
        trajectory.append([np.array(v) for v in variables])
    return trajectory, None
