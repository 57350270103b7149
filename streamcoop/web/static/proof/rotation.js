/** How a log's old keys hand over to new ones, as ledger/rotation.py has it. */

import { ED25519, ED25519_COSIGNATURE, parseSignature, parseVerifierKey, verified } from "./note.js";
import { ProofRefused } from "./refused.js";

const HEAD = "streamcoop keys v1";

/**
 * The log's keys behind their texts: under its name, none twice, one at least Ed25519.
 * @param {string} origin
 * @param {readonly string[]} texts
 * @returns {Promise<import("./note.js").VerifierKey[]>}
 */
export async function keysOf(origin, texts) {
  const keys = await Promise.all(texts.map(parseVerifierKey));
  const foreign = keys.find((key) => key.name !== origin || key.type === ED25519_COSIGNATURE);
  if (foreign) throw new ProofRefused("other-key", { expected: origin, found: foreign.text });
  if (new Set(texts).size !== texts.length || !keys.some((key) => key.type === ED25519)) {
    throw new ProofRefused("malformed", { what: "keys" });
  }
  return keys;
}

/**
 * The new keys of a `keys` entry, once every old Ed25519 key is seen to have signed them.
 * @param {string} origin
 * @param {import("./entries.js").Entry} entry
 * @param {readonly import("./note.js").VerifierKey[]} old
 * @returns {Promise<import("./note.js").VerifierKey[]>}
 */
export async function handedOver(origin, entry, old) {
  const keys = await keysOf(origin, entry.keys);
  const text = [HEAD, origin, ...entry.keys, ""].join("\n");
  const signed = new Set(await verified({ text, signatures: entry.signatures.map(parseSignature) }, old));
  const missing = old.find((key) => key.type === ED25519 && !signed.has(key));
  if (missing) throw new ProofRefused("keys-not-handed-over", { key: missing.text });
  return keys;
}
