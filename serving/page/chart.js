// Draws history and forecast of one series as SVG. Everything shown can also be read with the arrow keys.

import { addDays, daysBetween, element, estimate, quantity, range, toMs, weekday } from "./words.js";

const SPACE = "http://www.w3.org/2000/svg";
const EDGE = { top: 14, right: 14, bottom: 28, left: 44 };
const TICKS_Y = 4;
const LOCALE = navigator.language || "en";

function shape(name, attributes, ...children) {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// The smallest round step that covers `most` in about TICKS_Y steps.
export function niceStep(most) {
  const rough = Math.max(most, 1) / TICKS_Y;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough - 1e-9) * power;
  return Math.max(step, 1);
}

// One entry a day without holes: {day, sold} or {day, row}.
export function daysOf(history, dataUpTo, rows, spanDays) {
  const sold = new Map(history.map((one) => [one.sold_on, one.quantity ?? 0]));
  const forecast = new Map(rows.map((row) => [row.date, row]));
  const firstSold = history.length ? history[0].sold_on : null;
  const lastSold = firstSold ? dataUpTo || history[history.length - 1].sold_on : null;
  const ends = [lastSold, rows.length ? rows[rows.length - 1].date : null].filter(Boolean).sort();
  if (!ends.length) return [];
  const windowStart = addDays(lastSold || rows[0].date, lastSold ? 1 - spanDays : 0);
  const first = firstSold && firstSold > windowStart ? firstSold : windowStart;
  const last = ends[ends.length - 1];
  return Array.from({ length: daysBetween(first, last) + 1 }, (_, index) => {
    const day = addDays(first, index);
    // Within the days that are sealed a day without a row is a day without a sale.
    const known = firstSold !== null && day >= firstSold && day <= lastSold;
    return { day, sold: known ? sold.get(day) ?? 0 : null, row: forecast.get(day) || null };
  });
}

export class Chart {
  constructor(box) {
    this.box = box;
    this.days = [];
    this.unit = "";
    this.at = null;
    this.svg = shape("svg", { role: "application", tabindex: "0", "aria-roledescription": "chart" });
    this.tip = element("div", { class: "tip", hidden: true });
    this.spoken = element("p", { class: "unseen", "aria-live": "polite" });
    box.append(this.svg, this.tip, this.spoken);
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerdown", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.unpoint());
    this.svg.addEventListener("keydown", (event) => this.key(event));
    this.svg.addEventListener("blur", () => this.unpoint());
    new ResizeObserver(() => this.draw()).observe(box);
  }

  show(days, unit, title) {
    this.days = days;
    this.unit = unit;
    this.at = null;
    this.svg.setAttribute("aria-label", `${title}: ${unit} a day. Use the left and right arrow keys to read each day.`);
    this.draw();
  }

  draw() {
    const width = this.box.clientWidth;
    if (!width || !this.days.length) return;
    const height = Math.round(Math.min(Math.max(width * 0.36, 220), 360));
    const most = Math.max(...this.days.map((one) => Math.max(one.sold ?? 0, one.row?.q95 ?? 0, one.row?.mean ?? 0)));
    const step = niceStep(most);
    const top = Math.max(step, Math.ceil(most / step) * step);
    const inner = { width: width - EDGE.left - EDGE.right, height: height - EDGE.top - EDGE.bottom };
    const last = Math.max(this.days.length - 1, 1);
    this.x = (index) => EDGE.left + (index / last) * inner.width;
    this.y = (value) => EDGE.top + inner.height * (1 - Math.min(value, top) / top);
    this.bottom = EDGE.top + inner.height;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("height", height);
    this.mark = shape("g", { class: "mark" });
    this.svg.replaceChildren(
      ...this.grid(step, top, width), ...this.dates(inner.width), ...this.bands(), ...this.lines(), this.mark);
    if (this.at !== null) this.focusDay(this.at, false);
  }

  grid(step, top, width) {
    const parts = [];
    for (let value = 0; value <= top + 1e-9; value += step) {
      const y = this.y(value);
      parts.push(shape("line", { class: value ? "grid" : "axis", x1: EDGE.left, x2: width - EDGE.right, y1: y, y2: y }));
      parts.push(shape("text", { class: "tick", x: EDGE.left - 8, y: y + 4, "text-anchor": "end" }, quantity(value)));
    }
    return parts;
  }

