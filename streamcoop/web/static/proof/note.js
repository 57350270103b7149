/**
 * Signed notes and checkpoints (C2SP signed-note, tlog-checkpoint, tlog-cosignature), as ledger/note.py has them.
 *
 * WebCrypto knows Ed25519: the log's signatures (0x01) and witnesses' cosignatures (0x04) are verified. ML-DSA-44 keys
 * (0x06) are read, and their signatures passed over like those of unknown keys.
 */

import { HASH_BYTES, INT64_MAX, hex, number, same, sha256, subtle, unb64, unutf8, utf8 } from "./bytes.js";
import { NoVerdict, ProofRefused, malformed } from "./refused.js";
import { EMPTY_ROOT } from "./tree.js";

export const ED25519 = 0x01;
export const ED25519_COSIGNATURE = 0x04;
export const ML_DSA_44 = 0x06;

const NOTE_BYTES_MAX = 1 << 18;
const SIGNATURES_MAX = 64;
const NAME_BYTES_MAX = 255;
const KEY_ID_BYTES = 4;
const TIME_BYTES = 8;
const SIGNATURE_BYTES = 64;
const NEWLINE = 0x0a;
const MARK = "— ";
/** @type {Record<number, number>} */
const PUBLIC_BYTES = { [ED25519]: 32, [ED25519_COSIGNATURE]: 32, [ML_DSA_44]: 1312 };
// What Python takes for a space: the reference reads names with it.
const SPACE = /[\x00-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

/**
 * @typedef {object} VerifierKey A public key under a name; `text` is what a log publishes, and says all of it.
 * @property {string} name
 * @property {number} type
 * @property {string} id hexadecimal
 * @property {Uint8Array} public
 * @property {string} text
 *
 * @typedef {object} Signature
 * @property {string} name
 * @property {string} id hexadecimal
 * @property {Uint8Array} signature
 *
 * @typedef {object} Note A text that ends in a newline, and signatures that are not verified yet.
 * @property {string} text
 * @property {Signature[]} signatures
 * @property {string} whole as it was read
 *
 * @typedef {object} Head What a checkpoint says.
 * @property {string} origin
 * @property {bigint} size
 * @property {Uint8Array} root
 */

/**
 * @param {string} name
 * @returns {string}
 */
function requireName(name) {
  if (!name || name.includes("+") || SPACE.test(name)) throw malformed("name");
  if (utf8(name).length > NAME_BYTES_MAX) throw malformed("name");
  return name;
}

/**
 * A verifier key from its text.
 * @param {string} text
 * @returns {Promise<VerifierKey>}
 */
export async function parseVerifierKey(text) {
  const first = text.indexOf("+");
  const second = text.indexOf("+", first + 1);
  if (first < 0 || second < 0) throw malformed("key");
  const name = text.slice(0, first);
  const id = text.slice(first + 1, second);
  const material = unb64(text.slice(second + 1));
  const type = material[0];
  if (!Object.hasOwn(PUBLIC_BYTES, type) || material.length !== 1 + PUBLIC_BYTES[type]) throw malformed("key");
  requireName(name);
  const found = hex((await sha256(utf8(`${name}\n`), material)).subarray(0, KEY_ID_BYTES));
  if (found !== id) throw malformed("key", { id, found });
  return { name, type, id, public: material.subarray(1), text };
}

/**
 * A signature line without its newline.
 * @param {string} line
 * @returns {Signature}
 */
export function parseSignature(line) {
  if (!line.startsWith(MARK)) throw malformed("signature");
  const told = line.slice(MARK.length);
  const space = told.indexOf(" ");
  const data = unb64(space < 0 ? "" : told.slice(space + 1));
  if (data.length <= KEY_ID_BYTES) throw malformed("signature");
  const id = hex(data.subarray(0, KEY_ID_BYTES));
  return { name: requireName(space < 0 ? told : told.slice(0, space)), id, signature: data.subarray(KEY_ID_BYTES) };
}

/**
 * A note from its bytes.
 * @param {Uint8Array} data
 * @returns {Note}
 */
export function parseNote(data) {
  if (data.length > NOTE_BYTES_MAX) throw new ProofRefused("too-long", { what: "note", bytes: data.length });
  if (data.some((byte) => byte < 0x20 && byte !== NEWLINE)) throw malformed("note");
  const whole = unutf8(data, "note");
  const blank = whole.lastIndexOf("\n\n");
  const signed = whole.slice(blank + 2);
  if (blank < 0 || !signed.endsWith("\n")) throw malformed("note");
  const lines = signed.slice(0, -1).split("\n");
  if (lines.length > SIGNATURES_MAX) throw malformed("note", { signatures: lines.length });
  return { text: whole.slice(0, blank + 1), signatures: lines.map(parseSignature), whole };
}

/**
 * A checkpoint from the text of a note; one with extension lines is refused.
 * @param {string} text
 * @returns {Head}
 */
export function parseCheckpoint(text) {
  const lines = text.split("\n");
  if (lines.length !== 4 || lines[3] || !lines[0] || utf8(lines[0]).length > NAME_BYTES_MAX) {
    throw malformed("checkpoint");
  }
  const size = number(lines[1]);
  const root = unb64(lines[2]);
  if (root.length !== HASH_BYTES || (size === 0n && !same(root, EMPTY_ROOT))) throw malformed("checkpoint");
  return { origin: lines[0], size, root };
}

/**
 * The keys among these whose signatures are there, all of which hold. Of other keys nothing is said.
 * @param {Pick<Note, "text" | "signatures">} note
 * @param {readonly VerifierKey[]} keys
 * @returns {Promise<VerifierKey[]>} at least one
 */
export async function verified(note, keys) {
  const known = new Map(keys.filter((key) => key.type === ED25519).map((key) => [`${key.name} ${key.id}`, key]));
  /** @type {Set<VerifierKey>} */
  const found = new Set();
  for (const line of note.signatures) {
    const key = known.get(`${line.name} ${line.id}`);
    if (!key) continue;
    if (found.has(key)) throw new ProofRefused("signed-twice", { key: key.text });
    if (!(await holds(key, line.signature, utf8(note.text)))) {
      throw new ProofRefused("wrong-signature", { key: key.text });
    }
    found.add(key);
  }
  if (!found.size) {
    throw new ProofRefused("unknown-key", { signers: note.signatures.map((line) => `${line.name}+${line.id}`) });
  }
  return [...found];
}

/**
 * The names of those among these witnesses whose Ed25519 cosignature of a checkpoint holds.
 * @param {Note} note
 * @param {readonly VerifierKey[]} witnesses
 * @returns {Promise<string[]>}
 */
export async function cosigners(note, witnesses) {
  /** @type {Set<string>} */
  const names = new Set();
  for (const key of witnesses.filter((each) => each.type === ED25519_COSIGNATURE)) {
    const lines = note.signatures.filter((line) => line.name === key.name && line.id === key.id);
    if (lines.length !== 1 || lines[0].signature.length < TIME_BYTES) continue;
    const stamped = lines[0].signature;
    const time = new DataView(stamped.buffer, stamped.byteOffset).getBigUint64(0);
    const message = utf8(`cosignature/v1\ntime ${time}\n${note.text}`);
    if (time <= INT64_MAX && (await holds(key, stamped.subarray(TIME_BYTES), message))) names.add(key.name);
  }
  return [...names].sort();
}

/**
 * @param {VerifierKey} key
 * @param {Uint8Array} signature
 * @param {Uint8Array} message
 * @returns {Promise<boolean>}
 */
async function holds(key, signature, message) {
  if (signature.length !== SIGNATURE_BYTES) return false;
  try {
    const imported = await subtle().importKey("raw", key.public, "Ed25519", false, ["verify"]);
    return await subtle().verify("Ed25519", imported, signature, message);
  } catch (failed) {
    if (failed instanceof NoVerdict) throw failed;
    // A browser without Ed25519 can say nothing; a key that is no point of the curve has signed nothing.
    if (failed instanceof Error && failed.name === "NotSupportedError") {
      throw new NoVerdict("no-crypto", { missing: "Ed25519" });
    }
    return false;
  }
}
