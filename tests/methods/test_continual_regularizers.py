"""EWC, online EWC, SI, MAS, LwF and their relatives: figures of references, identities, and what the papers promise."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from common_paths import golden
from toy import ToyFn, toy_data
from toy_net import batches_of, model_of, role, run, tanh_mlp, view

from unlearnjax import curvature, methods, objectives, reparam, updates
from unlearnjax.core import NonFiniteError, Task, UnlearnState, descend, learn, outputs
from unlearnjax.methods.continual.consolidate import _step_size, decayed, summed

KEY = jax.random.key(1)
FN = ToyFn(classes=4)
DATA = toy_data(80, classes=4)
SMALL = dict(tx=optax.sgd(0.1), batch_size=8, epochs=3)
XENT = objectives.cross_entropy(tanh_mlp, train=False)


def tasks(count=2):
  place = DATA.column("y") // 2
  table = DATA.replace(task=place.astype(np.int32))
  both = [Task("a", 0, table.where(place == 0), None, (0, 1)), Task("b", 1, table.where(place == 1), None, (2, 3))]
  return [*both, Task("c", 2, table, None, (0, 1, 2, 3))][:count]


@functools.cache
def learned(name, **options):
  return list(learn(getattr(methods, name)(**{**SMALL, **options}), FN.init(jax.random.key(0)), tasks(), key=KEY))


def close(a, b, **tolerance):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def _network(flat):
  """The reference's 125 weights: [out, in] kernels of 6 -> 10 -> 5."""
  w = jnp.asarray(flat, jnp.float32)
  kernel = lambda part, out: part.reshape(out, -1).T
  return {
    "fc": {"kernel": kernel(w[:60], 10), "bias": w[60:70]},
    "head": {"kernel": kernel(w[70:120], 5), "bias": w[120:]},
  }


def _steps(tx, roles, params, z, which, refs):
  step = descend(roles, tx)
  state = step.init(UnlearnState.create(params, rng=jax.random.key(0)))
  update = jax.jit(step.update)
  for i in which:
    state, _ = update(state, {"current": role(z["in_x"][i], y=z["in_y"][i].astype(np.int32))}, refs)
  return state


def test_online_ewc_has_the_figures_of_mammoth():
  z = golden("mammoth_cl")
  sgd = optax.sgd(0.1)
  first = _steps(sgd, {"current": XENT}, _network(z["in_w0"]), z, (0,), {}).params
  close(first, _network(z["out_ewc_ckpt"]), atol=1e-6)
  data = batches_of(z["in_x"][:3].reshape(-1, 6), z["in_y"][:3].reshape(-1).astype(np.int32), 8)
  fisher = run(curvature.fisher_diag(XENT, kind="true_label"), model_of(first, tanh_mlp), data)
  close(fisher, _network(z["out_ewc_fish"]), rtol=1e-4, atol=1e-8)
  importance, anchor = decayed(1.0)(jax.tree.map(jnp.zeros_like, fisher), None, fisher, first)
  refs = {"importance": importance, "anchor": {"params": anchor}}
  penalty = objectives.scaled(objectives.anchored(), 10.0)  # their lambda is without 1/2
  roles = {"current": XENT, "past": penalty}
  second = _steps(sgd, roles, first, z, (1,), refs).params
  close(second, _network(z["out_ewc_w2"]), atol=1e-6)
  assert float(penalty(second, None, view(refs=refs))[0]) == pytest.approx(float(z["out_ewc_penalty"]), rel=1e-4)
  close(_steps(sgd, roles, first, z, (1, 2), refs).params, _network(z["out_ewc_w3"]), atol=1e-6)


def test_si_has_the_figures_of_mammoth():
  z = golden("mammoth_cl")
  rule = updates.path_integral(updates.penalized(optax.sgd(0.1), objectives.anchored(), 0.5))
  tx, start = optax.chain(optax.clip(1.0), rule), _network(z["in_w0"])
  zero = jax.tree.map(jnp.zeros_like, start)
  state = _steps(tx, {"current": XENT}, start, z, (0, 1, 2), {"importance": zero, "anchor": {"params": start}})
  path = optax.tree.get(state.opt_state["main"], "path")
  close(path, _network(z["out_si_small"]), rtol=1e-4, atol=1e-7)
  omega = curvature.synaptic_importance(path, start, state.params, 1.0)
  close(omega, _network(z["out_si_big"]), rtol=1e-4, atol=1e-7)
  refs = {"importance": omega, "anchor": {"params": state.params}}
  end = _steps(tx, {"current": XENT}, state.params, z, (3, 4), refs).params
  close(end, _network(z["out_si_w5"]), atol=1e-6)


