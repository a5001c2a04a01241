// The page of the service: a scan goes to it, and its mask comes back.

const $ = (id) => document.getElementById(id);
let asking = null;

/** An answer, or an error in the words of the service. */
async function ask(path, settings) {
  const answer = await fetch(path, settings);
  if (answer.ok) return answer;
  const { error, hint } = await answer.json();
  throw new Error(hint ? `${error}. ${hint}` : error);
}

async function listModels() {
  const { models } = await (await ask("models")).json();
  for (const { name, labels } of models) $("model").add(new Option(`${name}: ${Object.keys(labels).join(", ")}`, name));
}

function show(state, words = "", problem = "") {
  document.body.dataset.state = state;
  $("send").disabled = state === "working";
  $("stop").hidden = state !== "working";
  $("result").hidden = state !== "done";
  $("status").textContent = words;
  $("problem").textContent = problem;
  $("problem").hidden = !problem;
}

async function segment() {
  asking = new AbortController();
  show("working", "Segmenting…");
  const form = new FormData(), query = new URLSearchParams({ model: $("model").value });
  for (const file of $("files").files) form.append("scan", file);
  if ($("format").value) query.set("format", $("format").value);
  try {
    const answer = await ask(`predict?${query}`, { method: "POST", body: form, signal: asking.signal });
    await showMask(answer);
  } catch (error) {
    if (error.name === "AbortError") show("stopped", "Stopped.");
    else show("failed", "", error.message);
  }
}

async function showMask(answer) {
  const of = (name) => JSON.parse(answer.headers.get(name)), values = of("x-lunet-labels"), volumes = of("x-lunet-volumes-ml");
  if ($("save").href) URL.revokeObjectURL($("save").href);
  $("save").href = URL.createObjectURL(await answer.blob());
  $("save").download = /filename="([^"]+)"/.exec(answer.headers.get("content-disposition"))[1];
  $("volumes").replaceChildren();
  for (const [name, value] of Object.entries(values)) {
    const row = $("volumes").insertRow();
    for (const text of [name, value, `${volumes[name].toFixed(2)} ml`]) row.insertCell().textContent = text;
  }
  show("done", `Finished in ${Number(answer.headers.get("x-lunet-seconds")).toFixed(1)} s.`);
  $("heading").focus();
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  segment();
});
$("stop").addEventListener("click", () => asking.abort());
listModels().then(() => show("ready"), (error) => show("failed", "", error.message));
