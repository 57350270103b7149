/** The founding note: whom to believe, as ledger/founding.py has it. */

import { hex, sha256, utf8 } from "./bytes.js";
import { decode, isRecord } from "./canonical.js";
import { isDigest, isInteger } from "./entries.js";
import { ED25519, parseCheckpoint, parseNote, parseVerifierKey, verified } from "./note.js";
import { ProofRefused, malformed } from "./refused.js";
import { keysOf } from "./rotation.js";

export const PATH = "founding";
const HEAD = "streamcoop founding v1";
const PIN = "sha256:";
const KEYS_MAX = 32;
const PREDECESSORS_MAX = 8;
const FIELDS = [
  "origin",
  "keys",
  "founders",
  "officers",
  "witnesses",
  "witnesses_needed",
  "constitution",
  "chain",
  "predecessor",
];

/** @typedef {import("./note.js").VerifierKey} VerifierKey */

/**
 * @typedef {object} Predecessor A log that ended: its last good head, and its founding note.
 * @property {import("./note.js").Head} head
 * @property {Founding} founding
 *
 * @typedef {object} Founding
 * @property {string} pin what it is known by: `sha256:` and the SHA-256 of its text
 * @property {string} origin
 * @property {VerifierKey[]} keys the log's first keys
 * @property {VerifierKey[]} founders
 * @property {VerifierKey[]} officers
 * @property {VerifierKey[]} witnesses
 * @property {number} witnessesNeeded
 * @property {string} constitution its SHA-256 in hexadecimal, or empty
 * @property {Record<string, string>} chain
 * @property {Predecessor[]} before the logs that it goes on from, the first of all first
 */

/**
 * The founding note, signed by every Ed25519 key that it names of the log and of founders.
 * @param {Uint8Array} data
 * @returns {Promise<Founding>}
 */
export async function parseFounding(data) {
  const note = parseNote(data);
  const lines = note.text.split("\n");
  if (lines.length !== 3 || lines[0] !== HEAD) throw malformed("founding");
  const told = decode(utf8(lines[1]));
  if (!isRecord(told, FIELDS)) throw malformed("founding", { field: "fields" });
  const founding = await of(told);
  const asked = [...founding.keys, ...founding.founders].filter((key) => key.type === ED25519);
  const signed = new Set((await verified(note, asked)).map((key) => key.text));
  const missing = asked.find((key) => !signed.has(key.text));
  if (missing) throw new ProofRefused("founding-unsigned", { key: missing.text });
  return { ...founding, pin: PIN + hex(await sha256(utf8(note.text))) };
}

/**
 * @param {Record<string, any>} told
 * @returns {Promise<Omit<Founding, "pin">>}
 */
async function of(told) {
  const { origin, witnesses_needed: witnessesNeeded, constitution, chain } = told;
  const [founders, officers, witnesses, keys] = await Promise.all(
    ["founders", "officers", "witnesses", "keys"].map((name) => listed(told[name], name)),
  );
  if (typeof origin !== "string") throw malformed("founding", { field: "origin" });
  if (!isInteger(witnessesNeeded) || witnessesNeeded < 0 || witnessesNeeded > witnesses.length) {
    throw malformed("founding", { field: "witnesses_needed" });
  }
  if (constitution !== "" && !isDigest(constitution)) throw malformed("founding", { field: "constitution" });
  if (typeof chain !== "object" || chain === null || Array.isArray(chain)) {
    throw malformed("founding", { field: "chain" });
  }
  if (Object.values(chain).some((value) => typeof value !== "string")) throw malformed("founding", { field: "chain" });
  if ([...founders, ...officers].some((key) => key.type !== ED25519)) {
    throw malformed("founding", { field: "founders" });
  }
  const before = await predecessors(told.predecessor, origin);
  const own = await keysOf(origin, keys.map((key) => key.text));
  return { origin, keys: own, founders, officers, witnesses, witnessesNeeded, constitution, chain, before };
}

/**
 * @param {unknown} told
 * @param {string} origin
 * @returns {Promise<Predecessor[]>}
 */
async function predecessors(told, origin) {
  if (isRecord(told, [])) return [];
  if (!isRecord(told, ["checkpoint", "founding"])) throw malformed("founding", { field: "predecessor" });
  const { checkpoint, founding: note } = told;
  if (typeof checkpoint !== "string" || typeof note !== "string") throw malformed("founding", { field: "predecessor" });
  const head = parseCheckpoint(parseNote(utf8(checkpoint)).text);
  const founding = await parseFounding(utf8(note));
  if (head.origin !== founding.origin || !head.size) throw malformed("founding", { field: "predecessor" });
  if (founding.before.some((each) => each.head.size > head.size)) throw malformed("founding", { field: "predecessor" });
  const before = [...founding.before, { head, founding }];
  if (before.length > PREDECESSORS_MAX || before.some((each) => each.head.origin === origin)) {
    throw malformed("founding", { field: "predecessor" });
  }
  return before;
}

/**
 * @param {unknown} told
 * @param {string} field
 * @returns {Promise<VerifierKey[]>}
 */
async function listed(told, field) {
  if (!Array.isArray(told) || told.length > KEYS_MAX || told.some((text) => typeof text !== "string")) {
    throw malformed("founding", { field });
  }
  return Promise.all(told.map(parseVerifierKey));
}
