// What was requested, allocated and reserved from event to event. A column of pixels shows the most in it.
class Timeline {
  constructor(rec, canvas, choose) {
    Object.assign(this, { rec, canvas, choose, byTime: false, pointers: new Map(), step: 0, hovered: null });
    this.line = this.exact() || this.thinned();
    this.low = 0;
    this.high = 1; // of the whole axis, both
    this.top = Math.max(1, ...["reserved", "allocated"].map((name) => greatest(this.line[name])), rec.texts.room ? rec.texts.room[0] : 0);
    this.listen();
  }

  exact() {
    const { rec } = this;
    if (!rec.steps || rec.texts.left_out_below) return null;
    const places = new Float64Array(rec.steps + 1), times = new Float64Array(rec.steps + 1);
    places.set(rec.place);
    times.set(rec.time);
    places[rec.steps] = rec.texts.events;
    times[rec.steps] = rec.steps ? rec.time[rec.steps - 1] : 0;
    return { places, times, ...rec.sums };
  }

  thinned() {
    const [places, times, requested, allocated, reserved] = this.rec.texts.timeline;
    return { places, times, requested, allocated, reserved };
  }

  get axis() {
    return this.byTime ? this.line.times : this.line.places;
  }
  get whole() {
    return Math.max(1, this.axis[this.axis.length - 1] || 0);
  }
  x(value) { // of an event or a time, in pixels
    return this.left + ((value / this.whole - this.low) / (this.high - this.low)) * this.wide;
  }
  value(x) {
    return (this.low + ((x - this.left) / this.wide) * (this.high - this.low)) * this.whole;
  }
  ofStep(step) {
    const last = step >= this.rec.steps;
    return this.byTime ? (last ? this.whole : this.rec.time[step]) : last ? this.rec.texts.events : this.rec.place[step];
  }
  stepAtX(x) {
    const column = this.byTime ? this.rec.time : this.rec.place;
    return lowerBound(column, this.value(x));
  }

  draw() {
    const { pen, wide, high } = fitted(this.canvas), colour = colours(this.canvas);
    Object.assign(this, { left: 62, wide: wide - 62 - 8, above: 18, tall: high - 18 - 22 });
    this.scale(pen, colour);
    pen.save();
    pen.beginPath();
    pen.rect(this.left, 0, this.wide, high);
    pen.clip();
    const columns = this.columns();
    this.fill(pen, columns.reserved, colour.reserved);
    this.fill(pen, columns.allocated, colour.allocated);
    this.stroke(pen, columns.requested, colour.requested);
    this.stroke(pen, columns.reserved, colour.reservedEdge);
    this.marks(pen, colour);
    this.room(pen, colour);
    pen.restore();
  }

  y(bytes) {
    return this.above + this.tall * (1 - bytes / (this.top * 1.04));
  }

  columns() {
    const { axis, line } = this, count = Math.max(2, Math.floor(this.wide));
    const made = { requested: new Float64Array(count), allocated: new Float64Array(count), reserved: new Float64Array(count) };
    let place = Math.max(0, lowerBound(axis, this.value(this.left)) - 1);
    for (let column = 0; column < count; column++) {
      const until = this.value(this.left + ((column + 1) * this.wide) / count);
      let first = true;
      do {
        if (!first && place + 1 < axis.length) place++;
        first = false;
        for (const name in made) if (line[name][place] > made[name][column]) made[name][column] = line[name][place];
      } while (place + 1 < axis.length && axis[place + 1] <= until);
    }
    return made;
  }

  fill(pen, values, style) {
    pen.fillStyle = style;
    pen.beginPath();
    pen.moveTo(this.left, this.y(0));
    this.trace(pen, values);
    pen.lineTo(this.left + this.wide, this.y(0));
    pen.fill();
  }
  stroke(pen, values, style) {
    pen.strokeStyle = style;
    pen.lineWidth = 1.25;
    pen.beginPath();
    this.trace(pen, values);
    pen.stroke();
  }
  trace(pen, values) {
    for (let column = 0; column < values.length; column++) {
      const x = this.left + (column * this.wide) / values.length, y = this.y(values[column]);
      pen.lineTo(x, y);
      pen.lineTo(x + this.wide / values.length, y);
    }
  }

  scale(pen, colour) {
    pen.font = colour.font;
    pen.fillStyle = colour.dim;
    pen.strokeStyle = colour.edge;
    pen.lineWidth = 1;
    pen.textAlign = "right";
    for (const bytes of ticks(this.top)) {
      const y = Math.round(this.y(bytes)) + 0.5;
      pen.fillText(sizeWords(bytes), this.left - 8, y + 4);
      line(pen, this.left, y, this.left + this.wide, y);
    }
    const words = (value) => (this.byTime ? durationWords(value) : thousands(value));
    const y = this.above + this.tall + 16;
    pen.textAlign = "left";
    pen.fillText(this.byTime ? words(this.value(this.left)) : `event ${words(this.value(this.left))}`, this.left, y);
    pen.textAlign = "right";
    pen.fillText(words(this.value(this.left + this.wide)), this.left + this.wide, y);
  }

  room(pen, colour) {
    const room = this.rec.texts.room;
    if (!room) return;
    pen.strokeStyle = pen.fillStyle = colour.bad;
    pen.setLineDash([6, 4]);
    const y = Math.round(this.y(Math.min(room[1], this.top * 1.03))) + 0.5;
    line(pen, this.left, y, this.left + this.wide, y);
    pen.setLineDash([]);
    pen.textAlign = "left";
    pen.lineWidth = 3;
    pen.strokeStyle = colour.card; // so that it reads on whatever lies below
    const words = `room ${sizeWords(room[1])}`, below = y + 13;
    pen.strokeText(words, this.left + 6, below);
    pen.fillText(words, this.left + 6, below);
    pen.lineWidth = 1;
  }

