"""The search of the built pages finds what people type: the last part of `make docs`.

Each line of QUERIES is searched by Sphinx' own script over its own index, in a JavaScript engine.
One of the pages named must be among the first results.
"""

import json
import sys
from pathlib import Path

from py_mini_racer import MiniRacer

FIRST = 3  # results that a reader looks at
QUERIES = {
    "install": "install",
    "getting started": "first_steps",
    "freeze": "recipes/fine_tuning groups",
    "unfreeze": "recipes/fine_tuning groups",
    "fine-tuning": "recipes/fine_tuning groups",
    "fine-tune": "recipes/fine_tuning",
    "param group": "recipes/fine_tuning",
    "learning rate multiplier": "recipes/fine_tuning",
    "learning rate for each layer": "recipes/fine_tuning groups",
    "discriminative": "recipes/fine_tuning",
    "biases": "recipes/weight_decay groups",
    "many machines": "recipes/many_gpus distribution",
    "scheduler": "recipes/learning_rate_schedule schedules",
    "learning rate schedule": "recipes/learning_rate_schedule schedules",
    "warmup": "recipes/learning_rate_schedule schedules",
    "LearningRateScheduler": "recipes/learning_rate_schedule",
    "ReduceLROnPlateau": "recipes/reduce_on_plateau",
    "reduce on plateau": "recipes/reduce_on_plateau",
    "EarlyStopping": "recipes/reduce_on_plateau",
    "weight decay": "recipes/weight_decay",
    "gradient clipping": "recipes/gradient_clipping",
    "clipnorm": "recipes/gradient_clipping",
    "gradient accumulation": "recipes/gradient_accumulation policies",
    "EMA": "recipes/exponential_moving_average policies",
    "exponential moving average": "recipes/exponential_moving_average policies",
    "mixed precision": "recipes/mixed_precision",
    "loss scaling": "recipes/mixed_precision policies",
    "embeddings": "recipes/large_embeddings sparse",
    "sparse gradients": "recipes/large_embeddings sparse",
    "GAN": "recipes/several_optimizers",
    "several optimizers": "recipes/several_optimizers",
    "train_step": "recipes/several_optimizers",
    "pickle": "recipes/names_configs_copies state",
    "GPU": "recipes/many_gpus distribution",
    "MirroredStrategy": "recipes/many_gpus distribution",
    "ModelCheckpoint": "recipes/checkpoints",
    "BackupAndRestore": "recipes/checkpoints",
    "checkpoint": "recipes/checkpoints state",
    "resume": "recipes/checkpoints first_steps state",
    "migrate": "recipes/migrate migration",
    "Keras 3": "recipes/migrate migration",
    "tf-keras": "recipes/migrate migration",
    "TensorFlow Addons": "recipes/migrate migration",
    "PyTorch": "recipes/migrate groups schedules",
    "Optax": "recipes/migrate groups",
    "NaN": "recipes/debug_the_loss",
    "loss does not fall": "recipes/debug_the_loss",
    "learning rate finder": "recipes/debug_the_loss inspecting",
    "custom optimizer": "recipes/write_an_optimizer writing_an_optimizer",
    "write an optimizer": "recipes/write_an_optimizer writing_an_optimizer",
    "TensorBoard": "inspecting",
    "AdamW": "generated/AdamW",
    "Muon": "generated/Muon",
}
# What the scripts expect of a browser.
BROWSER = """
const window = globalThis, SPHINX_HIGHLIGHT_ENABLED = false;
const document = {getElementById: () => null};
const _ready = () => {};
const _ = text => text;
"""
SCRIPTS = ("_static/language_data.js", "_static/searchtools.js", "searchindex.js")


def main(html: Path) -> int:
    """Prints the queries that find none of their pages, and returns how many there are."""
    failures = 0
    with MiniRacer() as engine:
        engine.eval(BROWSER)
        for script in SCRIPTS:
            engine.eval((html / script).read_text(encoding="utf-8"))
        for query, expected in QUERIES.items():
            search = f"Search._performSearch(...Search._parseQuery({json.dumps(query)}))"
            results = json.loads(engine.eval(f"JSON.stringify({search})"))
            found = [result[0] for result in results[::-1][:FIRST]]  # the best one is the last
            if not set(expected.split()) & set(found):
                failures += 1
                print(f"A search for {query!r} finds {found}, not {expected}", file=sys.stderr)
    return failures


if __name__ == "__main__":
    sys.exit(bool(main(Path(sys.argv[1]))))