  dates(width) {
    const count = this.days.length;
    const monthly = count > 150;
    const wanted = Math.max(2, Math.floor(width / 74));
    const form = new Intl.DateTimeFormat(LOCALE, monthly
      ? { month: "short", timeZone: "UTC" } : { day: "numeric", month: "short", timeZone: "UTC" });
    // The turn of the year is where a reader looks for the year.
    const label = (ms) => (monthly && new Date(ms).getUTCMonth() === 0 ? String(new Date(ms).getUTCFullYear()) : form.format(ms));
    let places = this.days.map((one, index) => ({ index, ms: toMs(one.day) }));
    // Mondays make weeks comparable; over a year the first days of months do.
    places = places.filter(({ ms }) => (monthly ? new Date(ms).getUTCDate() === 1 : new Date(ms).getUTCDay() === 1));
    const every = Math.max(1, Math.ceil(places.length / wanted));
    const parts = [];
    places.filter((_, order) => order % every === 0).forEach(({ index, ms }) => {
      const x = this.x(index);
      parts.push(shape("line", { class: "axis", x1: x, x2: x, y1: this.bottom, y2: this.bottom + 5 }));
      const anchor = x < EDGE.left + 20 ? "start" : x > EDGE.left + width - 22 ? "end" : "middle";
      parts.push(shape("text", { class: "tick", x, y: this.bottom + 20, "text-anchor": anchor }, label(ms)));
    });
    const start = this.days.findIndex((one) => one.row);
    if (start > 0) {
      const x = this.x(start - 0.5);
      parts.push(shape("line", { class: "today", x1: x, x2: x, y1: EDGE.top - 4, y2: this.bottom }));
    }
    return parts;
  }

  bands() {
    return [["q05", "q95", "band-wide"], ["q25", "q75", "band-half"]].map(([low, high, name]) => {
      const points = this.days.map((one, index) => ({ index, row: one.row })).filter(({ row }) => row);
      if (!points.length) return shape("g", {});
      const up = points.map(({ index, row }) => `${this.x(index)},${this.y(row[high] ?? 0)}`);
      const down = points.reverse().map(({ index, row }) => `${this.x(index)},${this.y(row[low] ?? 0)}`);
      return shape("polygon", { class: name, points: [...up, ...down].join(" ") });
    });
  }

  lines() {
    const path = (value) => {
      let text = "";
      let pen = "M";
      this.days.forEach((one, index) => {
        const found = value(one);
        if (found === null || found === undefined) pen = "M";
        else {
          text += `${pen}${this.x(index).toFixed(1)} ${this.y(found).toFixed(1)}`;
          pen = "L";
        }
      });
      return text;
    };
    return [
      shape("path", { class: "line-history", d: path((one) => one.sold) }),
      shape("path", { class: "line-mean", d: path((one) => one.row?.mean) }),
    ];
  }

  point(event) {
    if (!this.x || !this.days.length) return;
    const left = this.svg.getBoundingClientRect().left;
    const inner = this.x(this.days.length - 1) - EDGE.left || 1;
    const share = (event.clientX - left - EDGE.left) / inner;
    this.focusDay(Math.round(Math.min(Math.max(share, 0), 1) * (this.days.length - 1)), false);
  }

  unpoint() {
    this.at = null;
    this.tip.hidden = true;
    this.mark?.replaceChildren();
  }

  key(event) {
    const end = this.days.length - 1;
    const start = this.days.findIndex((one) => one.row);
    const now = this.at ?? (start >= 0 ? start - 1 : -1);
    const to = { ArrowLeft: now - 1, ArrowRight: now + 1, PageUp: now - 7, PageDown: now + 7, Home: 0, End: end }[event.key];
    if (event.key === "Escape") this.unpoint();
    if (to === undefined || end < 0) return;
    event.preventDefault();
    this.focusDay(Math.min(Math.max(to, 0), end), true);
  }

  focusDay(index, aloud) {
    this.at = index;
    const one = this.days[index];
    const x = this.x(index);
    const dots = [[one.sold, "dot-history"], [one.row?.mean, "dot-mean"]].filter(([value]) => value !== null && value !== undefined);
    this.mark.replaceChildren(
      shape("line", { class: "cross", x1: x, x2: x, y1: EDGE.top, y2: this.bottom }),
      ...dots.map(([value, name]) => shape("circle", { class: name, cx: x, cy: this.y(value), r: 4 })));
    const lines = [];
    if (one.sold !== null) lines.push(["Sold", `${quantity(one.sold)} ${this.unit}`]);
    if (one.row) {
      lines.push(["Expected", `${estimate(one.row.mean)} ${this.unit}`]);
      lines.push(["50 % range", range(one.row.q25, one.row.q75)], ["90 % range", range(one.row.q05, one.row.q95)]);
    }
    if (!lines.length) lines.push(["", "Nothing known of this day"]);
    this.tip.replaceChildren(
      element("strong", {}, weekday(one.day)),
      ...lines.map(([name, value]) => element("div", {}, element("span", {}, name), element("b", {}, value))));
    this.tip.hidden = false;
    const room = this.box.clientWidth - this.tip.offsetWidth - 4;
    const wanted = x + 14 > room ? x - this.tip.offsetWidth - 14 : x + 14;
    this.tip.style.left = `${Math.min(Math.max(wanted, 4), Math.max(room, 4))}px`;
    if (aloud) this.spoken.textContent = `${weekday(one.day)}: ${lines.map((line) => line.join(" ")).join(", ")}`;
  }
}
