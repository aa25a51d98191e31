// Ties the timeline, the block map and what stands beside them to one step of the record.
const byId = (id) => document.getElementById(id);

function element(name, words, parent, className) {
  const made = document.createElement(name);
  if (words !== undefined) made.textContent = words;
  if (className) made.className = className;
  if (parent) parent.append(made);
  return made;
}

class Page {
  constructor(rec) {
    this.rec = rec;
    this.timeline = new Timeline(rec, byId("timeline"), (step) => this.go(step));
    this.map = new BlockMap(rec, { canvas: byId("blocks"), box: byId("map"), space: byId("space") }, (part) => this.tell(part));
    this.slider = byId("slider");
    this.slider.max = rec.steps;
    this.slider.addEventListener("input", () => this.go(+this.slider.value));
    for (const button of document.querySelectorAll("[data-by]")) button.addEventListener("click", () => this.go(rec.step + +button.dataset.by));
    for (const [name, place] of this.jumps()) element("button", name, byId("jumps")).addEventListener("click", () => this.go(place));
    const zooms = { in: () => this.timeline.zoom(0.5), out: () => this.timeline.zoom(2), all: () => this.timeline.show(0, 1) };
    for (const button of document.querySelectorAll("[data-zoom]")) button.addEventListener("click", zooms[button.dataset.zoom]);
    for (const button of document.querySelectorAll("[data-rows]")) button.addEventListener("click", () => this.map.finer(+button.dataset.rows));
    this.choices();
    const redraw = () => {
      this.map.layout();
      this.timeline.draw();
      this.map.draw();
    };
    new ResizeObserver(redraw).observe(byId("live"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      redraw();
      this.legend();
    });
    this.map.layout();
    this.go(rec.stepAt(rec.texts.matters));
  }

  jumps() {
    const { rec } = this, words = { peak: "Peak", "out of memory": "Out of memory", end: "End" };
    return rec.texts.moments.map(([name, place]) => [words[name] || name, rec.stepAt(place)]);
  }

  choices() {
    const axis = byId("axis"), mode = byId("mode");
    axis.closest("label").hidden = !this.rec.texts.has_times;
    axis.addEventListener("change", () => {
      this.timeline.byTime = axis.value === "time";
      this.timeline.show(0, 1);
    });
    if (!this.rec.texts.lines.length) mode.querySelector("[value=stack]").remove();
    mode.value = this.map.mode;
    mode.addEventListener("change", () => {
      this.map.mode = mode.value;
      this.map.draw();
      this.legend();
    });
  }

  go(step) {
    const { rec } = this;
    rec.seek(step);
    this.timeline.step = rec.step;
    this.slider.value = rec.step;
    this.say();
    this.timeline.follow();
    this.map.refresh();
    this.legend();
  }

  say() {
    const { rec } = this, { step } = rec, words = byId("now");
    const last = step >= rec.steps, time = rec.texts.has_times && !last ? `, after ${durationWords(rec.time[step])}` : "";
    const where = last ? `After the last of ${thousands(rec.texts.events)} events` : `Event ${thousands(rec.place[step] + 1)} of ${thousands(rec.texts.events)}${time}`;
    this.slider.setAttribute("aria-valuetext", where);
    words.replaceChildren();
    element("strong", where, words);
    if (!last) element("span", ` ${stepWords(rec, step)}`, words, rec.kind[step] === FAILED ? "bad" : "");
    const { free, largest } = rec.holes(), { requested, allocated, reserved } = rec.sums;
    const figures = { requested: requested[step], allocated: allocated[step], reserved: reserved[step], free, hole: largest };
    for (const [name, bytes] of Object.entries(figures)) byId(`now-${name}`).textContent = sizeWords(bytes);
  }

  legend() {
    const { rec, map } = this, list = byId("legend"), colour = colours(map.canvas), held = new Map();
    list.replaceChildren();
    for (let block = 0; block < rec.blocks; block++) {
      if (!rec.state[block]) continue;
      const style = map.style(block, colour), key = map.mode === "stack" ? rec.stackOf(block) : colour.steps.indexOf(style);
      const name = map.mode === "stack" && (key < 0 || map.ranks[key] < 0) ? -1 : key;
      const entry = held.get(name) || { name, style, bytes: 0, blocks: 0 };
      entry.bytes += rec.size[block];
      entry.blocks++;
      held.set(name, entry);
    }
    const order = map.mode === "stack" ? (a, b) => (a.name < 0) - (b.name < 0) || b.bytes - a.bytes : (a, b) => a.name - b.name;
    for (const entry of [...held.values()].sort(order)) this.entry(list, entry);
    this.swatch(element("li", undefined, list), "free", "free, inside of segments");
    if (rec.state.includes(PENDING)) this.swatch(element("li", undefined, list), "waiting", "freed, waits for another stream");
    this.swatch(element("li", undefined, list), "line none", "not reserved now, but at another time");
  }

