// What the widgets' renderer (html-manager 1.0) lacks on a page of this book.

// It asks for MathJax 2 when it shows a label. Hand its wish to the MathJax 3 of the page, one after
// the other, once the page's own formulas are set.
window.addEventListener("load", () => {
  const mathjax = window.MathJax;
  if (!mathjax || mathjax.Hub) return;
  let last = Promise.resolve(mathjax.startup?.promise);
  const typeset = (element) => mathjax.typesetPromise?.([element]);
  mathjax.Hub = {
    Queue: ([, , element]) => {
      last = last.then(() => typeset(element)).catch(() => {});
    },
  };
});

// It gives a slider's handle neither a name nor a value in words, though both stand beside it; and it
// lets readers edit that value, to no effect.
function mend(slider) {
  const handle = slider.querySelector(".noUi-handle");
  const readout = slider.querySelector(".widget-readout");
  if (!handle || !readout) return;
  handle.setAttribute("aria-label", slider.querySelector(".widget-label")?.textContent || "slider");
  handle.setAttribute("aria-valuetext", readout.textContent);
  readout.removeAttribute("contenteditable");
}
new MutationObserver(() => {
  document.querySelectorAll(".widget-slider").forEach(mend);
}).observe(document.documentElement, { childList: true, subtree: true });
