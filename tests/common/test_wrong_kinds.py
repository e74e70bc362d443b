"""What stands in the place of a method, a model, an objective, an optimizer or data by mistake is named."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import unlearnjax as uj
from unlearnjax import combine, curvature, edits, losses, memory, objectives, updates

FN = uj.models.make("mlp", input_shape=(2,), num_outputs=2, widths=(3,))
MODEL, KEY, SGD = FN.init(jax.random.key(0)), jax.random.key(1), optax.sgd(0.1)
TABLE = uj.Examples({"x": np.zeros((4, 2), np.float32), "y": np.array([0, 1, 0, 1])})
REQUEST = uj.ForgetRequest(TABLE[:1], TABLE[1:])
FORGET = uj.methods.gradient_ascent()
STEP = uj.descend({"forget": objectives.cross_entropy(FN)}, SGD)
STATE = uj.UnlearnState.create(MODEL.params, rng=KEY)


@pytest.mark.parametrize(
  "call, words",
  [
    (lambda: uj.descend({"forget": losses.cross_entropy}, SGD), "got the loss cross_entropy: objectives.supervised"),
    (lambda: uj.descend({"forget": objectives.cross_entropy}, SGD), r"objectives\['forget'\] must be an objective"),
    (lambda: uj.descend({"forget": FN}, SGD), "must be an objective"),
    (lambda: uj.descend([objectives.cross_entropy(FN)], SGD), "objectives must be a mapping"),
    (lambda: uj.descend({"forget": objectives.cross_entropy(FN)}, 0.1), "tx must be an optax transformation"),
    (lambda: uj.descend({"a": objectives.cross_entropy(FN)}, SGD, combine=combine.gem), "got the function gem"),
    (lambda: uj.fit(STEP, STATE, uj.zip_roles(forget=TABLE, batch_size=2)), "no optimizer 'main'"),
    (lambda: uj.fit(STEP, MODEL, uj.zip_roles(forget=TABLE, batch_size=2)), "state must be an UnlearnState"),
    (lambda: uj.fit(STEP, STATE, TABLE), "batches must be a Plan"),
    (lambda: uj.zip_roles(forget=np.ones((3, 2)), batch_size=2), "rows of a source must be dicts"),
    (lambda: uj.zip_roles(forget={"x": np.ones((3, 2))}, batch_size=2), r"wrap the columns, Examples\(columns\)"),
    (lambda: uj.Examples(np.ones((3, 2))), "columns must be a mapping"),
    (lambda: uj.forget(uj.methods.salun, MODEL, REQUEST, key=KEY), "method must be a Method .* got the function salun"),
    (lambda: uj.methods.salun(tx=0.1), "tx must be an optax transformation"),
    (lambda: uj.forget(FORGET, MODEL.params, REQUEST, key=KEY), "model must be a Model"),
    (lambda: uj.forget(FORGET, MODEL, [1, 2], key=KEY), "request must be a ForgetRequest"),
    (lambda: uj.forget(FORGET, MODEL, REQUEST, key=0), "key must be a typed key .* got int"),
    (lambda: uj.train(MODEL, TABLE, uj.Recipe(SGD, 1), key=KEY), "fn must be a model function"),
    (lambda: uj.train(FN, TABLE, uj.Recipe(SGD, 1), key=jax.random.PRNGKey(0)), "key must be a typed key"),
    (lambda: uj.retrain(MODEL, TABLE, uj.Recipe(SGD, 1), key=KEY), "request must be a ForgetRequest"),
    (lambda: uj.audit(MODEL, REQUEST, reference=3), "reference must be a Model"),
    (lambda: uj.data.forget_class(TABLE, 1), "dataset must be a Dataset"),
    (lambda: uj.UnlearnState.create(MODEL, rng=KEY), "pass model.params"),
    (lambda: uj.UnlearnState.create({}, rng=0), "rng must be a typed key .* got int"),
    (lambda: uj.fold(curvature.saliency, MODEL, TABLE), "statistic must be a Statistic"),
    (lambda: uj.fold(curvature.fisher_diag(FN), MODEL, TABLE), "objective must be an objective"),
    (lambda: uj.Run(out=__file__), "out must be a directory"),
    (lambda: edits.path_mask(MODEL.params, "*"), "pattern must be a regular expression"),
    (lambda: updates.by_progress(0.1), "schedule must be a function"),
  ],
)
def test_the_wrong_kind_is_named(call, words):
  with pytest.raises((TypeError, ValueError), match=words):
    call()


def test_herding_takes_numpy():
  rows = np.array([[0.0], [1.0], [5.0], [2.0]], np.float32)
  assert memory.herd(rows, np.ones(4, bool), 2).tolist() == memory.herd(jnp.array(rows), jnp.ones(4, bool), 2).tolist()
