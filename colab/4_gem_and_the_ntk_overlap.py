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
# # GEM, and what the tangent kernel says about forgetting
#
# **What it shows**: digits that are turned further with every task, learnt by plain training, GEM, A-GEM and OGD; then
# how much of the first task a later one destroys, predicted from the two tasks' gradients and measured. **Run time**:
# about a minute on two CPU cores. **What to change**: `ANGLES`, `uj.data.permuted` in the place of `uj.data.rotated`,
# `margin` of GEM, `ROWS` of the prediction.
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
from unlearnjax import curvature, metrics

FAST = bool(os.environ.get("UNLEARNJAX_FAST"))  # the tests run this notebook with little training
ANGLES = (0, 60, 120) if FAST else (0, 45, 90, 135)
EPOCHS = 1 if FAST else 3

# %% [markdown]
# ## A stream, and four learners
#
# Every task holds all ten digits, turned by another angle. `uj.learn` yields a result after each task; the accuracy
# matrix has a row for each of them and a column for each task's test set. A learner may not go back to earlier tasks:
# GEM and A-GEM keep a few examples of each, OGD keeps gradients.

# %%
stream = uj.data.rotated("digits", tasks=len(ANGLES), degrees=ANGLES)
fn = uj.models.make("mlp", input_shape=stream.input_shape, num_outputs=stream.num_outputs, widths=(64,))
start = fn.init(jax.random.key(0))

common = dict(tx=optax.sgd(0.1), epochs=EPOCHS)
METHODS = {
  "sequential": uj.methods.sequential(**common),
  "gem": uj.methods.gem(tasks=len(stream), memory_per_task=64, margin=0.5, **common),
  "agem": uj.methods.agem(tasks=len(stream), memory_per_task=64, **common),
  "ogd": uj.methods.ogd(tasks=len(stream), memory_per_task=64, **common),
}
matrices = {}
for name, method in METHODS.items():
  matrices[name] = metrics.accuracy_matrix(uj.learn(method, start, stream, key=jax.random.key(1)), stream)

# %%
print("gem: accuracy in percent on each task (column) after each task (row)")
print("\n".join("  ".join(f"{100 * r:5.1f}" for r in row) for row in matrices["gem"]))
print(f"\n{'':<12}{'ACC':>8}{'BWT':>8}   accuracy on each task in the end")
for name, matrix in matrices.items():
  acc, bwt = metrics.average_accuracy(matrix), metrics.backward_transfer(matrix)
  print(f"{name:<12}{100 * acc:>8.1f}{100 * bwt:>8.1f}   " + "  ".join(f"{100 * r:5.1f}" for r in matrix[-1]))

# %% [markdown]
# `ACC` is the mean accuracy in the end; `BWT` is how much the accuracy on earlier tasks has changed since they were
# learnt: negative is forgetting.
#
# ## Why it forgets: two tasks that pull at the same weights
#
# To first order a network is `f(theta_0) + J (theta - theta_0)`. `curvature.linearize` makes that a model. In it a task
# that is learnt by ridge regression moves the weights in the span of its own gradients, and the earlier task feels as
# much of that as lies in the span of *its* gradients. `curvature.ntk_overlap` gives both: the cosines of the angles
# between the two spans, and how far the answers on the earlier task will move (Doan et al., arXiv:2010.04003).
#
# We linearise at the untrained weights, let the linear model learn upright digits, and then other digits at many
# angles.

# %%
ROWS, RIDGE = (32, 1.0) if FAST else (100, 1.0)
linear = curvature.linearize(fn)  # the weights that it starts from are given as refs["origin"]
origin = {"origin": start.params}
images, labels = stream.tasks[0].train.column("x"), stream.tasks[0].train.column("y")
test = stream.tasks[0].test


def digits(first, angle):
  """Inputs and one-hot targets of `ROWS` digits, turned by an angle."""
  x = uj.data.rotate(images[first : first + ROWS], angle)
  return {"x": jnp.asarray(x)}, jax.nn.one_hot(labels[first : first + ROWS], stream.num_outputs)


@jax.jit
def learn(params, inputs, targets):
  """Weights after ridge regression in the linear model, from where it is."""
  jacobian = curvature.logit_jacobian(fn, start.params, inputs)
  off_by = linear(params, inputs, refs=origin).logits - targets
  return jax.tree.map(jnp.add, params, curvature.ridge_displacement(jacobian, off_by, RIDGE / ROWS))


@jax.jit
def predict(params, inputs, targets):
  residual = targets - linear(params, inputs, refs=origin).logits
  return curvature.ntk_overlap(fn, start.params, source, inputs, residual, ridge=RIDGE)


answers = {
  "linear": jax.jit(lambda params, inputs: linear(params, inputs, refs=origin).logits),
  "network": jax.jit(lambda params, inputs: fn(params, inputs).logits),
}


def accuracy(params):
  """Of the linear model on upright digits that it has not seen, in percent."""
  return 100 * float(np.mean(answers["linear"](params, {"x": test.column("x")}).argmax(-1) == test.column("y")))


source, first_targets = digits(0, 0.0)
upright = learn(start.params, source, first_targets)
print(f"accuracy on upright digits after learning them: {accuracy(upright):.1f} %")

# %%
turns = np.linspace(0, 180, 4 if FAST else 13)
cosines, predicted, measured = [], [], {"linear": [], "network": []}
print(f"{'angle':>6}{'mean cosine':>13}{'predicted':>11}{'linear model':>14}{'network':>9}{'accuracy':>10}")
for turn in turns:
  task = digits(ROWS, turn)
  overlap, later = predict(upright, *task), learn(upright, *task)
  cosines.append(float(overlap.cosines.mean()))
  predicted.append(float(overlap.forgetting))
  for name, answer in answers.items():
    measured[name].append(float(jnp.sum((answer(later, source) - answer(upright, source)) ** 2)))
  print(
    f"{turn:6.0f}{cosines[-1]:13.3f}{predicted[-1]:11.2f}"
    f"{measured['linear'][-1]:14.2f}{measured['network'][-1]:9.2f}{accuracy(later):10.1f}"
  )
error = np.max(np.abs(np.divide(predicted, measured["linear"]) - 1))
print(f"largest error of the prediction on the linear model: {error:.1e}")
assert error < 0.01

# %% [markdown]
# `predicted` and the two columns after it are the squared change of the answers on the first task, `accuracy` is what
# the linear model still knows of upright digits. On the linear model the prediction is exact up to rounding, and it
# needs the two tasks' kernels only, not the weights after the later task. The network moved by the same step follows it
# as far as its gradients stay what they were.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
for name, matrix in matrices.items():
  left.plot(100 * matrix[:, 0], marker="o", label=name)
left.set(title="accuracy on the first task, %", xlabel="tasks learnt after it", xticks=range(len(stream)))
left.legend(fontsize=8)
right.plot(turns, measured["linear"], "o", label="measured, linear model")
right.plot(turns, measured["network"], "s", markersize=4, label="measured, network")
right.plot(turns, predicted, label="predicted")
right.set(title="squared change of the answers on the first task", xlabel="angle of the later task, degrees")
right.legend(fontsize=8)
figure.tight_layout()
plt.show()
