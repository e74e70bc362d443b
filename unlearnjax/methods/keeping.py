"""Methods that keep something else than the retain set of the request."""

from __future__ import annotations

from unlearnjax.core import Method, ModelFn, Verbs


def keeping(method: Method, source: str, name: str | None = None) -> Method:
  """A method that holds on to `request.extra[source]` in the place of the retain set: text of another kind, say.

  Yao et al. 2024, arXiv:2402.15159, keep general text where text like the forgotten one is not at hand.

  Args:
    method: any that reads a retain set.
    source: name of a further source of the request, over the table of its forget set or another one.
    name: of the result, that of the method with `_<source>` by default.

  Raises:
    ValueError: when it forgets, a request without that source.

  Example:
    >>> from unlearnjax import methods
    >>> methods.keeping(methods.kl_min(), "general").name
    'kl_min_general'
  """

  def bind(fn: ModelFn) -> Verbs:
    verbs = method.bind(fn)

    def forget(state, refs, request, run):
      if source not in request.extra or not len(request.extra[source]):
        raise ValueError(f"{method.name} is to keep request.extra[{source!r}]; the request has {sorted(request.extra)}")
      return verbs.forget(state, refs, request._replace(retain=request.extra[source]), run)

    return verbs._replace(forget=forget)

  return method._replace(name=name or f"{method.name}_{source}", bind=bind)
