/** Canonical JSON (RFC 8785) with integers only, as ledger/canonical.py has it: what is read is written again. */

import { same, unutf8, utf8 } from "./bytes.js";
import { malformed } from "./refused.js";

const DEPTH_MAX = 32;
const ASCII = /^[\x00-\x7f]*$/;
const LONE_SURROGATE = /\p{Surrogate}/u;

/**
 * The value behind the bytes, unless they are not the one way to write it.
 * @param {Uint8Array} data
 * @returns {any}
 */
export function decode(data) {
  const text = unutf8(data, "json");
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw malformed("json");
  }
  if (!same(utf8(written(value, 0)), data)) throw malformed("json");
  return value;
}

/**
 * @param {unknown} value
 * @param {number} depth
 * @returns {string}
 */
function written(value, depth) {
  if (depth > DEPTH_MAX) throw malformed("json", { reason: "depth" });
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value)) throw malformed("json", { reason: "number" });
    return String(value);
  }
  if (typeof value === "string") {
    // Written as an escape it would be the same again, and is no Unicode.
    if (LONE_SURROGATE.test(value)) throw malformed("json", { reason: "unicode" });
    return JSON.stringify(value);
  }
  if (Array.isArray(value)) return `[${value.map((held) => written(held, depth + 1)).join(",")}]`;
  const held = /** @type {Record<string, unknown>} */ (value);
  // Of ASCII the order of UTF-16 is everybody's.
  const fields = Object.keys(held).sort().map((name) => {
    if (!ASCII.test(name)) throw malformed("json", { reason: "key" });
    return `${JSON.stringify(name)}:${written(held[name], depth + 1)}`;
  });
  return `{${fields.join(",")}}`;
}

/**
 * Whether it is an object with these fields and no others.
 * @param {unknown} value
 * @param {readonly string[]} names
 * @returns {value is Record<string, any>}
 */
export function isRecord(value, names) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return Object.keys(value).length === names.length && names.every((name) => Object.hasOwn(value, name));
}
