# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A network that writes the weights of every task
#
# **What it shows**: a hypernetwork on four tasks, built by hand from an objective, a regularizer and a snapshot; the
# same as a ready method; and a model that finds out by itself which task an input belongs to. **Run time**: about a
# minute on two CPU cores. **What to change**: `TASKS`, `BETAS`, `chunk` and `hidden` of the hypernetwork, the stream.
#
# On a fresh machine: `pip install -e .` in a checkout.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import unlearnjax as uj
from unlearnjax import metrics, objectives, reparam, updates

FAST = bool(os.environ.get("UNLEARNJAX_FAST"))  # the tests run this notebook with little training
TASKS, EPOCHS = (2, 2) if FAST else (4, 25)
BETAS = (0.0, 0.01)

# %% [markdown]
# ## The parts
#
# The target network is an ordinary model. A hypernetwork `h` writes its weights from an embedding of the task, here in
# chunks of 500 numbers, so that `h` need not be larger than what it writes. As for LoRA, `bind` turns a function of the
# weights into a function of the new parameters: here one that reads the task from `inputs["task"]`.

# %%
stream = uj.data.permuted("digits", tasks=TASKS)  # the same digits, their pixels in another order in each task
fn = uj.models.make("mlp", input_shape=stream.input_shape, num_outputs=stream.num_outputs, widths=(32,))
target = fn.init(jax.random.key(0))

net = reparam.hypernet(TASKS, hidden=(32,), task_size=16, chunk=500, chunk_size=16)
phi, fixed = net.init(jax.random.key(1), target.params)
bound = net.bind(fn)

size = lambda tree: sum(x.size for x in jax.tree.leaves(tree))
print(f"{size(target.params)} weights a task, written for {TASKS} tasks by {size(phi)} parameters")

# %% [markdown]
# ## By hand
#
# Each task is learnt with its own loss and a penalty: the weights that `h` writes for *earlier* tasks must stay as they
# were in a snapshot from before this task. The snapshot, the number of the task and how many there were before are
# arrays in `refs`: one compiled step serves the whole stream. The penalty is zero at the snapshot itself, and so is its
# gradient; `lookahead` takes it where the task's own step would lead (von Oswald et al., arXiv:1906.00695).

# %%
own_task = reparam.at_task(bound)  # all rows belong to the task refs["task"]
penalty = reparam.hypernet_regularizer(net)  # reads refs["snapshot"] and refs["seen"]


def learn(beta):
  """phi after each task."""
  step = uj.descend({"current": objectives.cross_entropy(own_task)}, updates.lookahead(optax.adam(2e-3), penalty, beta))
  params, after = phi, []
  for task in stream:
    count = jnp.asarray(task.index)
    refs = {**fixed, "task": count, "seen": count, "snapshot": {"params": params}}
    # a fresh optimizer: momentum left over from the last task would move that task's embedding
    state = step.init(uj.UnlearnState.create(params, rng=jax.random.key(2 + task.index)))
    plan = uj.zip_roles(current=task.train, batch_size=64, epochs=EPOCHS)
    state, _ = uj.fit(step, state, plan, refs)
    params = state.params
    after.append(params)
  return after


def accuracies(params):
  """Accuracy in percent on the test set of each task, the task being told."""
  found = []
  for task in stream:
    told = uj.Model(params, (), {**fixed, "task": jnp.asarray(task.index)}, own_task)
    right = uj.outputs(told, task.test)["logits"].argmax(-1) == task.test.column("y")
    found.append(100 * np.mean(right))
  return found


learnt = {beta: learn(beta) for beta in BETAS}
matrices = {beta: np.array([accuracies(params) for params in after]) for beta, after in learnt.items()}

# %%
print("accuracy in percent in the end, the task being told")
print(f"{'beta':>6}" + "".join(f"{'task ' + str(t):>9}" for t in range(TASKS)) + f"{'BWT':>8}")
for beta, matrix in matrices.items():
  bwt = 100 * metrics.backward_transfer(matrix / 100)
  print(f"{beta:>6}" + "".join(f"{a:>9.1f}" for a in matrix[-1]) + f"{bwt:>8.1f}")

# %% [markdown]
# ## Which task is it?
#
# `by_entropy` runs an input through the weights of every task learnt so far and takes the surest answer. The table
# shows how often that is the right task: far more often than chance, and not always, because a network can be sure of
# nonsense too.

# %%
found_task = reparam.by_entropy(bound, TASKS)
end = learnt[BETAS[-1]][-1]
refs = {**fixed, "seen": jnp.asarray(TASKS)}


def entropies(inputs):
  """Entropy of the prediction with each task's weights, f[tasks, rows]."""
  logp = jnp.stack([jax.nn.log_softmax(bound(end, {**inputs, "task": t}, refs=refs).logits) for t in range(TASKS)])
  return -jnp.sum(jnp.exp(logp) * logp, axis=-1)


print(f"{'':<8}{'right task':>12}{'right digit':>13}")
for task in stream:
  inputs = {"x": jnp.asarray(task.test.column("x"))}
  right_task = jnp.mean(entropies(inputs).argmin(0) == task.index)
  digit = found_task(end, inputs, refs=refs).logits.argmax(-1)
  print(f"task {task.index:<3}{100 * right_task:>11.1f}%{100 * np.mean(digit == task.test.column('y')):>12.1f}%")

# %% [markdown]
# ## In one line
#
# The same as a method, which also resumes after a crash and keeps the classes of every task apart.

# %%
method = uj.methods.hypernetwork(
  tasks=TASKS, net=net, beta=BETAS[-1], tx=optax.adam(2e-3), epochs=EPOCHS, batch_size=64, infer_task=True
)
ready = metrics.accuracy_matrix(uj.learn(method, target, stream, key=jax.random.key(3)), stream)
print("methods.hypernetwork, the task inferred: " + "  ".join(f"{100 * a:.1f}" for a in ready[-1]))

# %%
figure, axes = plt.subplots(1, len(BETAS), figsize=(4 * len(BETAS), 3), sharey=True)
for axis, (beta, matrix) in zip(axes, matrices.items()):
  for t in range(TASKS):
    axis.plot(range(t, TASKS), matrix[t:, t], marker="o", label=f"task {t}")
  axis.set(title=f"beta {beta}", xlabel="after learning task", xticks=range(TASKS))
axes[0].set_ylabel("accuracy, %")
axes[0].legend(fontsize=8)
figure.tight_layout()
plt.show()
