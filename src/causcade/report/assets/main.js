// Starts every part, and marks the current section in the contents.
for (const host of document.querySelectorAll("[data-figure]")) draw(host, DATA.figures[host.dataset.figure]);
startMap();
startHubs();
startEdges();
startNeighbourhood();
startEvaluation();
startPerturbations();

const links = new Map([...document.querySelectorAll("nav.contents a")].map((link) => [link.hash.slice(1), link]));
const watcher = new IntersectionObserver((seen) => {
  for (const item of seen) {
    if (!item.isIntersecting) continue;
    for (const link of links.values()) link.removeAttribute("aria-current");
    links.get(item.target.id).setAttribute("aria-current", "true");
  }
}, { rootMargin: "-10% 0px -80% 0px" });
for (const id of links.keys()) watcher.observe(byId(id));

const contents = document.querySelector("nav.contents details");
const narrow = matchMedia("(max-width: 1099px)");
const fold = () => { contents.open = !narrow.matches; };
narrow.addEventListener("change", fold);
fold();
for (const link of links.values()) link.addEventListener("click", () => { if (narrow.matches) contents.open = false; });
// What is folded away on the screen belongs on paper.
window.addEventListener("beforeprint", () => { for (const d of document.querySelectorAll("main details")) d.open = true; });
