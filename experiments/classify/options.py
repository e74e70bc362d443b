"""What the jobs of this benchmark share on the command line: flags, the configuration they mean, and how a job ends."""

from __future__ import annotations

import dataclasses
import errno
import sys
from collections.abc import Callable

from absl import flags, logging

from experiments import claims

FLAGS = flags.FLAGS
flags.DEFINE_string("out", None, "Output directory; the same command in it resumes. runs/<job> by default.")
flags.DEFINE_string("config", None, "A configuration of configs.py; by default that of --dataset.")
flags.DEFINE_string("dataset", None, "Data set: digits, mnist, fashion_mnist, cifar10, cifar100, olivetti.")
flags.DEFINE_string("forget", None, "What to forget: class:3, class:1,2, random:0.1, ids:FILE, worst:0.1, easy:0.1.")
flags.DEFINE_string("model", None, "Architecture: mlp, convnet, resnet8, resnet18, vit, ...")
flags.DEFINE_string("methods", None, "'all', or names separated by commas.")
flags.DEFINE_integer("epochs", None, "Epochs of the original and of the oracle.", lower_bound=1)
flags.DEFINE_float("learning_rate", None, "Learning rate of the original and of the oracle.", lower_bound=0)
flags.DEFINE_integer("train_size", None, "Class-balanced subset of the training data; 0 takes all.", lower_bound=0)
flags.DEFINE_integer("test_size", None, "Class-balanced subset of the test data; 0 takes all.", lower_bound=0)
flags.DEFINE_integer("checkpoint_every", None, "Steps between checkpoints; by default one a minute.", lower_bound=1)
flags.DEFINE_bool("progress", None, "Progress bars; by default where standard error is a terminal.")
flags.DEFINE_bool("tensorboard", False, "Writes the course of every fit to OUT/tensorboard.")
flags.DEFINE_integer(
  "devices",
  None,
  "Devices that batches are split over; 0 takes all. One, or the cores of a CPU, by default.",
  lower_bound=0,
)


_OF_CONFIG = ("dataset", "forget", "model", "epochs", "learning_rate", "train_size", "test_size")


def guarded(job: Callable[[], None]) -> Callable[[list[str]], None]:
  """A `main` for `absl.app.run`: what is wrong with the input is one line and exit code 2, no traceback.

  `--verbosity=1` shows the traceback.
  """

  def main(argv: list[str]) -> None:
    if not FLAGS["verbosity"].present:
      logging.set_verbosity(logging.WARNING)
    try:
      if len(argv) > 1:
        raise ValueError(f"unexpected argument {argv[1]!r}; flags look like --out=DIRECTORY")
      job()
    except (ValueError, OSError, ArithmeticError, ImportError) as error:
      if logging.level_debug():
        raise
      print("error:", " ".join(said(error).split()), file=sys.stderr)
      sys.exit(2)
    except KeyboardInterrupt:  # also core.Stopped, after a SIGTERM
      print("interrupted; the same command goes on from here", file=sys.stderr)
      sys.exit(130)
    finally:
      claims.release()

  return main


def said(error: Exception) -> str:
  """What went wrong in words; of the operating system's errors the file and the reason.

  Example:
    >>> said(FileNotFoundError(2, "No such file or directory", "/proc/x"))
    '/proc/x: No such file or directory'
    >>> said(OSError(28, "No space left on device"))
    'No space left on device: what was saved stays; the same command goes on from there'
  """
  if not isinstance(error, OSError) or not error.strerror:
    return str(error)
  hint = ": what was saved stays; the same command goes on from there" if error.errno == errno.ENOSPC else ""
  return (f"{error.filename}: " if error.filename else "") + error.strerror + hint


def chosen_config(**defaults):
  """The configuration of --config or --dataset, with `defaults` and then the flags on top.

  Raises:
    ValueError: an unknown configuration or data set.
  """
  from experiments.classify import configs
  from unlearnjax.data import NAMES

  name = FLAGS.config or FLAGS.dataset or "digits"
  if FLAGS.config and name not in configs.CONFIGS:
    raise ValueError(f"unknown configuration {name!r}; there are {', '.join(configs.CONFIGS)}")
  if FLAGS.dataset and FLAGS.dataset not in NAMES:
    raise ValueError(f"unknown data set {FLAGS.dataset!r}; there are {', '.join(configs.CONFIGS)}")
  base = configs.CONFIGS.get(name) or dataclasses.replace(configs.Config(), dataset=name)
  given = {k: FLAGS[k].value for k in _OF_CONFIG}
  given = {k: v or None for k, v in given.items() if v is not None}
  return dataclasses.replace(base, **{**defaults, **given})


def chosen_run(out, model: str = "mlp"):
  """Checkpoints, progress, scalars and mesh as the flags say.

  Args:
    out: of the run.
    model: architecture. Without --devices, networks of images have a device on each core of a CPU.

  Raises:
    ValueError: --tensorboard without tensorboardX.
  """
  import jax

  import unlearnjax as uj

  progress = sys.stderr.isatty() if FLAGS.progress is None else FLAGS.progress
  if FLAGS.devices is None:
    count = 1 if model == "mlp" else uj.sharding.split_cpu()
  else:
    count = FLAGS.devices or jax.device_count()
  mesh = uj.sharding.mesh(data=count) if count > 1 else None
  writer = uj.report.tensorboard(out / "tensorboard") if FLAGS.tensorboard else None
  return uj.Run(out=out, checkpoint_every=FLAGS.checkpoint_every, progress=progress, writer=writer, keep=1, mesh=mesh)
