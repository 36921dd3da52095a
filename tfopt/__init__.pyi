# Made by `python tests/stubs.py` from the declarations. Do not edit.
"""Optimizers for TensorFlow, each a `tf.Module`."""

from tfopt import evaluation as evaluation
from tfopt import functional as functional
from tfopt import groups as groups
from tfopt import initializers as initializers
from tfopt import inspect as inspect
from tfopt import legacy as legacy
from tfopt import optimizers as optimizers
from tfopt import schedules as schedules
from tfopt._libraries.warnings import TfoptWarning as TfoptWarning
from tfopt._values.initial_values import copy as copy
from tfopt._values.initial_values import full as full
from tfopt._values.initial_values import zeros as zeros
from tfopt.conversion import convert as convert
from tfopt.hyper import Alias as Alias
from tfopt.hyper import Hyper as Hyper
from tfopt.hyper import Static as Static
from tfopt.optimizer import Optimizer as Optimizer
from tfopt.optimizers.adabelief import AdaBelief as AdaBelief
from tfopt.optimizers.adadelta import Adadelta as Adadelta
from tfopt.optimizers.adafactor import Adafactor as Adafactor
from tfopt.optimizers.adagrad import Adagrad as Adagrad
from tfopt.optimizers.adam import Adam as Adam
from tfopt.optimizers.adamax import Adamax as Adamax
from tfopt.optimizers.adamw import AdamW as AdamW
from tfopt.optimizers.adan import Adan as Adan
from tfopt.optimizers.ademamix import AdEMAMix as AdEMAMix
from tfopt.optimizers.adopt import ADOPT as ADOPT
from tfopt.optimizers.cocob import COCOB as COCOB
from tfopt.optimizers.conditional_gradient import ConditionalGradient as ConditionalGradient
from tfopt.optimizers.ftrl import Ftrl as Ftrl
from tfopt.optimizers.lamb import LAMB as LAMB
from tfopt.optimizers.lars import LARS as LARS
from tfopt.optimizers.lion import Lion as Lion
from tfopt.optimizers.muon import Muon as Muon
from tfopt.optimizers.nadam import Nadam as Nadam
from tfopt.optimizers.nadamw import NAdamW as NAdamW
from tfopt.optimizers.novograd import NovoGrad as NovoGrad
from tfopt.optimizers.proximal_adagrad import ProximalAdagrad as ProximalAdagrad
from tfopt.optimizers.rectified_adam import RectifiedAdam as RectifiedAdam
from tfopt.optimizers.rmsprop import RMSprop as RMSprop
from tfopt.optimizers.schedule_free_adamw import ScheduleFreeAdamW as ScheduleFreeAdamW
from tfopt.optimizers.schedule_free_radam import ScheduleFreeRAdam as ScheduleFreeRAdam
from tfopt.optimizers.schedule_free_sgd import ScheduleFreeSGD as ScheduleFreeSGD
from tfopt.optimizers.sgd import SGD as SGD
from tfopt.optimizers.yogi import Yogi as Yogi
from tfopt.registry import deserialize as deserialize
from tfopt.registry import get as get
from tfopt.registry import register as register
from tfopt.registry import serialize as serialize
from tfopt.wrappers.lookahead import Lookahead as Lookahead
from tfopt.wrappers.loss_scale import LossScaleOptimizer as LossScaleOptimizer
from tfopt.wrappers.multi_optimizer import MultiOptimizer as MultiOptimizer
from tfopt.wrappers.multi_optimizer import OptimizerMap as OptimizerMap
from tfopt.wrappers.swa import SWA as SWA
from tfopt.wrappers.wrapper import Wrapper as Wrapper

__version__: str
Lamb = LAMB
RAdam = RectifiedAdam