  marks(pen, colour) {
    const { rec } = this;
    pen.textAlign = "center";
    let written = -100;
    for (let step = 0; step < rec.steps; step++) {
      if (rec.kind[step] !== FAILED) continue;
      const x = this.x(this.ofStep(step));
      pen.strokeStyle = pen.fillStyle = colour.bad;
      pen.globalAlpha = 0.5;
      line(pen, x, this.above, x, this.above + this.tall);
      pen.globalAlpha = 1;
      if (x - written > 12) pen.fillText("✖", Math.min(Math.max(x, this.left + 6), this.left + this.wide - 6), 13);
      if (x - written > 12) written = x;
    }
    const x = Math.min(Math.max(this.x(this.ofStep(this.step)), this.left + 1), this.left + this.wide - 1);
    pen.strokeStyle = colour.ink;
    pen.lineWidth = 2;
    if (this.ofStep(this.step) / this.whole >= this.low - 1e-9 && this.ofStep(this.step) / this.whole <= this.high + 1e-9)
      line(pen, x, this.above - 4, x, this.above + this.tall);
    pen.lineWidth = 1;
  }

  zoom(factor, x = this.left + this.wide / 2) {
    const least = Math.min(1, 8 / this.whole), at = (x - this.left) / this.wide;
    const span = Math.min(1, Math.max(least, (this.high - this.low) * factor));
    this.show(this.low + at * (this.high - this.low - span), span);
  }
  show(low, span) {
    this.low = Math.min(1 - span, Math.max(0, low));
    this.high = this.low + span;
    this.draw();
  }
  pan(pixels) {
    const span = this.high - this.low;
    this.show(this.low - (pixels / this.wide) * span, span);
  }
  follow() { // the chosen step stays in sight
    const at = this.ofStep(this.step) / this.whole, span = this.high - this.low;
    if (at < this.low || at > this.high) this.show(at - span / 2, span);
    else this.draw();
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("wheel", (event) => {
      if (document.activeElement !== canvas && !event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.pan(-event.deltaX);
      else this.zoom(Math.exp(event.deltaY / 300), event.offsetX);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, { x: event.offsetX, from: event.offsetX, moved: false });
    });
    canvas.addEventListener("pointermove", (event) => this.moved(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => {
      const pointer = this.pointers.get(event.pointerId);
      this.pointers.delete(event.pointerId);
      if (name === "pointerup" && pointer && !pointer.moved) this.choose(this.stepAtX(event.offsetX));
    });
    canvas.addEventListener("keydown", (event) => this.pressed(event));
  }

  moved(event) {
    const pointer = this.pointers.get(event.pointerId);
    if (!pointer) return;
    const others = [...this.pointers.values()].filter((each) => each !== pointer), x = event.offsetX;
    if (others.length) {
      const before = Math.abs(pointer.x - others[0].x), after = Math.abs(x - others[0].x);
      pointer.moved = others[0].moved = true;
      if (before > 4 && after > 4) this.zoom(before / after, (x + others[0].x) / 2);
    } else if (pointer.moved || Math.abs(x - pointer.from) > 4) {
      pointer.moved = true;
      if (this.high - this.low < 1) this.pan(x - pointer.x);
      else this.choose(this.stepAtX(x));
    }
    pointer.x = x;
  }

  pressed(event) {
    const wide = this.high - this.low, far = event.shiftKey ? 100 : 1;
    const acts = {
      "+": () => this.zoom(0.5, this.x(this.ofStep(this.step))), "=": () => this.zoom(0.5, this.x(this.ofStep(this.step))),
      "-": () => this.zoom(2), 0: () => this.show(0, 1),
      ArrowLeft: () => this.choose(this.step - far), ArrowRight: () => this.choose(this.step + far),
      PageUp: () => this.show(this.low - wide / 2, wide), PageDown: () => this.show(this.low + wide / 2, wide),
      Home: () => this.choose(0), End: () => this.choose(this.rec.steps),
    };
    if (!acts[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    acts[event.key]();
  }
}

function greatest(numbers) {
  let most = 0;
  for (const number of numbers) if (number > most) most = number;
  return most;
}

function ticks(top) { // of bytes, three to six of them
  let step = 1;
  while (top / step > 6) step *= 2;
  const found = [];
  for (let at = 0; at <= top; at += step) found.push(at);
  return found;
}

function line(pen, x, y, toX, toY) {
  pen.beginPath();
  pen.moveTo(x, y);
  pen.lineTo(toX, toY);
  pen.stroke();
}

// A canvas as sharp as the screen, and a pen in its pixels.
function fitted(canvas, wide = canvas.clientWidth, high = canvas.clientHeight) {
  const sharp = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(wide * sharp) || canvas.height !== Math.round(high * sharp)) {
    canvas.width = Math.round(wide * sharp);
    canvas.height = Math.round(high * sharp);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(sharp, 0, 0, sharp, 0, 0);
  pen.clearRect(0, 0, wide, high);
  return { pen, wide, high };
}

function colours(element) {
  const style = getComputedStyle(element), get = (name) => style.getPropertyValue(name).trim();
  return {
    ink: get("--ink"), dim: get("--dim"), edge: get("--edge"), bad: get("--bad"), card: get("--card"), warn: get("--warn"),
    reserved: get("--reserved"), reservedEdge: get("--reserved-edge"), allocated: get("--allocated"), requested: get("--requested"),
    free: get("--free"), hatch: get("--hatch"), none: get("--none"), steps: get("--steps").split(","), stacks: get("--stacks").split(","),
    font: `11px ${get("--mono")}`,
  };
}
