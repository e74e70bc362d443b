"""Unlearn one skill after another with random labels, and see how far it reaches (paper 144, arXiv:2409.02228).

python -m experiments.language.skills --out=runs/skills
python -m experiments.language.skills --seeds=3 --out=runs/skills
"""

from __future__ import annotations

import functools
import pathlib
from typing import Any

import jax
import numpy as np
import optax
from absl import app, flags

import unlearnjax as uj
from experiments import table
from experiments.classify import options
from experiments.language import skill_plots, tasks
from unlearnjax import attacks, data, metrics, models, objectives, training
from unlearnjax.core.tree import fold_name

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(table)


LEAST = 0.1
"""How far above chance a skill must have been for its ratio to mean something."""


class Setting:
  """One seed: the questions, the model that learned all skills, and what it could do."""

  def __init__(self, config: tasks.Config, seed: int, run: uj.Run):
    self.config, self.seed, self.run = config, seed, run
    self.sets = tasks.table(config, seed)
    self.fn = models.transformer(
      "llama", vocab_size=tasks.VOCABULARY, dim=config.dim, depth=config.depth, heads=config.heads
    )
    self.site = f"blocks/{max(config.depth - 2, 0)}"
    self.step = uj.descend({"forget": objectives.nll(self.fn, answers="label")}, optax.adam(config.rate))

  def key(self, name: str) -> jax.Array:
    return fold_name(jax.random.key(self.seed), name)

  @functools.cached_property
  def model(self) -> uj.Model:
    """The model that learned all skills together."""
    source = functools.reduce(lambda a, b: a + b, (self.sets[name, "train"] for name in tasks.RULES))
    run = self.run.apart(f"seed{self.seed}", "learned")
    return training.train(self.fn, source, self.config.recipe, key=self.key("learned"), run=run)

  @functools.cached_property
  def before(self) -> dict[str, np.ndarray]:
    """By skill: accuracy and margin on unseen questions, total variance of the hidden states, probe."""
    accuracy, margin = self.answered(self.model)
    if accuracy.max() < 0.5 + LEAST:
      raise ValueError("the model learned none of the skills: give it more epochs or examples")
    hidden = {name: self.hidden(self.model, name) for name in tasks.RULES}
    return {
      "accuracy": accuracy,
      "margin": margin,
      "variance": np.array([float(metrics.total_variance(h)) for h in hidden.values()]),
      "probe": np.array([self.probe(h, name) for name, h in hidden.items()]),
    }

  def answered(self, model: uj.Model) -> tuple[np.ndarray, np.ndarray]:
    """(accuracy, mean p(true) - p(other)) on the unseen questions of every skill."""
    source = functools.reduce(lambda a, b: a + b, (self.sets[name, "test"] for name in tasks.RULES))
    right, margin = choices(model, source)
    return tuple(np.mean(x.reshape(len(tasks.RULES), -1), 1) for x in (right, margin))

  def hidden(self, model: uj.Model, name: str) -> np.ndarray:
    """Hidden states at the end of the unseen questions."""
    return data.coreset.hidden_states(model, self.sets[name, "test"], self.site)

  def probe(self, hidden: np.ndarray, name: str) -> float:
    """Balanced accuracy of reading the answer from the hidden states: trained on one half, tested on the other."""
    y, half = self.sets[name, "test"].column("y"), len(hidden) // 2
    return attacks.linear_probe((hidden[:half], y[:half]), (hidden[half:], y[half:])).accuracy

  def row(self, name: str) -> dict[str, Any]:
    """Every skill unlearned from the same model, one after another, and what that did to all of them."""
    hyper, run = tasks.METHODS[name], self.run.apart(f"seed{self.seed}", name)
    after, train, probes, courses = [], [], [], []
    for skill in tasks.RULES:
      source = tasks.relabelled(self.sets[skill, "train"][: hyper["examples"]], hyper["labels"], self.seed)
      model, course = self.unlearned(skill, source, hyper["passes"], run)
      accuracy, _ = self.answered(model)
      after.append(accuracy)
      train.append(float(np.mean(choices(model, self.sets[skill, "train"][: hyper["examples"]])[0])))
      probes.append(self.probe(self.hidden(model, skill), skill))
      courses.append(course)
    before = self.before
    matrix = metrics.forget_ratio(before["accuracy"], np.array(after), labels=hyper["labels"], least=LEAST)
    own, shares = np.diag(matrix), metrics.two_way(matrix)
    return {
      **{k: 100 * float(v) for k, v in {
        "ratio": np.nanmean(own),
        "test_gap": np.mean(metrics.forget_gap(np.diag(after))),
        "train_gap": np.mean(metrics.forget_gap(train)),
        "spread": np.nanmax(own) - np.nanmin(own),
        "others": np.nanmean(matrix[~np.eye(len(matrix), dtype=bool)]),
        "by_unlearned": shares.rows,
        "by_measured": shares.columns,
        "probe_before": before["probe"].mean(),
        "probe_after": np.mean(probes),
      }.items()},
      "margin_rank": rank(before["margin"], own),
      "variance_rank": rank(before["variance"], own),
      **run.cost.to_dict(),
      "matrix": matrix.round(4).tolist(),
      "skills": {
        skill: {
          **{k: round(float(v[i]), 4) for k, v in before.items()},
          "after": float(after[i][i]), "train": train[i], "probe_after": probes[i], "ratio": float(own[i]),
          "course": courses[i],
        } for i, skill in enumerate(tasks.RULES)
      },
    }  # fmt: skip

  def unlearned(self, skill: str, source: uj.Examples, passes: int, run: uj.Run) -> tuple[uj.Model, list[float]]:
    """(model, accuracy on unseen questions of the skill at every look)."""
    at, courses, run = list(tasks.RULES).index(skill), [], run.scope(skill)
    answered = lambda state: self.answered(self.model.replace(params=state.params))[0]
    run.looks = self.config.looks
    run.on_look = lambda _, state, refs: {"accuracy": float(answered(state)[at])}
    run.on_history = lambda _, history: courses.append(history["accuracy"])
    state = self.step.init(uj.UnlearnState.create(self.model.params, rng=self.key(skill)))
    size = min(self.config.batch_size, len(source))
    plan = uj.zip_roles(forget=source, batch_size=size, epochs=passes * self.config.looks)
    state, _ = uj.fit(self.step, state, plan, run=run)
    course = courses[0][np.isfinite(courses[0])]
    return self.model.replace(params=state.params), course.astype(float).round(4).tolist()


