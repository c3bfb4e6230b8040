"""The seam: the only code in the package that alters a model, and it undoes what it did.

A public diffusers hook on each attention layer decides, while the layer runs, who computes its call of
``scaled_dot_product_attention``: queries, keys and values after projections, norms and rotary embeddings. A layer with
nothing to do runs its own code, so its output is bit-equal.

Inside the hook there are two ways to that call, and the handler sees the same through both:

- A ``TorchFunctionMode``, which every processor of every family passes through. It alone would do.
- diffusers' ``AttnProcessor2_0``, that of U-Nets, with another ``torch.nn.functional``. A mode hands each of the twenty
  torch functions that this processor calls through Python; in a network as small as storybook's that is 1 % of the
  time (edits in all steps took 1.039 of plain generation by the mode, 1.029 so), where all of control may cost 5 %.
  Any other class, one derived from it too, and a version of it that asks otherwise for attention go through the mode.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.hooks.hooks import HookRegistry, ModelHook
from diffusers.models.attention_dispatch import attention_backend
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from wordbrush.backbones.base import AttentionCall, Backbone, Site
from wordbrush.errors import ControlError

HOOK = "wordbrush"
TEXT_HOOK = "wordbrush text"
# Parts of the names of diffusers hooks that leave out or replace attention computations.
SKIPPING_HOOKS = ("cache", "fbc_", "broadcast", "layer_skip", "smoothed_energy")

Handler = Callable[[AttentionCall], Tensor]


@contextmanager
def attending(backbone: Backbone, handler: Callable[[Site], Handler | None]) -> Iterator[None]:
    """Let ``handler`` choose, at every run of every site, who computes its attention; restore everything after.

    Raises:
        ControlError: the model is already under control, or something in it would bypass the control.
    """
    _refuse_bypasses(backbone)
    with ExitStack() as undo:
        undo.enter_context(attention_backend("native"))
        for site in backbone.sites:
            undo.callback(_restorer(site.module))
            hook = _AttentionHook(site, handler)
            HookRegistry.check_if_exists_or_initialize(site.module).register_hook(hook, HOOK)
        yield


@contextmanager
def remembering_text(backbone: Backbone) -> Iterator[None]:
    """Let the cross-attention of a U-Net make keys and values of a text once in a run; restore everything after.

    A text is known again by being the very tensor, so what differs between steps is projected in each. Networks that
    are compiled, which such a hook would break into pieces, are left as they are, and so are transformers: they hand
    their layers another tensor at every step.
    """
    crossing = [site.module for site in backbone.sites if site.kind == "cross" and site.place != "stack"]
    compiled = any(hasattr(m, "_orig_mod") or m._compiled_call_impl for m in backbone.network.modules())
    with ExitStack() as undo:
        for module in [] if compiled else crossing:
            for layer in (getattr(module, "to_k", None), getattr(module, "to_v", None)):
                if layer is None:
                    continue
                restore = _restorer(layer, TEXT_HOOK)
                registry = HookRegistry.check_if_exists_or_initialize(layer)
                if registry.get_hook(TEXT_HOOK) is None:  # a run inside of another one
                    undo.callback(restore)
                    registry.register_hook(_TextHook(), TEXT_HOOK)
        yield


def _refuse_bypasses(backbone: Backbone) -> None:
    for name, module in backbone.network.named_modules():
        registry = module.__dict__.get("_diffusers_hook")
        for hook in registry.hooks if registry else ():
            if hook == HOOK:
                raise ControlError(
                    "this model is being edited already: finish that edit first, or load it twice"
                )
            if any(part in hook for part in SKIPPING_HOOKS):
                raise ControlError(
                    f"the hook {hook!r} on {name or 'the network'} skips attention: remove it to edit"
                )
    for site in backbone.sites:
        backend = getattr(getattr(site.module, "processor", None), "_attention_backend", None)
        if backend is not None and str(getattr(backend, "value", backend)) != "native":
            raise ControlError(
                f"{site.name} uses the attention backend {backend!s}: call reset_attention_backend() to edit"
            )


def _restorer(module: nn.Module, hook: str = HOOK) -> Callable[[], None]:
    """Return what puts ``module`` back into its present state, attributes included."""
    present = {name for name in ("forward", "_diffusers_hook") if name in module.__dict__}

    def restore() -> None:
        registry = module.__dict__.get("_diffusers_hook")
        if registry is not None:
            registry.remove_hook(hook, recurse=False)
        for name in {"forward", "_diffusers_hook"} - present:
            module.__dict__.pop(name, None)

    return restore


class _AttentionHook(ModelHook):
    """Runs a layer, with its attention call handled by somebody else if there is somebody."""

    def __init__(self, site: Site, handler: Callable[[Site], Handler | None]) -> None:
        super().__init__()
        self._site = site
        self._handler = handler
        self._handle: Handler | None = None
        self._rebound = _rebound(self._attend)
        if (
            "torch._dynamo" in sys.modules
        ):  # in a compiled network: tracing would call the handler more than once
            self.new_forward = torch.compiler.disable(self.new_forward)  # pyright: ignore[reportAttributeAccessIssue]

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        handle = self._handler(self._site)
        forward: Any = self.fn_ref.original_forward
        if handle is None:
            return forward(*args, **kwargs)
        layer: Any = module
        own = getattr(layer, "processor", None)
        if self._rebound is None or type(own) is not AttnProcessor2_0:
            with _Interception(handle):
                return forward(*args, **kwargs)
        self._handle, layer.processor = handle, self._rebound
        try:
            return forward(*args, **kwargs)
        finally:
            layer.processor = own

    def _attend(self, *args: Any, **kwargs: Any) -> Tensor:
        """Take the place of ``scaled_dot_product_attention`` in a processor."""
        assert self._handle is not None
        return self._handle(_attention_call(*args, **kwargs))


class _Functional:
    """``torch.nn.functional`` with the attention of somebody else."""

    def __init__(self, attend: Callable[..., Tensor]) -> None:
        self.scaled_dot_product_attention = attend

    def __getattr__(self, name: str) -> Any:
        return getattr(F, name)


def _rebound(attend: Callable[..., Tensor]) -> Any:
    """Return diffusers' ``AttnProcessor2_0``, its very code, with ``attend`` for attention; None if it asks others."""
    call: Any = AttnProcessor2_0.__call__
    code = getattr(call, "__code__", None)
    if code is None or not {"F", "scaled_dot_product_attention"} <= set(code.co_names):
        return None
    names = {**call.__globals__, "F": _Functional(attend)}
    own = FunctionType(code, names, call.__name__, call.__defaults__, call.__closure__)
    own.__kwdefaults__ = call.__kwdefaults__
    return type("AttnProcessor2_0", (AttnProcessor2_0,), {"__call__": own})()


class _TextHook(ModelHook):
    """Keeps what a projection made of the last two texts: those of steps with all branches, and with fewer."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[tuple[Tensor, Tensor]] = []

    def new_forward(self, module: nn.Module, text: Tensor, *args: Any, **kwargs: Any) -> Any:
        for known, made in self._kept:
            if known is text:
                return made
        forward: Any = self.fn_ref.original_forward
        made = forward(text, *args, **kwargs)
        self._kept = [*self._kept[-1:], (text, made)]
        return made


class _Interception(TorchFunctionMode):
    """Hands every fused attention call to ``handle`` and leaves all other operations alone."""

    def __init__(self, handle: Handler) -> None:
        super().__init__()
        self._handle = handle

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            return self._handle(_attention_call(*args, **(kwargs or {})))
        return func(*args, **(kwargs or {}))


def _attention_call(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *args: Any, **options: Any
) -> AttentionCall:
    """Read the arguments of ``scaled_dot_product_attention``."""
    options |= dict(zip(("dropout_p", "is_causal"), args, strict=False))
    return AttentionCall(query, key, value, attn_mask, options)
