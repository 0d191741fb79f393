"use strict";
// Filters of the scenes. Without this script the form stays hidden and every scene is shown.
// What is chosen stands in the address after the #, so that a choice can be sent to somebody.
(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  const gallery = document.getElementById("gallery");
  const status = document.getElementById("shown");
  const methods = [...form.elements.namedItem("method").length
    ? form.elements.namedItem("method") : [form.elements.namedItem("method")]];
  const { errors, count, q } = form.elements;
  const groups = [...gallery.querySelectorAll("section")].map((element) => ({
    element,
    scenes: [...element.querySelectorAll("article")].map((article) => ({
      article,
      count: article.dataset.n,
      names: article.dataset.names.toLowerCase(),
      outcomes: article.dataset.outcomes.split(" "),
    })),
  }));
  const total = groups.reduce((sum, group) => sum + group.scenes.length, 0);

  const fits = (scene, shown) => {
    if (count.value && scene.count !== count.value) return false;
    if (q.value && !scene.names.includes(q.value.trim().toLowerCase())) return false;
    const found = shown.map((i) => scene.outcomes[i]).filter((outcome) => outcome !== "-");
    if (!found.length) return false;
    const right = found.filter((outcome) => outcome.includes("r")).length;
    if (errors.value === "differ") return right > 0 && right < found.length;
    return !errors.value || found.some((outcome) => outcome.includes(errors.value[0]));
  };

  const apply = () => {
    const shown = methods.flatMap((box, i) => (box.checked ? [i] : []));
    methods.forEach((box, i) => gallery.classList.toggle(`no${i}`, !box.checked));
    let number = 0;
    for (const group of groups) {
      let here = 0;
      for (const scene of group.scenes) {
        const visible = fits(scene, shown);
        if (scene.article.hidden === visible) scene.article.hidden = !visible;
        here += visible;
      }
      group.element.hidden = !here;
      number += here;
    }
    status.textContent = `${number} of ${total} scenes shown`;
  };

  const remember = () => {
    const chosen = new URLSearchParams();
    if (methods.some((box) => !box.checked)) {
      for (const box of methods) if (box.checked) chosen.append("method", box.value);
    }
    for (const control of [errors, count, q]) {
      if (control.value) chosen.set(control.name, control.value);
    }
    history.replaceState(null, "", `#${chosen}`);
  };

  const recall = () => {
    const hash = location.hash.slice(1);
    if (hash && !hash.includes("=")) return; // a place on the page
    const chosen = new URLSearchParams(hash);
    const wanted = chosen.getAll("method");
    for (const box of methods) box.checked = !wanted.length || wanted.includes(box.value);
    for (const control of [errors, count, q]) control.value = chosen.get(control.name) ?? "";
    for (const control of [errors, count]) if (control.selectedIndex < 0) control.value = "";
  };

  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => { apply(); remember(); });
  form.addEventListener("reset", () => setTimeout(() => { apply(); remember(); }));
  addEventListener("hashchange", () => { recall(); apply(); });
  recall();
  apply();
})();