def choices(model: uj.Model, source: uj.Examples) -> tuple[np.ndarray, np.ndarray]:
  """(whether the true answer is likelier than the other bool[N], p(true) - p(other) f[N])."""
  true, other = (np.exp(-metrics.answer_scores(model, source, answers=name).mean_nll) for name in ("", "other"))
  return true > other, true - other


def rank(a: np.ndarray, b: np.ndarray) -> float:
  """Spearman correlation over the skills that have a ratio."""
  known = np.isfinite(b)
  pair = [np.asarray(x, float)[known][:, None] for x in (a, b)]
  return float(metrics.influence_agreement(*pair, kind="spearman")[0]) if known.sum() > 1 else float("nan")


def experiment() -> None:
  """Everything that the flags ask for."""
  config = table.chosen_config(tasks.CONFIGS, without=("dataset", "forget", "model"))
  names = table.chosen_methods((), tuple(tasks.METHODS))
  out = pathlib.Path(FLAGS.out or "runs/skills")
  settings = {seed: Setting(config, seed, options.chosen_run(out)) for seed in table.seeds()}
  table.fill(
    "skills", out, config, tasks.spec(config), names, tasks.METHODS, lambda name, seed: settings[seed].row(name),
    module="experiments.language.skills", shown=("ratio", "test_gap", "train_gap", "others", "probe_after", "seconds"),
    sections=lambda rows: skill_plots.sections(out, rows),
  )  # fmt: skip


main = options.guarded(experiment)

if __name__ == "__main__":
  app.run(main)