def test_on_quadratics_one_anchor_is_joint_training_and_several_count_the_first_task_twice():
  rng = np.random.default_rng(0)
  curvatures, minima = rng.uniform(0.5, 2, (3, 4)), rng.normal(size=(3, 4))
  joint = lambda n: (curvatures * minima)[:n].sum(0) / curvatures[:n].sum(0)

  def ends(merge):
    importance, anchor, found = jnp.zeros(4), jnp.zeros(4), []
    for h, c in zip(curvatures, minima):  # min h/2 (x - c)^2 + importance/2 (x - anchor)^2
      found.append((h * c + importance * anchor) / (h + importance))
      importance, anchor = merge(importance, anchor, jnp.asarray(h), found[-1])
    return found

  online, separate = ends(decayed(1.0)), ends(summed)
  for n in (1, 2, 3):
    np.testing.assert_allclose(online[n - 1], joint(n), rtol=1e-4)
  np.testing.assert_allclose(separate[1], joint(2), rtol=1e-4)
  assert np.abs(separate[2] - joint(3)).max() > 0.1  # the second anchor holds the first task already


@pytest.mark.parametrize(
  "name,options",
  [
    ("si", dict(strength=0.0)),
    ("lwf", dict(strength=0.0)),
    pytest.param("ewc", dict(strength=0.0), marks=pytest.mark.slow),
    pytest.param("mas", dict(strength=0.0), marks=pytest.mark.slow),
    pytest.param("online_ewc", dict(strength=0.0), marks=pytest.mark.slow),
    pytest.param("spectral_regularization", dict(weight=0.0), marks=pytest.mark.slow),
    pytest.param("mcl", dict(decay=0.0), marks=pytest.mark.slow),
  ],
)
def test_without_its_weight_each_is_fine_tuning(name, options):
  close(learned(name, **options)[-1].model.params, learned("sequential")[-1].model.params, atol=1e-5)


@pytest.mark.slow
def test_refresh_without_its_rate_is_der_pp_and_with_a_great_one_unlearns():
  plain, none = learned("der_pp", capacity=20)[-1], learned("refresh", rate=0.0, capacity=20)[-1]
  close(plain.model.params, none.model.params, atol=1e-5)
  much = learned("refresh", rate=0.1, capacity=20)[-1]
  loss = lambda result: objectives.cross_entropy(FN, train=False)(
    result.model.params, role(DATA.column("x"), y=DATA.column("y")), view()
  )[0]
  assert loss(much) > loss(none)
  assert all(jnp.any(x > 0) for x in jax.tree.leaves(much.refs["importance"]))


def test_a_penalty_too_steep_for_the_steps_names_strength():
  message = (
    r"strength is too large for these steps: at task 'b' the penalty's largest curvature, \S+, times the step size, "
    r"0\.1, is \S+, and descent diverges above 2; lower strength, or the step size to less than"
  )
  with pytest.raises(NonFiniteError, match=message):
    learned("ewc", strength=1e6)
  assert _step_size(optax.adam(1e-3), {"w": jnp.ones(3)}) == pytest.approx(1e-3, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ewc", "online_ewc", "si", "mas", "lwf"])
def test_a_strong_anchor_keeps_the_first_task(name):
  strength = dict(ewc=500.0, online_ewc=500.0, si=500.0, mas=5.0, lwf=500.0)[name]
  tx = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.02))
  gap = lambda results: sum(
    float(jnp.sum((a - b) ** 2)) for a, b in zip(*(jax.tree.leaves(r.model.params) for r in results))
  )
  if name == "lwf":
    x = tasks()[0].train
    first = lambda result: outputs(result.model.replace(fn=FN, refs={}), x)["logits"][:, :2]
    gap = lambda results: float(np.square(first(results[1]) - first(results[0])).mean())
  assert gap(learned(name, strength=strength, tx=tx)) < 0.7 * gap(learned(name, strength=0.0, tx=tx))