  entry(list, { name, style, bytes, blocks }) {
    const item = element("li", undefined, list), swatch = element("i", undefined, item, "swatch");
    swatch.style.background = style;
    element("b", sizeWords(bytes), item);
    const sizes = ["to 1 MiB", "to 10 MiB", "to 64 MiB", "to 256 MiB", "to 1 GiB", "over 1 GiB"];
    const ages = ["newest sixth of the time so far", "second", "third", "fourth", "fifth", "oldest sixth"];
    const others = this.rec.texts.lines.length ? "other stacks, or none" : "no stack was recorded";
    const words = { size: () => sizes[name], age: () => ages[name], stack: () => (name < 0 ? others : this.rec.texts.lines[name]) };
    element("span", `${words[this.map.mode]()}, ${thousands(blocks)} ${blocks === 1 ? "block" : "blocks"}`, item);
  }

  swatch(item, kind, words) {
    element("i", undefined, item, `swatch ${kind}`);
    element("span", words, item);
  }

  tell(part) {
    const box = byId("detail"), { rec } = this;
    box.replaceChildren();
    if (!part) return void element("p", "Choose a block, or focus the map and press ← →, to see its size, age and stack.", box, "dim");
    const { range } = part, of = `of a segment of ${sizeWords(range.end - range.start)} (${kindWords(rec, range.kind)})`;
    const rows = element("dl", undefined, box), row = (name, words) => {
      element("dt", name, rows);
      element("dd", words, rows);
    };
    if (part.block < 0) {
      row("free", `${sizeWords(part.end - part.start)} ${of}`);
      row("address", rec.absolute(part.start));
      return;
    }
    const { block } = part, born = rec.born[block], more = rec.size[block] - rec.requested[block];
    row("size", `${sizeWords(rec.requested[block])}${more > 0 ? `, and ${sizeWords(more)} by rounding` : ""}, ${of}`);
    row("address", rec.absolute(part.start));
    row("age", this.age(block, born));
    row("ends", this.end(block));
    this.stack(row, box, block);
    if (born >= 0) element("button", "Go to its allocation", box).addEventListener("click", () => this.go(born));
    if (rec.ended[block] >= 0) element("button", "Go to its end", box).addEventListener("click", () => this.go(rec.ended[block]));
  }

  age(block, born) {
    const { rec } = this;
    if (born < 0) return "there before the first recorded event";
    const now = Math.min(rec.step, rec.steps - 1), events = (rec.step >= rec.steps ? rec.texts.events : rec.place[now]) - rec.place[born];
    const time = rec.texts.has_times ? `, ${durationWords(rec.time[now] - rec.time[born])}` : "";
    return `${thousands(events)} ${events === 1 ? "event" : "events"}${time}; allocated at event ${thousands(rec.place[born] + 1)}`;
  }

  end(block) {
    const { rec } = this, ended = rec.ended[block];
    const waiting = rec.state[block] === PENDING ? "freed by the program, waits for another stream; " : "";
    return waiting + (ended < 0 ? "still there at the end" : `${waiting ? "done" : "freed"} at event ${thousands(rec.place[ended] + 1)}`);
  }

  stack(row, box, block) {
    const { rec } = this, stack = rec.stackOf(block);
    row("stack", stackWords(rec, stack));
    if (stack < 0 || rec.texts.stacks[stack].length < 2) return;
    const all = element("details", undefined, box), list = (element("summary", `${rec.texts.stacks[stack].length} frames, the innermost first`, all), element("ol", undefined, all));
    for (const frame of rec.texts.stacks[stack]) element("li", rec.texts.frames[frame], list);
    if (rec.texts.cut[stack]) element("li", `… ${rec.texts.cut[stack]} more`, list);
  }
}

function copying() {
  for (const button of document.querySelectorAll("button[data-copy]")) button.addEventListener("click", async () => {
    const line = byId(button.dataset.copy), before = button.textContent;
    try {
      await navigator.clipboard.writeText(line.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(line); // a page from disk may not be let near the clipboard
      button.textContent = document.execCommand("copy") ? "Copied" : "Selected";
    }
    setTimeout(() => (button.textContent = before), 1500);
  });
}

// For tests, and for whoever opens the console.
function inspected(page) {
  const { rec } = page;
  return {
    steps: rec.steps,
    places: rec.place,
    go: (step) => page.go(step),
    stepAt: (place) => rec.stepAt(place),
    state: () => ({
      step: rec.step,
      requested: rec.sums.requested[rec.step], allocated: rec.sums.allocated[rec.step], reserved: rec.sums.reserved[rec.step],
      segments: rec.ranges.held.map((range) => ({
        address: rec.absolute(range.start), size: range.end - range.start, kind: rec.texts.kinds[range.kind],
        blocks: [...rec.parts(range)].map((part) => [rec.absolute(part.start), part.end - part.start,
          part.block < 0 ? 0 : rec.requested[part.block], part.block < 0 ? "free" : rec.state[part.block] === PENDING ? "pending_free" : "allocated"]),
      })),
    }),
  };
}

async function opened() {
  copying();
  const live = byId("live");
  if (!live) return;
  try {
    const rec = new Record(await decoded(JSON.parse(byId("record").textContent)));
    live.hidden = false;
    byId("opening").remove();
    window.gpudoctor = inspected(new Page(rec));
  } catch (error) {
    live.hidden = true;
    byId("opening").textContent = typeof DecompressionStream === "undefined"
      ? "This browser is too old for the timeline and the block map; all figures below are complete."
      : `The timeline and the block map could not be drawn: ${error.message}`;
  }
}
opened();
