// Numbers, days and states as a reader expects them. Days are local days of a location: they have no time zone.

const LOCALE = navigator.language || "en";
const DAY = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const WEEKDAY = new Intl.DateTimeFormat(LOCALE, { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });
const MOMENT = new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium", timeStyle: "short" });
const RELATIVE = new Intl.RelativeTimeFormat(LOCALE, { numeric: "auto" });
const COUNT = new Intl.NumberFormat(LOCALE);
const DAY_MS = 86_400_000;

export const STATES = {
  accepted: "Waiting",
  reading: "Being read",
  judging: "Being checked",
  done: "Done",
  rejected: "Unreadable",
};

const CODES = {
  unreadable_record: "Cannot be read",
  undecodable: "Cannot be decoded",
  missing_field: "A field is missing",
  unknown_location: "Unknown location",
  unknown_product: "Unknown product",
  negative_quantity: "Negative quantity",
  not_finite: "Not a finite number",
  bad_price: "Bad price",
  sold_in_future: "Sold in the future",
  sold_before_opening: "Sold before the opening",
  sold_after_closing: "Sold after the closing",
  duplicate_sale_id: "Sale id twice in the file",
};

const PLURALS = { piece: "pieces", box: "boxes", bottle: "bottles", can: "cans", pack: "packs", unit: "units" };

export const toMs = (day) => Date.parse(`${day}T00:00:00Z`);
export const toDay = (ms) => new Date(ms).toISOString().slice(0, 10);
export const addDays = (day, count) => toDay(toMs(day) + count * DAY_MS);
export const daysBetween = (first, last) => Math.round((toMs(last) - toMs(first)) / DAY_MS);
export const day = (text) => DAY.format(toMs(text));
export const weekday = (text) => WEEKDAY.format(toMs(text));
export const moment = (text) => MOMENT.format(new Date(text));
export const count = (value) => COUNT.format(value);
export const codeWords = (code) => CODES[code] || code.replaceAll("_", " ").replace(/^./, (c) => c.toUpperCase());
export const units = (unit) => PLURALS[unit] || unit || "units";

// Small quantities need their decimals, large ones do not.
export function quantity(value) {
  if (value === null || value === undefined) return "–";
  return new Intl.NumberFormat(LOCALE, { maximumFractionDigits: Math.abs(value) < 10 ? 1 : 0 }).format(value);
}

// Money in whatever currency the location has.
export function amount(value) {
  if (value === null || value === undefined) return "–";
  return new Intl.NumberFormat(LOCALE, { minimumFractionDigits: 2, maximumFractionDigits: 2 }).format(value);
}

// A window on the clock of its location: days where it begins and ends at midnight, times otherwise.
export function windowWords(row) {
  const [start, end] = [new Date(row.starts_at), new Date(row.ends_at)];
  const format = (options) => new Intl.DateTimeFormat(LOCALE, { timeZone: row.time_zone, ...options });
  const clock = new Intl.DateTimeFormat("en", { timeZone: row.time_zone, timeStyle: "short", hourCycle: "h23" });
  if ([start, end].every((moment) => clock.format(moment) === "00:00")) {
    const days = format({ weekday: "short", day: "numeric", month: "short" });
    return days.formatRange(start, new Date(end - 1));
  }
  return format({ day: "numeric", month: "short", hour: "numeric", minute: "2-digit" }).formatRange(start, end);
}

// What is estimated is never shown as if it were a whole number that was counted.
export function estimate(value) {
  if (value === null || value === undefined) return "–";
  const digits = Math.abs(value) < 9.95 ? 1 : 0;
  return new Intl.NumberFormat(LOCALE, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
}

export function range(low, high) {
  return `${estimate(low)} – ${estimate(high)}`;
}

export function ago(text, now = Date.now()) {
  const seconds = (Date.parse(text) - now) / 1000;
  const steps = [["day", 86_400], ["hour", 3_600], ["minute", 60]];
  for (const [name, size] of steps) {
    if (Math.abs(seconds) >= size) return RELATIVE.format(Math.round(seconds / size), name);
  }
  return "just now";
}

export function size(bytes) {
  const names = ["byte", "kilobyte", "megabyte", "gigabyte"];
  const step = Math.min(names.length - 1, Math.floor(Math.log10(Math.max(bytes, 1)) / 3));
  const value = bytes / 1000 ** step;
  return new Intl.NumberFormat(LOCALE, {
    style: "unit", unit: names[step], unitDisplay: step ? "short" : "long", maximumFractionDigits: value < 10 && step ? 1 : 0,
  }).format(value);
}

// Makes an element; text is always text, never markup.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}
