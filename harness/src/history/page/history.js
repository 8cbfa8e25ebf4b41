// Lays out the history.
(() => {
  const history = JSON.parse(document.getElementById("history").textContent);
  // The worst first: a cell shows its worst.
  const VERDICTS = { failed: "✗", errored: "!", unknown: "?", flaky: "≈", skipped: "–", client_side: "~", recorded: "·", passed: "✓" };
  const DANGERS = { opened: "opened up", weakened: "weakened", answered: "answered otherwise", changed: "changed", closed: "closed", new: "new", gone: "gone" };
  const COMINGS = { gone: "gone", back: "back", new: "new" };
  const ROWS = 100;
  const LINES = 100;
  // Legs of one night begin within these hours of each other.
  const NIGHT = 12;
  const choice = { leg: null, shown: ROWS };
  let opened = null;

  const when = (run) => history.runs[run].started.slice(0, 16).replace("T", " ");
  const known = (verdict) => (Object.hasOwn(VERDICTS, verdict) ? verdict : "unknown");
  const spoken = (verdict) => (verdict === "client_side" ? "client side only" : verdict || "no verdict");
  const sum = (counts) => Object.values(counts).reduce((all, count) => all + count, 0);
  // Not a name of a leg's own: those are long.
  const letter = (leg) => (leg < 26 ? String.fromCharCode(65 + leg) : `L${leg + 1}`);
  const told = (text) => text || "not told";
  const legInFull = (leg) => {
    const { provider, kubernetes, spire, envoy } = history.legs[leg];
    return `${told(provider)}, Kubernetes ${told(kubernetes)}, SPIRE ${told(spire)}, Envoy ${told(envoy)}`;
  };
  const runInShort = (run) => `${when(run)}, leg ${letter(history.runs[run].leg)}`;

  const newestOf = history.legs.map((_, leg) => history.runs.findLastIndex((run) => run.leg === leg));
  const hours = (from, to) => (Date.parse(history.runs[to].started) - Date.parse(history.runs[from].started)) / 3600e3;
  // A leg that left no report last night did not pass then.
  const isBehind = (leg) => hours(newestOf[leg], history.runs.length - 1) > NIGHT;

  function median(values) {
    const sorted = [...values].sort((a, b) => a - b);
    const middle = sorted.length >> 1;
    return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }

  function worst(counts) {
    const there = new Set(Object.keys(counts).map(known));
    return Object.keys(VERDICTS).find((verdict) => there.has(verdict)) ?? "unknown";
  }

  function badge(kind, sign, text) {
    return h("span", { class: `verdict ${kind}` }, h("span", { class: "mark", "aria-hidden": "true" }, sign), text);
  }

  // A section's list, its beginning where it is long.
  function list(id, rows, empty) {
    const items = rows.slice(0, LINES).map((row) => h("li", {}, ...row.map((part) => h("div", {}, part))));
    if (rows.length > LINES) items.push(h("li", { class: "more" }, `and ${rows.length - LINES} more: history.json has them`));
    if (!rows.length) items.push(h("li", { class: "more" }, empty));
    at(id).querySelector("ul").classList.add("list");
    at(id).querySelector("ul").replaceChildren(...items);
  }

  // Newest first: that is what a reader comes for.
  const order = history.runs.map((_, run) => run).reverse();
  const visibleRuns = () => order.filter((run) => choice.leg === null || history.runs[run].leg === choice.leg);
  const isShown = (run) => choice.leg === null || history.runs[run].leg === choice.leg;

  function header() {
    const lost = history.unreadable.length;
    const opening = history.changes.filter((change) => change.danger === "opened").length;
    const missing = history.checks.filter((check) => check.gone).length;
    const behind = history.legs.filter((_, leg) => isBehind(leg)).length;
    const bad = history.checks.filter((check) => newestOf.some((run) => ["failed", "errored", "unknown", "flaky"].includes(check.worst[run]))).length;
    const parts = [plural(history.runs.length, "run"), bad ? `${plural(bad, "check")} bad in the newest of a leg` : "", lost ? `${plural(lost, "report")} could not be read` : "", opening ? plural(opening, "opening") : "", missing ? `${plural(missing, "check")} gone` : "", behind ? `${plural(behind, "leg")} without a newest night` : ""];
    at("headline").textContent = parts.filter(Boolean).join(", ");
    const runs = history.runs;
    facts(at("facts"), [
      ["from", runs.length ? when(0) : ""], ["to", runs.length ? `${when(runs.length - 1)} UTC` : ""], ["legs", String(history.legs.length)],
      ["checks", String(history.checks.length)], ["flakes", String(history.flakes.length)], ["made by", `svidproof ${history.svidproof}`],
    ]);
    at("unreadable").hidden = !lost;
    list("unreadable", history.unreadable.map(({ file, why }) => [badge("errored", "!", "unreadable"), h("span", { class: "mono" }, file), why]), "");
  }

  function gone() {
    const missing = history.checks.filter((check) => check.gone?.some((leg) => choice.leg === null || leg === choice.leg));
    at("gone").hidden = !missing.length;
    const byStage = Object.values(Object.groupBy(missing, (check) => JSON.stringify([check.scenario, check.stage, check.gone])));
    list("gone", byStage.map((group) => [badge("absent", "∅", "gone"), `${group[0].scenario} · ${group[0].stage} · leg ${group[0].gone.map(letter).join(", ")}`, group.map((check) => check.check).join(" · ")]), "");
  }

  function changes() {
    const there = history.changes.map((change, index) => ({ ...change, index })).filter((change) => isShown(change.run));
    there.sort((a, b) => b.run - a.run || a.index - b.index);
    list("changes", there.map((change) => [h("span", { class: change.worse ? "worse" : null }, DANGERS[change.danger] ?? change.danger),
      `${runInShort(change.run)}${beside(change.run)}`, [h("div", { class: "where" }, change.stage), change.words]]), "Nothing opened or closed.");
  }

  function beside(run) {
    const { leg, against } = history.runs[run];
    return against !== undefined && history.runs[against].leg !== leg ? `, against leg ${letter(history.runs[against].leg)}` : "";
  }

  function flakes() {
    const there = history.flakes.filter((flake) => isShown(flake.run)).reverse();
    list("flakes", there.map((flake) => [runInShort(flake.run), [`${flake.check} (${plural(flake.cells, "cell")})`, h("div", { class: "where" }, `${flake.scenario} · ${flake.stage}`)],
      [h("div", { class: "where" }, flake.judged === flake.run ? "judged when tried once more" : `judged in ${when(flake.judged)}`), flake.why]]), "None.");
  }

  function comings() {
    const there = history.comings.filter((coming) => isShown(coming.run)).reverse();
    list("comings", there.map((coming) => [badge(coming.what === "gone" ? "absent" : "recorded", "", COMINGS[coming.what] ?? coming.what),
      `${runInShort(coming.run)}${coming.ended_early ? ", which ended early" : ""}`,
      [h("div", { class: "where" }, `${coming.scenario} · ${coming.stage}`), `${plural(coming.checks.length, "check")}: ${coming.checks.join(" · ")}`]]), "None.");
  }

  function phases() {
    const runs = visibleRuns();
    const rows = history.phases.map((phase) => ({ name: phase.name, times: runs.map((run) => phase.seconds[run]) })).filter((phase) => phase.times.some((time) => time !== null));
    at("phases").querySelector("ol").replaceChildren(...rows.map(({ name, times }) => {
      const took = times.filter((time) => time !== null);
      const longest = Math.max(...took, 0.001);
      const pillars = times.map((time, index) => {
        const pillar = h("i", { class: time === null ? "none" : null, title: `${when(runs[index])}: ${time === null ? "no such phase" : seconds(time)}` });
        pillar.style.height = `${(100 * (time ?? 0)) / longest}%`;
        return pillar;
      });
      return h("li", {}, h("span", { class: "name", title: name }, name), h("div", { class: "pillars", "aria-hidden": "true" }, pillars),
        h("span", { class: "took" }, `${seconds(median(took))} · ${seconds(took[0])}`));
    }));
  }

  function legs() {
    list("legs", history.legs.map((_, leg) => [`leg ${letter(leg)}`, `${plural(history.runs.filter((run) => run.leg === leg).length, "run")}, the newest ${when(newestOf[leg])}`,
      [legInFull(leg), isBehind(leg) ? h("div", { class: "worse" }, "It left no report in the newest night: nobody knows what it would have come to.") : null]]), "");
  }

  const KINDS = {
    "": ["all", () => true],
    bad: ["failed or errored in a run", (check, runs) => runs.some((run) => ["failed", "errored", "unknown"].includes(check.worst[run]))],
    newest: ["not passed in the newest run", (check, runs) => runs.length && !["passed", "recorded"].includes(check.worst[runs[0]])],
    changing: ["not the same in all runs", (check, runs) => new Set(runs.map((run) => check.worst[run])).size > 1],
    absent: ["missing in a run", (check, runs) => runs.some((run) => check.worst[run] === null)],
  };

  function prepare() {
    for (const check of history.checks) {
      check.worst = check.runs.map((cells) => (cells ? worst(cells.verdicts) : null));
      check.text = [check.scenario, check.stage, check.check, ...new Set(check.runs.map((cells) => cells?.why ?? ""))].join("\n").toLowerCase();
    }
    at("filter-leg").append(h("option", { value: "" }, "all"), ...history.legs.map((_, leg) => h("option", { value: String(leg) }, `${letter(leg)}: ${legInFull(leg)}`)));
    at("filter-scenario").append(h("option", { value: "" }, "all"), ...[...new Set(history.checks.map((check) => check.scenario))].map((name) => h("option", { value: name }, name)));
    at("filter-kind").append(...Object.entries(KINDS).map(([value, [words]]) => h("option", { value }, words)));
  }

  function cell(check, index, run) {
    const cells = check.runs[run];
    if (!cells) return h("button", { type: "button", class: "cell absent", "data-check": index, "data-run": run, "aria-label": `${check.check}, ${when(run)}: not in this run`, click: () => open(index, run) }, " ");
    const verdict = check.worst[run];
    const all = sum(cells.verdicts);
    const bad = Object.entries(cells.verdicts).filter(([one]) => known(one) === verdict).reduce((count, [, some]) => count + some, 0);
    const text = all === 1 ? "" : bad === all ? String(all) : `${bad}/${all}`;
    return h("button", { type: "button", class: `cell ${verdict}`, "data-check": index, "data-run": run,
      "aria-label": `${check.check}, ${when(run)}: ${Object.entries(cells.verdicts).map(([one, count]) => `${count} ${spoken(one)}`).join(", ")}`,
      click: () => open(index, run) }, h("span", { class: "mark", "aria-hidden": "true" }, VERDICTS[verdict]), text);
  }

  function chosen() {
    const runs = visibleRuns();
    const scenario = at("filter-scenario").value;
    const [, fits] = KINDS[at("filter-kind").value] ?? KINDS[""];
    const text = at("filter-text").value.trim().toLowerCase();
    const rows = history.checks.map((check, index) => ({ check, index })).filter(({ check }) =>
      (!scenario || check.scenario === scenario) && runs.some((run) => check.runs[run]) && fits(check, runs) && check.text.includes(text));
    return { runs, rows };
  }

  function grid() {
    const { runs, rows } = chosen();
    const some = rows.slice(0, choice.shown);
    const head = h("thead", {}, h("tr", {}, h("th", { class: "check", scope: "col" }, "check"), runs.map((run) => {
      const { leg, errors } = history.runs[run];
      return h("th", { scope: "col", title: `${when(run)} UTC, ${legInFull(leg)}${errors ? ": ended early" : ""}` }, h("span", { class: "leg" }, `${letter(leg)}${errors ? "!" : ""}`), when(run).slice(5, 10));
    })));
    const body = h("tbody", {}, some.map(({ check, index }) => h("tr", { class: check.gone ? "gone" : null },
      h("th", { class: "check", scope: "row" }, check.check, h("span", { class: "where" }, `${check.scenario} · ${check.stage}`)),
      runs.map((run) => h("td", {}, cell(check, index, run))))));
    const more = rows.length > some.length ? h("button", { type: "button", class: "more", id: "more", click: () => { choice.shown += ROWS; grid(); } }, `Show ${Math.min(ROWS, rows.length - some.length)} more of ${rows.length}`) : null;
    at("grid").replaceChildren(...(rows.length ? [h("div", { class: "scroll" }, h("table", {}, head, body))] : [h("p", { class: "empty" }, "No check matches the filter.")]), ...(more ? [more] : []));
    at("shown").textContent = rows.length === history.checks.length ? plural(rows.length, "check") : `${rows.length} of ${plural(history.checks.length, "check")}`;
    // The grid is one stop of the Tab key: arrows move within.
    const cells = at("grid").querySelectorAll(".cell");
    for (const button of cells) button.tabIndex = -1;
    if (cells.length) cells[0].tabIndex = 0;
  }

  function move(event) {
    const button = event.target.closest?.("#grid .cell");
    if (!button || event.altKey || event.ctrlKey || event.metaKey) return;
    const td = button.parentElement;
    const line = td.parentElement;
    const inLine = (row, column) => row?.cells[column]?.querySelector(".cell");
    const to = {
      ArrowLeft: () => inLine(line, td.cellIndex - 1), ArrowRight: () => inLine(line, td.cellIndex + 1),
      ArrowUp: () => inLine(line.previousElementSibling, td.cellIndex), ArrowDown: () => inLine(line.nextElementSibling, td.cellIndex),
      Home: () => inLine(line, 1), End: () => inLine(line, line.cells.length - 1),
    }[event.key];
    if (!to) return;
    event.preventDefault();
    const next = to();
    if (!next) return;
    for (const other of at("grid").querySelectorAll('.cell[tabindex="0"]')) other.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
    if (opened) open(Number(next.dataset.check), Number(next.dataset.run));
  }

  const buttonOf = ({ index, run }) => at("grid").querySelector(`[data-check="${index}"][data-run="${run}"]`);

  function open(index, run) {
    if (opened) buttonOf(opened)?.setAttribute("aria-expanded", "false");
    opened = { index, run };
    buttonOf(opened)?.setAttribute("aria-expanded", "true");
    const check = history.checks[index];
    const about = history.runs[run];
    const cells = check.runs[run];
    const verdict = check.worst[run];
    const panel = at("detail");
    panel.replaceChildren(
      h("div", { class: "head" }, cells ? badge(verdict, VERDICTS[verdict], spoken(verdict)) : badge("absent", "∅", "not in this run"), h("button", { type: "button", class: "close", "aria-label": "Close", click: close }, "×")),
      h("h2", { id: "detail-title" }, check.check),
      h("p", { class: "where" }, `${check.scenario} · ${check.stage}`),
      ...(cells ? [] : [h("p", {}, "The run has no such check: nobody knows what it would have come to.")]),
      ...(cells?.why ? [h("p", { class: "reason" }, cells.why)] : []),
      h("h3", {}, "Cells"), h("dl", {}, Object.entries(cells?.verdicts ?? {}).flatMap(([one, count]) => [h("dt", {}, spoken(one)), h("dd", {}, String(count))])),
      h("h3", {}, "Run"),
      h("dl", {}, [["began", `${when(run)} UTC`], ["run", about.run], ["leg", `${letter(about.leg)}: ${legInFull(about.leg)}`], ["svidproof", about.svidproof], ["images", about.images], ["file", about.file], ...Object.entries(about.versions)]
        .filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
      ...(about.errors ? [h("h3", {}, "Ended early"), h("pre", {}, about.errors.join("\n"))] : []),
    );
    panel.hidden = false;
    panel.scrollTop = 0;
    panel.parentElement.classList.add("opened");
  }

  function close() {
    const was = buttonOf(opened);
    was?.setAttribute("aria-expanded", "false");
    opened = null;
    at("detail").hidden = true;
    at("detail").parentElement.classList.remove("opened");
    was?.focus();
  }

  function show() {
    const leg = at("filter-leg").value;
    const of = leg === "" ? null : Number(leg);
    if (of !== choice.leg) {
      choice.leg = of;
      all();
    }
    choice.shown = ROWS;
    grid();
  }

  // What only the leg narrows.
  function all() {
    gone();
    changes();
    flakes();
    comings();
    phases();
  }

  prepare();
  header();
  legs();
  all();
  grid();
  at("filters").addEventListener("input", show);
  at("filters").addEventListener("submit", (event) => event.preventDefault());
  // The fields have their first values only after this event.
  onClear(show);
  at("grid").addEventListener("keydown", move);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && opened) close();
  });
})();
