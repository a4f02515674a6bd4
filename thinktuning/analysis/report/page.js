"use strict";
// The rollout viewer. Rollouts are untrusted: they enter the document as textContent only.
(() => {
  const ROW_HEIGHT = 28; // as in page.css
  const OVERSCAN = 8; // rows above and below the visible ones
  const byId = (id) => document.getElementById(id);
  const { runs, texts, columns } = JSON.parse(byId("rollouts").textContent);
  const form = byId("filters");
  const list = byId("list");
  const rows = byId("rows");
  const lowerCase = texts.map((text) => text.toLowerCase());
  let found = []; // the rollouts that pass the filters
  let chosen = 0; // an index into `found`

  const element = (name, text, className) => {
    const made = document.createElement(name);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  // Show control characters, and those that change the text direction, as codes.
  const visible = (text) =>
    text.replace(
      /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
      (c) => `\u27e8U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`,
    );
  const textOf = (column, i) => (columns[column][i] < 0 ? null : visible(texts[columns[column][i]]));

  // a graded reward is a number: neither right nor wrong
  const isRight = (reward) => ({ null: null, 1: true, 0: false })[reward];
  const mark = (reward) => ({ null: "?", 1: "\u2713", 0: "\u2717" })[reward] ?? figure(reward);
  const figure = (value) => (value === null ? "none" : value.toFixed(2));
  const signed = (value) => (value > 0 ? "+" : "") + figure(value);

  // --- filters -----------------------------------------------------------------------------------

  const verdicts = {
    student_right: (before) => before === true,
    student_wrong: (before) => before === false,
    right: (before, after) => after === true,
    wrong: (before, after) => after === false,
    fixed: (before, after) => before === false && after === true,
    broken: (before, after) => before === true && after === false,
    ungraded: (before, after) => before === null || after === null,
  };
  const teachers = {
    taught: (i) => columns.taught[i] === 1,
    untaught: (i) => columns.taught[i] === 0,
    dropped: (i) => columns.asked[i] === 1 && columns.taught[i] === 0,
  };

  const offer = (id, values) => {
    for (const [value, label] of values) byId(id).append(new Option(label, value));
  };
  offer("method", new Map(runs.map((run) => [run.method, run.label])));
  offer("seed", new Map(runs.map((run) => [String(run.seed), String(run.seed)])));
  offer("step", [...new Set(columns.step)].sort((a, b) => a - b).map((step) => [step, step]));

  const filter = () => {
    const value = (id) => byId(id).value;
    const [method, seed, step] = [value("method"), value("seed"), value("step")];
    const verdict = verdicts[value("verdict")];
    const teacher = teachers[value("teacher")];
    const words = value("search").toLowerCase();
    const matches = words === "" ? null : lowerCase.map((text) => text.includes(words));
    const searched = ["question", "student_text", "teacher_reply", "tail"].map((c) => columns[c]);
    found = [];
    for (let i = 0; i < columns.run.length; i++) {
      const run = runs[columns.run[i]];
      if (method !== "" && run.method !== method) continue;
      if (seed !== "" && String(run.seed) !== seed) continue;
      if (step !== "" && String(columns.step[i]) !== step) continue;
      if (verdict && !verdict(isRight(columns.student_reward[i]), isRight(columns.reward[i]))) continue;
      if (teacher && !teacher(i)) continue;
      if (matches && !searched.some((column) => matches[column[i]])) continue;
      found.push(i);
    }
    const kept = runs.reduce((sum, run) => sum + run.num_rollouts, 0);
    const count = (number) => number.toLocaleString("en");
    const drawn = columns.run.length;
    byId("status").textContent =
      `${count(found.length)} of ${count(drawn)} rollouts` +
      (drawn < kept ? `, a random sample of the ${count(kept)} in rollouts.jsonl` : "");
    rows.style.height = `${found.length * ROW_HEIGHT}px`;
    list.scrollTop = 0;
    choose(0);
  };

  // --- list: only the visible rows are in the document --------------------------------------------

  const row = (place) => {
    const i = found[place];
    const run = runs[columns.run[i]];
    const made = element("div", "", "row");
    made.id = `row-${place}`;
    made.style.top = `${place * ROW_HEIGHT}px`;
    made.setAttribute("role", "option");
    made.setAttribute("aria-selected", String(place === chosen));
    made.setAttribute("aria-posinset", String(place + 1));
    made.setAttribute("aria-setsize", String(found.length));
    const [before, after] = [columns.student_reward[i], columns.reward[i]];
    const taught = columns.taught[i] === 1;
    const verdict = taught ? `${mark(before)}\u2192${mark(after)} taught` : mark(after);
    made.append(
      element("span", String(columns.step[i])),
      element("span", `${run.label}, ${run.seed}`),
      element("span", verdict, { true: "right", false: "wrong" }[isRight(after)]),
      element("span", signed(columns.advantage[i])),
      element("span", textOf("student_text", i).slice(0, 200)),
    );
    made.addEventListener("click", () => choose(place));
    return made;
  };

  const draw = () => {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW_HEIGHT) - OVERSCAN);
    const visibleRows = Math.ceil(list.clientHeight / ROW_HEIGHT);
    const last = Math.min(found.length, first + visibleRows + 2 * OVERSCAN);
    const places = Array.from({ length: Math.max(0, last - first) }, (_, n) => first + n);
    rows.replaceChildren(...places.map(row));
    if (chosen >= first && chosen < last) list.setAttribute("aria-activedescendant", `row-${chosen}`);
    else list.removeAttribute("aria-activedescendant");
  };

  const choose = (place) => {
    chosen = Math.max(0, Math.min(found.length - 1, place));
    const top = chosen * ROW_HEIGHT;
    if (top < list.scrollTop) list.scrollTop = top;
    const bottom = top + ROW_HEIGHT - list.clientHeight;
    if (bottom > list.scrollTop) list.scrollTop = bottom;
    draw();
    show(found[chosen]);
  };

  // --- one rollout --------------------------------------------------------------------------------

  const put = (id, text, absent) => {
    byId(id).replaceChildren(text === null ? element("span", absent, "absent") : text);
  };

  const show = (i) => {
    byId("rollout").hidden = i === undefined;
    if (i === undefined) return;
    const run = runs[columns.run[i]];
    const taught = columns.taught[i] === 1;
    const facts = {
      method: run.label,
      seed: run.seed,
      step: columns.step[i],
      "student's reward": figure(columns.student_reward[i]),
      reward: figure(columns.reward[i]),
      advantage: signed(columns.advantage[i]),
      tokens: taught
        ? `${columns.student_length[i]}, spliced ${columns.completion_length[i]}`
        : columns.completion_length[i],
    };
    byId("facts").replaceChildren(
      ...Object.entries(facts).map(([name, value]) => {
        const made = element("div", "");
        made.append(element("dt", name), element("dd", String(value)));
        return made;
      }),
    );
    put("question", textOf("question", i));
    put("student", textOf("student_text", i));
    const asked = columns.asked[i] === 1;
    put("reply", textOf("teacher_reply", i), asked ? "asked, no reply" : "not asked");
    const tail = textOf("tail", i);
    if (columns.whole[i] === 1) put("spliced", tail);
    else if (tail !== null) {
      byId("spliced").replaceChildren(textOf("student_text", i), element("mark", tail));
    } else {
      const unread = asked && columns.parsed[i] === 0;
      put("spliced", null, unread ? "nothing: the reply is malformed" : "nothing");
    }
  };

  // --- events -------------------------------------------------------------------------------------

  const page = () => Math.max(1, Math.floor(list.clientHeight / ROW_HEIGHT) - 1);
  const moves = {
    ArrowDown: () => chosen + 1,
    j: () => chosen + 1,
    ArrowUp: () => chosen - 1,
    k: () => chosen - 1,
    PageDown: () => chosen + page(),
    PageUp: () => chosen - page(),
    Home: () => 0,
    End: () => found.length - 1,
  };
  list.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "/") byId("search").focus();
    else if (Object.hasOwn(moves, event.key)) choose(moves[event.key]());
    else return;
    event.preventDefault();
  });
  list.addEventListener("scroll", draw, { passive: true });
  window.addEventListener("resize", draw);
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  filter();
  // Begin with a rollout that shows what the teacher is for: wrong, then right.
  const isFixed = (i) => verdicts.fixed(...[columns.student_reward[i], columns.reward[i]].map(isRight));
  choose(found.findIndex((i) => columns.taught[i] === 1 && isFixed(i)));
  list.scrollTop = chosen * ROW_HEIGHT;
})();
