data.curves.forEach((panel) => drawChart(panel, document.getElementById("curves")));
data.pruning.forEach((panel) => drawChart(panel, document.getElementById("pruning-charts")));
if (data.rows.length) {
  const metric = document.getElementById("metric");
  data.metrics.forEach((item, index) => element("option", { value: index }, metric, item.name));
  metric.addEventListener("change", () => drawDistribution(Number(metric.value)));
  drawDistribution(0);
  setUpTable();
}
Promise.all([...document.querySelectorAll(".case")].map(setUpCase))
  .catch((error) => {
    const words = document.getElementById("no-pictures");
    words.textContent = `This browser cannot draw the pictures: ${error.message}. Browsers since 2023 can.`;
    words.hidden = false;
  })
  .then(() => document.body.setAttribute("data-ready", ""));
document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  root.dataset.theme = isDark ? "light" : "dark";
});
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((item) => { item.open = true; }));
