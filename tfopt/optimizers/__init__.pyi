# Made by `python tests/stubs.py` from the declarations. Do not edit.
"""The optimizers, one in each file."""

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

Lamb = LAMB
RAdam = RectifiedAdam
