/** Bytes and the ways they are written: hexadecimal, base 64, UTF-8, big-endian integers; and their SHA-256. */

import { NoVerdict, ProofRefused, malformed } from "./refused.js";

export const HASH_BYTES = 32;
/** What 64 bits with a sign hold at the most: sizes, amounts, times. */
export const INT64_MAX = (1n << 63n) - 1n;

const CHUNK = 1 << 13;
const HEX = /^(?:[0-9a-f]{2})*$/;
const NUMBER = /^(?:0|[1-9][0-9]{0,18})$/;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * @param {string} text
 * @returns {Uint8Array}
 */
export const utf8 = (text) => encoder.encode(text);

/**
 * The text behind UTF-8.
 * @param {Uint8Array} data
 * @param {string} what what it is of, for the refusal
 * @returns {string}
 */
export function unutf8(data, what) {
  try {
    return decoder.decode(data);
  } catch {
    throw malformed(what, { encoding: "utf-8" });
  }
}

/**
 * What a caller gave as text or bytes.
 * @param {string | Uint8Array | ArrayBuffer} data
 * @returns {Uint8Array}
 */
export function bytesOf(data) {
  if (typeof data === "string") return utf8(data);
  return data instanceof ArrayBuffer ? new Uint8Array(data) : data;
}

/**
 * @param {...Uint8Array} parts
 * @returns {Uint8Array}
 */
export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let place = 0;
  for (const part of parts) {
    whole.set(part, place);
    place += part.length;
  }
  return whole;
}

/**
 * @param {Uint8Array} one
 * @param {Uint8Array} other
 * @returns {boolean}
 */
export const same = (one, other) => one.length === other.length && one.every((byte, place) => byte === other[place]);

/**
 * Where a sequence first stands; -1 if it does not.
 * @param {Uint8Array} data
 * @param {number[]} sequence
 * @returns {number}
 */
export function find(data, sequence) {
  for (let at = data.indexOf(sequence[0]); at >= 0; at = data.indexOf(sequence[0], at + 1)) {
    if (sequence.every((byte, place) => data[at + place] === byte)) return at;
  }
  return -1;
}

/**
 * @param {Uint8Array} data
 * @returns {string}
 */
export const hex = (data) => Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");

/**
 * The bytes behind lower-case hexadecimal digits.
 * @param {string} text
 * @returns {Uint8Array}
 */
export function unhex(text) {
  if (!HEX.test(text)) throw malformed("hex");
  return Uint8Array.from(text.match(/../g) ?? [], (digits) => Number.parseInt(digits, 16));
}

/**
 * Base 64 as notes have it (RFC 4648, section 4).
 * @param {Uint8Array} data
 * @returns {string}
 */
export function b64(data) {
  let text = "";
  for (let at = 0; at < data.length; at += CHUNK) text += String.fromCharCode(...data.subarray(at, at + CHUNK));
  return btoa(text);
}

/**
 * The bytes behind it; any other way to write them is refused.
 * @param {string} text
 * @returns {Uint8Array}
 */
export function unb64(text) {
  let decoded;
  try {
    decoded = atob(text);
  } catch {
    throw malformed("base64");
  }
  const data = Uint8Array.from(decoded, (sign) => sign.charCodeAt(0));
  if (b64(data) !== text) throw malformed("base64");
  return data;
}

/**
 * A decimal number below 2^63 without leading zeroes.
 * @param {string} text
 * @returns {bigint}
 */
export function number(text) {
  if (!NUMBER.test(text) || BigInt(text) > INT64_MAX) throw malformed("number");
  return BigInt(text);
}

/**
 * A number for pages: what JavaScript holds exactly.
 * @param {bigint} value
 * @returns {number}
 */
export function plain(value) {
  const told = Number(value);
  if (!Number.isSafeInteger(told)) throw new ProofRefused("number-too-large", { number: String(value) });
  return told;
}

/**
 * 64 bits, big-endian; negative numbers as two's complement.
 * @param {bigint | number} value
 * @returns {Uint8Array}
 */
export function u64(value) {
  const data = new Uint8Array(8);
  new DataView(data.buffer).setBigUint64(0, BigInt.asUintN(64, BigInt(value)));
  return data;
}

/**
 * @param {number} value
 * @returns {Uint8Array}
 */
export const u16 = (value) => Uint8Array.of(value >> 8, value & 0xff);

/**
 * WebCrypto, which browsers give to pages over https alone.
 * @returns {SubtleCrypto}
 */
export function subtle() {
  const found = globalThis.crypto?.subtle;
  if (!found) throw new NoVerdict("no-crypto", { missing: "WebCrypto" });
  return found;
}

/**
 * @param {...Uint8Array} parts
 * @returns {Promise<Uint8Array>}
 */
export const sha256 = async (...parts) => new Uint8Array(await subtle().digest("SHA-256", concat(...parts)));
