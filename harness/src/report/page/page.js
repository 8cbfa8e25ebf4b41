// Lays out the report.
(() => {
  const report = JSON.parse(document.getElementById("report").textContent);
  const cells = report.checks.map((row, index) => ({ ...row, index, client: row.as, saw: saw(row.observed) }));
  const VERDICTS = { failed: "✗", errored: "!", flaky: "≈", skipped: "–", passed: "✓", recorded: "·", client_side: "~" };
  const MOST_PROBLEMS = 200;
  const filter = { verdicts: new Set(), finding: false };
  let opened = null;

  const unique = (values) => [...new Set(values)];
  const sentAs = (cell) => `${cell.client} → ${cell.to}`;
  // A request may be thousands of letters long: all of it is in its cell's detail.
  const cut = (text, most) => ([...text].length > most ? `${[...text].slice(0, most).join("")}…` : text);

  // What a client saw, as short as a cell is wide.
  function saw(observed) {
    switch (observed?.outcome) {
      case undefined: return "nothing";
      case "response": return String(observed.status);
      case "alert": return `alert ${observed.alert}`;
      case "server_refused": return "turned down";
      default: return observed.kind.replaceAll("_", " ");
    }
  }

  function sawInFull(observed) {
    switch (observed?.outcome) {
      case undefined: return "Nothing: it was not dialled.";
      case "response": return `${observed.status} over HTTP/${observed.http}`;
      case "alert": return `TLS alert ${observed.alert}${observed.name ? ` ${observed.name}` : ""}${observed.boringssl ? ` (BoringSSL: ${observed.boringssl})` : ""}`;
      case "server_refused": return `The client turned the server down: ${observed.reason}`;
      default: return `${observed.kind.replaceAll("_", " ")}: ${observed.detail}`;
    }
  }

  function badge(verdict) {
    return h("span", { class: `verdict ${verdict}` }, h("span", { class: "mark", "aria-hidden": "true" }, VERDICTS[verdict]), verdict);
  }

  function header() {
    const { passed, client_side: seen = 0, recorded, failed, errored, flaky = 0, skipped } = report.totals;
    const all = passed + seen + recorded + failed + errored + flaky + skipped;
    const found = cells.filter((cell) => cell.finding).length;
    const bad = [[failed, "failed"], [errored, "could not be judged"], [flaky, "flaky"], [skipped, "skipped"]].filter(([count]) => count).map(([count, word]) => `${count} ${word}`);
    const good = [`${passed === all ? "All " : `${passed} of `}${plural(all, "cell")} passed`, seen ? `${seen} by the client's side only` : "", recorded ? `${recorded} recorded` : ""].filter(Boolean).join(", ");
    at("headline").textContent = (failed || errored || flaky ? `Of ${plural(all, "cell")}, ${bad.join(" and ")}` : [good, ...bad].join(", ")) + (found ? `, ${plural(found, "finding")}` : "");
    const errors = report.errors ?? [];
    at("errors").hidden = errors.length === 0;
    at("errors").querySelector("ul").replaceChildren(...errors.map((error) => h("li", {}, h("div", { class: "why" }, error))));
    const ended = Math.max(0, ...report.phases.map((phase) => phase.started + phase.seconds));
    facts(at("facts"), [
      ["run", report.run], ["began", report.started.replace("T", " ").replace(/(\.\d+)?Z$/, " UTC")], ["took", ended ? seconds(ended) : ""],
      ["provider", report.provider], ["images", report.images], ["findings", String(found)],
    ]);
  }

  function helmTests() {
    const tests = report.helm_tests ?? [];
    at("helm-tests").hidden = tests.length === 0;
    at("helm-tests").querySelector("ul").replaceChildren(...tests.map((test) => h("li", {},
      h("div", {}, badge(test.verdict)),
      h("div", {}, test.check, h("div", { class: "where" }, `${test.scenario} · ${test.stage}`)),
      h("div", {}, h("div", { class: "why" }, test.reason), test.log ? h("pre", {}, test.log) : null))));
  }

  function cellButton(cell) {
    const button = h("button", {
      type: "button", class: `cell ${cell.verdict}${cell.finding ? " marked" : ""}`, "data-cell": cell.index,
      "aria-expanded": String(opened === cell.index), "aria-controls": "detail",
      "aria-label": `${cell.verdict}: ${cell.stage}, ${sentAs(cell)}, ${cut(cell.send, 80)}: saw ${cell.saw}${cell.finding ? ", a finding" : ""}`,
      title: cell.check, click: () => open(cell.index),
    }, h("span", { class: "mark", "aria-hidden": "true" }, VERDICTS[cell.verdict]), cell.saw);
    if (cell.finding) button.append(h("span", { class: "flag", "aria-hidden": "true" }, "⚑"));
    return button;
  }

  // The hop that broke, what shows it, and what to do.
  function brokenAt(hop) {
    if (!hop) return [];
    const lines = hop.name ? [h("p", {}, `Hop ${hop.name} of ${hop.of}: ${hop.evidence}`), h("p", { class: "where" }, hop.hint)] : [];
    return h("div", { class: "hop" }, ...lines, (hop.unread ?? []).map((one) => h("p", { class: "where" }, `Could not be read: ${one}`)));
  }

  function problems(visible) {
    const order = ["failed", "errored", "flaky", "skipped"];
    const rows = visible.filter((cell) => !["passed", "client_side", "recorded"].includes(cell.verdict)).sort((a, b) => order.indexOf(a.verdict) - order.indexOf(b.verdict) || a.index - b.index);
    at("problems").hidden = rows.length === 0;
    // Requests that went wrong alike stand together.
    const alike = Object.values(Object.groupBy(rows, (cell) => JSON.stringify([cell.verdict, cell.scenario, cell.stage, cell.check, cell.client, cell.to, cell.reason, cell.hop])));
    const lines = alike.slice(0, MOST_PROBLEMS).map((group) => h("li", {},
      h("div", {}, badge(group[0].verdict)),
      h("div", {}, group[0].check, h("div", { class: "where" }, `${group[0].scenario} · ${group[0].stage} · ${sentAs(group[0])}`)),
      h("div", {}, h("div", { class: "why" }, cut(group[0].reason, 400)), brokenAt(group[0].hop), group.map((cell) =>
        h("button", { type: "button", class: "link mono", "data-problem": cell.index, click: () => open(cell.index) }, cut(cell.send, 80))))));
    if (alike.length > MOST_PROBLEMS) lines.push(h("li", { class: "more" }, `and ${alike.length - MOST_PROBLEMS} more: filter for them`));
    at("problems").querySelector("ul").replaceChildren(...lines);
  }

  function findings(visible) {
    const found = visible.filter((cell) => cell.finding);
    at("findings").hidden = found.length === 0;
    at("findings").querySelector("ul").replaceChildren(...unique(found.map((cell) => cell.finding)).map((text) => h("li", {},
      h("span", { class: "flag", "aria-hidden": "true" }, "⚑"),
      h("div", {}, h("p", {}, text), Object.entries(Object.groupBy(found.filter((cell) => cell.finding === text), (cell) => `${cell.scenario} · ${cell.stage} · ${sentAs(cell)}`))
        .map(([where, group]) => h("div", { class: "group" }, h("span", { class: "where" }, where), group.map(cellButton)))))));
  }

  // Rows are a client's requests, columns a stage's endpoints. Checks that differ in what has no place there (TLS, headers) share a place.
  function grid(scenario, rows) {
    const columns = [];
    const places = new Map();
    const clients = new Map();
    for (const cell of rows) {
      if (!columns.some((column) => column.stage === cell.stage && column.to === cell.to)) columns.push({ stage: cell.stage, to: cell.to });
      if (!clients.has(cell.client)) clients.set(cell.client, new Set());
      clients.get(cell.client).add(cell.send);
      const place = JSON.stringify([cell.client, cell.send, cell.stage, cell.to]);
      places.set(place, [...(places.get(place) ?? []), cell]);
    }
    const stages = unique(columns.map((column) => column.stage));
    columns.sort((a, b) => stages.indexOf(a.stage) - stages.indexOf(b.stage));
    const edge = (index) => (index === 0 || columns[index].stage !== columns[index - 1].stage ? "edge" : null);
    const head = h("thead", {},
      h("tr", {}, h("th", { rowspan: 2, scope: "col", class: "client" }, "client"), h("th", { rowspan: 2, scope: "col" }, "request"),
        stages.map((stage) => h("th", { class: "stage edge", scope: "colgroup", colspan: columns.filter((column) => column.stage === stage).length }, stage))),
      h("tr", {}, columns.map((column, index) => h("th", { scope: "col", class: edge(index) }, column.to))));
    const bodies = [...clients].map(([client, sends]) => h("tbody", {}, [...sends].map((send, index) => h("tr", {},
      index === 0 ? h("th", { class: "client", scope: "rowgroup", rowspan: sends.size }, client) : null,
      h("th", { class: "send mono", scope: "row", title: cut(send, 300) }, cut(send, 90)),
      columns.map((column, index) => {
        const here = places.get(JSON.stringify([client, send, column.stage, column.to]));
        const td = h("td", { class: [edge(index), here ? null : "none"].filter(Boolean).join(" ") || null }, here ? here.map(cellButton) : "·");
        td.dataset.column = index;
        return td;
      })))));
    return h("div", { class: "scroll" }, h("table", {}, h("caption", {}, scenario), head, bodies));
  }

  function surface(visible) {
    const grids = unique(visible.map((cell) => cell.scenario)).map((scenario) => grid(scenario, visible.filter((cell) => cell.scenario === scenario)));
    at("grids").replaceChildren(...(grids.length ? grids : [h("p", { class: "empty" }, "No cell matches the filter.")]));
    at("shown").textContent = visible.length === cells.length ? plural(cells.length, "cell") : `${visible.length} of ${plural(cells.length, "cell")}`;
    // The grids are one stop of the Tab key: arrows move within.
    const buttons = [...at("grids").querySelectorAll(".cell")];
    const stop = buttons.find((button) => Number(button.dataset.cell) === opened) ?? buttons[0];
    for (const button of buttons) button.tabIndex = button === stop ? 0 : -1;
  }

  function move(event) {
    const button = event.target.closest?.("#grids .cell");
    if (!button || event.altKey || event.ctrlKey || event.metaKey) return;
    const line = [...button.closest("tr").querySelectorAll(".cell")];
    const lines = [...at("grids").querySelectorAll("tbody tr")];
    const beside = (step) => line[line.indexOf(button) + step];
    const beyond = (step) => {
      const column = Number(button.closest("td").dataset.column);
      for (let index = lines.indexOf(button.closest("tr")) + step; lines[index]; index += step) {
        const choice = [...lines[index].querySelectorAll(".cell")];
        const distance = (cell) => Math.abs(Number(cell.closest("td").dataset.column) - column);
        if (choice.length) return choice.reduce((best, cell) => (distance(cell) < distance(best) ? cell : best));
      }
      return null;
    };
    const to = { ArrowLeft: () => beside(-1), ArrowRight: () => beside(1), ArrowUp: () => beyond(-1), ArrowDown: () => beyond(1), Home: () => line[0], End: () => line.at(-1) }[event.key];
    if (!to) return;
    event.preventDefault();
    const next = to();
    if (!next) return;
    for (const other of at("grids").querySelectorAll('.cell[tabindex="0"]')) other.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
    if (opened !== null) open(Number(next.dataset.cell));
  }

  function evidence(account) {
    const kinds = { "no-cert": "no certificate", san: "SAN not on the list", chain: "chain not verified", denied: "denied by policy", allowed: "allowed by policy", forwarded: "forwarded", broken: "broken off otherwise", "no-chain": "no filter chain takes it", "network-rbac": "closed by a policy of connections", "authz-denied": "denied by the authorizer", "authz-error": "refused for want of the authorizer", "authz-open": "let in without the authorizer", "jwt-denied": "denied for its JWT" };
    // A counter that is left out is at zero; one that could not be read is not known.
    const values = (name) => [account.counted ? account.counted[name] ?? 0 : undefined, account.tallied[name] ?? 0];
    const names = unique([...Object.keys(kinds), ...Object.keys(account.tallied)]).filter((name) => values(name).some((value) => value !== 0));
    const reached = account.reached === null ? "not known" : account.reached ? "yes" : "no";
    return [
      h("table", {}, h("caption", {}, account.endpoint),
        h("thead", {}, h("tr", {}, ["in this window", "Envoy counted", "clients saw"].map((text) => h("th", { scope: "col" }, text)))),
        h("tbody", {}, names.length ? [] : h("tr", {}, h("th", { scope: "row" }, "nothing"), h("td", {}, "0"), h("td", {}, "0")), names.map((name) => {
          const [counted, tallied] = values(name);
          return h("tr", { class: counted === tallied ? null : "differs" }, h("th", { scope: "row" }, kinds[name] ?? name), h("td", {}, String(counted ?? "?")), h("td", {}, String(tallied ?? "?")));
        }))),
      h("p", {}, `This request reached the application: ${reached}.`),
    ];
  }

  function expected(expect) {
    const { status, alert, ...rest } = expect;
    const first = status !== undefined ? `${status}` : alert !== undefined ? `TLS alert ${alert}` : "";
    if (!Object.keys(expect).length) return [h("p", {}, "Nothing in particular: the snapshot holds what is right.")];
    return [first ? h("p", {}, first) : null, Object.keys(rest).length ? h("pre", {}, JSON.stringify(rest, null, 2)) : null];
  }

  function forged(cell) {
    if (!cell.forged) return [];
    const { credential, why, clause } = cell.forged;
    const level = clause.level ? ` (${clause.level})` : "";
    return [h("h3", {}, "Forged credential"), h("p", { class: "forged" }, `${credential}: ${why}`),
      h("p", { class: "where" }, `${clause.document}, section ${clause.section}${level}`)];
  }

  function control(cell) {
    if (!cell.control) return [];
    const holds = cells.find((other) => other.scenario === cell.scenario && other.stage === cell.stage && other.check === cell.control.check);
    const name = holds ? h("button", { type: "button", class: "link", click: () => open(holds.index) }, cell.control.check) : cell.control.check;
    return [h("h3", {}, "Control"), h("p", {}, name, cell.control.held ? ": held" : ": did not hold")];
  }

  function open(index) {
    const cell = cells[index];
    const had = opened;
    opened = index;
    mark();
    const panel = at("detail");
    const observed = cell.observed;
    panel.replaceChildren(
      h("div", { class: "head" }, badge(cell.verdict), h("button", { type: "button", class: "close", "aria-label": "Close", click: close }, "×")),
      h("h2", { id: "detail-title" }, cell.check),
      h("p", { class: "where" }, `${cell.scenario} · ${cell.stage}`),
      ...(cell.reason ? [h("p", { class: "reason" }, cell.reason)] : []),
      ...(cell.hop ? [brokenAt(cell.hop)] : []),
      ...(cell.finding ? [h("p", { class: "note" }, h("span", { class: "flag" }, "⚑ Finding: "), cell.finding)] : []),
      h("h3", {}, "Sent"),
      h("dl", {}, h("dt", {}, "as"), h("dd", {}, cell.client), h("dt", {}, "to"), h("dd", {}, cell.to), h("dt", {}, "request"), h("dd", { class: "mono" }, cell.send)),
      ...forged(cell),
      h("h3", {}, "Expected"), ...expected(cell.expected).filter(Boolean),
      h("h3", {}, "Seen"), h("p", { class: "saw" }, sawInFull(observed)),
      h("dl", {}, [["TLS", observed?.tls], ["peer", observed?.peer_id], ["took", cell.milliseconds === null ? null : `${cell.milliseconds} ms`]]
        .filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
      ...control(cell),
      h("h3", {}, "Counted"), ...(cell.evidence.length ? cell.evidence.flatMap(evidence) : [h("p", {}, "Nothing counts at this endpoint.")]),
    );
    panel.hidden = false;
    panel.scrollTop = 0;
    panel.parentElement.classList.add("opened");
    if (had === null) at("grids").querySelector(`[data-cell="${index}"]`)?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  function close() {
    const index = opened;
    opened = null;
    mark();
    at("detail").hidden = true;
    at("detail").parentElement.classList.remove("opened");
    at("grids").querySelector(`[data-cell="${index}"]`)?.focus();
  }

  function mark() {
    for (const button of document.querySelectorAll(".cell")) button.setAttribute("aria-expanded", String(Number(button.dataset.cell) === opened));
  }

  function totals() {
    const there = Object.entries(VERDICTS).filter(([verdict]) => verdict in report.totals);
    const buttons = there.map(([verdict, sign]) => toggle(verdict, sign, verdict, report.totals[verdict], "data-verdict", () => {
      if (!filter.verdicts.delete(verdict)) filter.verdicts.add(verdict);
      return filter.verdicts.has(verdict);
    }));
    buttons.push(toggle("finding", "⚑", "findings", cells.filter((cell) => cell.finding).length, "data-finding", () => (filter.finding = !filter.finding)));
    at("totals").append(...buttons);
  }

  function toggle(style, sign, word, count, name, flip) {
    return h("button", { type: "button", [name]: style, "aria-pressed": "false", disabled: count === 0, click: (event) => {
      event.currentTarget.setAttribute("aria-pressed", String(flip()));
      show();
    } }, h("span", { class: `swatch ${style}`, "aria-hidden": "true" }, sign), `${count} ${word}`);
  }

  const KEYS = { scenario: "scenario", stage: "stage", client: "client", endpoint: "to" };

  function choices() {
    for (const [name, key] of Object.entries(KEYS)) {
      const values = unique(cells.map((cell) => cell[key]));
      at(`filter-${name}`).append(h("option", { value: "" }, "all"), ...values.map((value) => h("option", { value }, value)));
    }
    for (const cell of cells) {
      cell.text = [cell.scenario, cell.stage, cell.check, cell.client, cell.to, cell.send, cell.reason, cell.finding ?? "", sawInFull(cell.observed), cell.verdict].join("\n").toLowerCase();
    }
  }

  function show() {
    const chosen = Object.entries(KEYS).map(([name, key]) => [key, at(`filter-${name}`).value]).filter(([, value]) => value);
    const text = at("filter-text").value.trim().toLowerCase();
    const visible = cells.filter((cell) => chosen.every(([key, value]) => cell[key] === value) && (!filter.verdicts.size || filter.verdicts.has(cell.verdict))
      && (!filter.finding || cell.finding) && cell.text.includes(text));
    problems(visible);
    findings(visible);
    surface(visible);
  }

  function timeline() {
    const end = Math.max(...report.phases.map((phase) => phase.started + phase.seconds));
    const phases = [...report.phases].sort((a, b) => a.started - b.started || b.seconds - a.seconds);
    at("timeline").hidden = phases.length === 0;
    at("timeline").querySelector("ol").append(...phases.map((phase) => {
      const bar = h("div", { class: "bar", title: `from ${seconds(phase.started)} to ${seconds(phase.started + phase.seconds)}` });
      bar.style.left = `${(100 * phase.started) / end}%`;
      bar.style.width = `${(100 * phase.seconds) / end}%`;
      return h("li", {}, h("span", { class: "name", title: phase.name }, phase.name), h("div", { class: "track" }, bar), h("span", { class: "took" }, seconds(phase.seconds)));
    }));
  }

  header();
  helmTests();
  totals();
  choices();
  timeline();
  facts(at("versions").querySelector("dl"), [["svidproof", report.svidproof], ...Object.entries(report.versions)]);
  show();
  at("filters").addEventListener("input", show);
  at("filters").addEventListener("submit", (event) => event.preventDefault());
  at("filters").addEventListener("reset", () => {
    filter.verdicts.clear();
    filter.finding = false;
    for (const button of at("totals").querySelectorAll("button")) button.setAttribute("aria-pressed", "false");
  });
  onClear(show);
  at("grids").addEventListener("keydown", move);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && opened !== null) close();
  });
})();
