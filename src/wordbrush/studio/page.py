"""How the page looks and the little that runs in the browser. Nothing here is fetched from elsewhere."""

from __future__ import annotations

from pathlib import Path

CSS = Path(__file__).with_name("page.css").read_text(encoding="utf-8")

FONT = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")

POLICY = "; ".join(
    [
        "default-src 'self' data: blob:",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # Gradio evaluates the scripts below
        "style-src 'self' 'unsafe-inline'",
        "worker-src 'self' blob:",  # the canvas of the brush decodes pictures in one
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    ]
)
"""The content security policy: the browser talks to this server and to nobody else."""

STROKE = "rgba(99, 102, 241, 0.5)"
"""The colour of the brush: the theme's accent, seen on white and seen through."""

CHIPS = """
element.addEventListener('click', event => {
  const chip = event.target.closest('button[data-word]');
  if (chip) trigger('pick', {word: Number(chip.dataset.word)});
});
"""

STAGE = """
element.addEventListener('input', event => {
  if (event.target.matches('.wipe')) element.style.setProperty('--cut', event.target.value + '%');
});
"""

SNIPPETS = """
element.addEventListener('click', async event => {
  const button = event.target.closest('.copy');
  if (!button) return;
  const code = button.closest('.snippet').querySelector('pre');
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {  // without https, browsers only copy what is selected
    getSelection().selectAllChildren(code);
    document.execCommand('copy');
  }
  button.textContent = 'Copied';
  setTimeout(() => { button.textContent = 'Copy'; }, 1500);
});
"""

CHARTS = """
const free = input => input.dataset.side === 'least'
  ? Number(input.value) <= Number(input.min) : Number(input.value) >= Number(input.max);
element.addEventListener('input', event => {
  const input = event.target;
  if (input.dataset.score) input.nextElementSibling.value = free(input) ? '' : Number(input.value);
});
element.addEventListener('change', event => {
  const input = event.target, slider = input.closest('label')?.querySelector('[data-score]');
  if (!slider) return;
  const none = input === slider ? free(slider) : input.value === '';
  trigger('bound', {...slider.dataset, value: none ? null : Number(input.value)});
});
"""
