"""What is left out of Keras' own tests when they run on tfopt, and why: the one table of it."""

from __future__ import annotations

from typing import NamedTuple


class Left(NamedTuple):
    """Tests that fail for one reason; `*` stands for any characters."""

    reason: str
    said: str | None  # the words of docs/migration.md; None if no user could notice
    tests: tuple[str, ...]


# Files that test classes that tfopt does not have.
FILES: dict[str, str] = {}

LOSS_SCALE = "optimizers/loss_scale_optimizer_test.py::LossScaleOptimizerTest::"
OPTIMIZER = "optimizers/optimizer_test.py::OptimizerTest::"
REPLICAS = "backend/tensorflow/optimizer_distribute_test.py::OptimizerDistributeTest::"
SAVING = "saving/saving_lib_test.py::"
MULTI = "optimizers/multi_optimizer_test.py::MultiOptimizerTest::"
MUON = "optimizers/muon_test.py::MuonTest::"
SPARSE = "optimizers/optimizer_sparse_test.py::OptimizerSparseTest::"

TESTS = (
    # Different on purpose, as a user could notice.
    Left(
        "`variables` are OptimizerV2's",
        "The learning rate is not among `optimizer.variables`",
        (
            "optimizers/sgd_test.py::SGDTest::test_single_step",
            OPTIMIZER + "test_setting_lr_to_callable_untracks_lr_var",
        ),
    ),
    Left(
        "names are OptimizerV2's, and not made unique",
        'The name of `tfopt.Adam()` is "Adam"',
        (OPTIMIZER + "test_optimizer_auto_naming",),
    ),
    Left(
        "weights may be set before there are slots",
        "`set_weights` works before the optimizer has seen variables",
        (OPTIMIZER + "test_set_weights",),
    ),
    Left(
        "OptimizerV2 took several ways to clip",
        "`clipnorm`, `clipvalue` and `global_clipnorm` may be combined",
        (OPTIMIZER + "test_clip_args",),
    ),
    Left(
        "averages start as tf-keras' do",
        "An average of the weights starts at the value that the variable had before the first step",
        (
            "optimizers/adam_test.py::AdamTest::test_ema",
            "optimizers/adam_test.py::AdamTest::test_ema_overwrite_frequency",
            OPTIMIZER + "test_ema",
            OPTIMIZER + "test_ema_with_model_fit",
            REPLICAS + "test_ema",
        ),
    ),
    Left(
        "Nadam is OptimizerV2's",
        "Nadam has OptimizerV2's momentum schedule",
        (
            "optimizers/nadam_test.py::NadamTest::test_correctness_with_golden",
            "optimizers/nadam_test.py::NadamTest::test_single_step",
        ),
    ),
    Left(
        "an argument without effect",
        "`Adafactor(relative_step=False)` has an effect",
        ("optimizers/adafactor_test.py::AdafactorTest::test_correctness_with_golden",),
    ),
    Left(
        "LAMB's decay is the paper's",
        "LAMB decays weights inside of the trust ratio",
        ("optimizers/lamb_test.py::LambTest::test_weight_decay",),
    ),
    Left(
        "None means that nothing decays, in each optimizer",
        "`AdamW(weight_decay=None)` decays nothing",
        ("optimizers/adamw_test.py::AdamWTest::test_weight_decay_is_none",),
    ),
    Left(
        "an argument without effect raises",
        "`Ftrl(weight_decay=...)` raises",
        (OPTIMIZER + "test_gradient_accumulation_with_weigth_decay9",),
    ),
    Left(
        "the loss would be scaled twice",
        "`LossScaleOptimizer` takes no optimizer with a `loss_scale_factor`",
        (LOSS_SCALE + "test_finite_step_with_inner_loss_scale_stateful",),
    ),
    Left(
        "unknown keywords are Python's TypeError",
        "A keyword that `LossScaleOptimizer` does not have raises a TypeError",
        (
            LOSS_SCALE + "test_init_base_optimizer_unsupported_args_*",
            LOSS_SCALE + "test_init_unsupported_arg",
        ),
    ),
    Left(
        "one step for all parts",
        "Parts of a `MultiOptimizer` have no loss scale, averages or `iterations` of their own",
        (
            MULTI + "test_gradient_unscaling",
            MULTI + "test_loss_scaling",
            MULTI + "test_multi_optimizer_with_model_fit",
            MULTI + "test_multi_optimizer_wrapped_in_loss_scale_optimizer",
            MULTI + "test_swap_ema_weights_with_multi_optimizer",
        ),
    ),
    Left(
        "a config can hold which variables are meant",
        "`MultiOptimizer` takes no function that returns an optimizer",
        (MULTI + "test_custom_callable_function",),
    ),
    Left(
        "numbers are in variables of TensorFlow",
        "`optimizer.learning_rate.value` and `optimizer.iterations.value` are methods",
        (
            "callbacks/learning_rate_scheduler_test.py::LearningRateSchedulerTest::"
            "test_schedule_dependent_on_previous_learning_rate",
            "callbacks/learning_rate_scheduler_test.py::LearningRateSchedulerTest::"
            "test_updates_learning_rate",
            "callbacks/reduce_lr_on_plateau_test.py::ReduceLROnPlateauTest::test_cooldown",
            "callbacks/reduce_lr_on_plateau_test.py::ReduceLROnPlateauTest::test_honors_min_lr",
            "callbacks/reduce_lr_on_plateau_test.py::ReduceLROnPlateauTest::"
            "test_reduces_lr_with_model_fit",
            LOSS_SCALE + "test_iterations_update_stateful",
        ),
    ),
    Left(
        "a number may replace a schedule",
        "`LearningRateScheduler` and `ReduceLROnPlateau` replace a schedule by a number",
        (
            "callbacks/learning_rate_scheduler_test.py::LearningRateSchedulerTest::"
            "test_throws_when_optimizer_has_schedule",
            "callbacks/reduce_lr_on_plateau_test.py::ReduceLROnPlateauTest::"
            "test_throws_when_optimizer_has_schedule",
        ),
    ),
    Left(
        "`assign` and the like are for Keras' own subclasses, and say so",
        "`assign`, `update_step`, `add_variable` and `stateless_apply` raise",
        (
            "trainers/trainer_test.py::TestTrainer::test_fit_sparse_*",
            SPARSE + "test_sparse_gradients_[!s]*",
            SPARSE + "test_sparse_gradients_sgd*",
            REPLICAS + "test_stateless_not_supported",
            MUON + "test_*_single_step",
        ),
    ),
    Left(
        "methods of Keras' Muon that are no part of its public interface",
        None,
        (
            MUON + "test_Newton_Schulz",
            MUON + "test_adamw_weight_decay",
            MUON + "test_lr_adjust_*",
            MUON + "test_should_use_adamw",
        ),
    ),
    Left(
        "no SciPy",
        "`STFT` knows the windows Hann and Hamming",
        (
            "initializers/constant_initializers_test.py::ConstantInitializersTest::"
            "test_stft_initializer",
        ),
    ),
    Left(
        "variables without gradients have no slots, as in OptimizerV2; a loaded model builds them",
        "A variable that never had a gradient has no slots",
        (
            SAVING + "SavingTest::test_compile_preserved_custom_functional",
            SAVING + "SavingTest::test_compile_preserved_custom_sequential",
            SAVING + "SavingTest::test_compile_preserved_subclassed",
        ),
    ),
    Left(
        "a file also has what tells slots and hyperparameters apart, and a checksum",
        "A file of Keras has more entries for an optimizer",
        ("saving/file_editor_test.py::SavingTest::test_scalar_weight",),
    ),
    # Different on purpose; no user could notice.
    Left(
        "private attributes",
        None,
        (
            "optimizers/nadam_test.py::NadamTest::test_build_with_empty_var_list",
            MULTI + "test_default_fallback",
            MULTI + "test_serialization",
            OPTIMIZER + "test_gradient_accumulation",
            OPTIMIZER + "test_overwrite_with_gradient_with_gradient_accumulation",
            REPLICAS + "test_gradient_accumulation",
        ),
    ),
    Left(
        "the same error or warning in other words",
        None,
        (
            "initializers/random_initializers_test.py::RandomInitializersTest::"
            "test_variance_scaling_invalid_*",
            "optimizers/ftrl_test.py::FtrlTest::test_invalid_*",
            "optimizers/lion_test.py::LionTest::test_invalid_beta_1",
            "optimizers/sgd_test.py::SGDTest::test_invalid_momentum",
            LOSS_SCALE + "test_init_dynamic_arg",
            MULTI + "test_multi_optimizer_blocks_nested_optimizers",
            OPTIMIZER + "test_mixed_with_tf_variables",
        ),
    ),
)