def test_si_starts_a_new_path_with_every_task():
  first, second = learned("si", strength=0.0)
  assert all(
    jnp.all(x == 0) for r in (first, second) for x in jax.tree.leaves(optax.tree.get(r.state.opt_state, "path"))
  )
  grown = jax.tree.map(lambda a, b: bool(jnp.all(b >= a)), first.refs["importance"], second.refs["importance"])
  assert all(jax.tree.leaves(grown)) and float(first.refs["importance"]["head"]["bias"][:2].min()) > 0
  close(first.refs["anchor"]["params"], first.state.params)


@pytest.mark.slow
def test_slow_weights_are_served_and_the_ends_of_the_decay_are_exact():
  given = FN.init(jax.random.key(0)).params
  still, fast = learned("mcl", decay=1.0)[-1], learned("mcl", decay=0.5)[-1]
  close(still.model.params, given)
  close(still.state.params, fast.state.params)
  assert any(jnp.any(a != b) for a, b in zip(*map(jax.tree.leaves, (fast.model.params, fast.state.params))))


def test_a_hypernetwork_trains_one_embedding_a_task():
  net = reparam.hypernet(2, hidden=(8,), task_size=4, chunk=20, chunk_size=4)
  method = methods.hypernetwork(tasks=2, net=net, **{**SMALL, "tx": optax.adam(0.01)})
  first, second = learn(method, FN.init(jax.random.key(0)), tasks(), key=KEY)
  before, after = first.state.params["tasks"], second.state.params["tasks"]
  np.testing.assert_array_equal(before[0], after[0])
  assert jnp.all(before[1] != after[1]) and jnp.any(first.state.params["chunks"] != second.state.params["chunks"])
  x = DATA[:5].replace(task=np.zeros(5, np.int32))
  assert outputs(second.model, x)["logits"].shape == (5, 4)
  with pytest.raises(ValueError, match="hypernetwork was made for tasks=2 tasks, but task 'c' is number 3"):
    list(learn(method, FN.init(jax.random.key(0)), tasks(3)[2:], key=KEY))
  with pytest.raises(ValueError, match="net was made for 2 tasks, and tasks is 5"):
    methods.hypernetwork(net=net)


@pytest.mark.slow
def test_zeroth_order_learning_moves_the_chosen_weights_alone():
  method = methods.zeroflow(where="head/.*", optimizer="zo_conserve", learning_rate=0.05, batch_size=8, epochs=2)
  given = FN.init(jax.random.key(0))
  results = list(learn(method, given, tasks(), key=KEY))
  merged = reparam.detach(results[-1].model.replace(fn=results[-1].model.fn.fn))
  close(merged.params["body"], given.params["body"], rtol=0)
  assert jnp.any(merged.params["head"]["kernel"] != given.params["head"]["kernel"])


def test_bad_settings_are_named():
  for make, message in (
    (lambda: methods.ewc(strength=-1), "strength must be >= 0, got -1"),
    (lambda: methods.online_ewc(decay=2.0), r"decay must be in \[0, 1\], got 2.0"),
    (lambda: methods.online_ewc(fisher="batch_mean"), "fisher must be one of model_sampled, "),
    (lambda: methods.si(damping=0.0), "damping must be > 0, got 0.0"),
    (lambda: methods.rehearsal_free(features=1.0), "features needs site="),
    (lambda: methods.rehearsal_free(predictions=0.5), "predictions must be one of 0, 1; got 0.5"),
    (lambda: methods.spectral_regularization(kind="nuclear"), "kind must be one of spectral, "),
    (lambda: methods.mcl(interval=0), "interval must be > 0, got 0"),
    (lambda: methods.zeroflow(optimizer="sgd"), "optimizer must be one of zo_sgd, "),
  ):
    with pytest.raises(ValueError, match=message):
      make()
  with pytest.raises(ValueError, match="tag was made for tasks=1 tasks, but task 'b' is number 2"):
    list(learn(methods.tag(tasks=1), FN.init(jax.random.key(0)), tasks()[1:], key=KEY))
