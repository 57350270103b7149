/**
 * What this browser pinned of a log, and the log held against it.
 *
 * Kept are the log's address and name, its keys and from which size on each set of them signs, the SHA-256 of the
 * founding note, its witnesses, and the largest signed head that was seen. A head that does not continue it is refused,
 * and both are kept.
 *
 * When the log's keys change, the `keys` entry is looked for among the entries that are new since the remembered head:
 * every old key has to have signed the new ones, the entry has to be under the new head, and a new key has to have
 * signed that. Where more than SCANNED_MAX bundles are new, or no such entry is there, the reader has to bring the
 * keys: `streamcoop verify` follows them through the whole log.
 *
 * A log that goes on from the one that is pinned, under another name, is followed if its founding note holds the pinned
 * one and one of that one's founders signed it, as `streamcoop verify` asks.
 */

import { b64, bytesOf, plain, same, unb64, unutf8 } from "./bytes.js";
import { parseEntry } from "./entries.js";
import { PATH, parseFounding } from "./founding.js";
import { cosigners, parseCheckpoint, parseNote, parseVerifierKey, verified } from "./note.js";
import { NoVerdict, ProofRefused } from "./refused.js";
import { handedOver, keysOf } from "./rotation.js";
import { Tiles, WIDTH } from "./tiles.js";
import { consistencyProof, inclusionProof, leafHash, rangeRoot, verifyConsistency, verifyInclusion } from "./tree.js";

/** How many bundles of entries are looked through for new keys: a quarter of a million entries. */
export const SCANNED_MAX = 1_024;

const NAME = "streamcoop.log";
const EVIDENCE_NAME = "streamcoop.log.evidence";
const VERSION = 1;
const ADDRESS = "/log";
const CHECKPOINT = "checkpoint";
const FILE_BYTES_MAX = WIDTH * (0xffff + 2);
const FETCH_MS = 30_000;
const MISSING = [404, 410];
const EVIDENCE_MARK = "streamcoop/fork/v1";
/** @type {Pick<Pinned, "founding" | "witnesses" | "witnesses_needed" | "before">} */
const UNNAMED = { founding: null, witnesses: [], witnesses_needed: 0, before: [] };

/**
 * @typedef {object} Era The keys that sign heads of at least `from` entries, up to the next era's.
 * @property {number} from
 * @property {string[]} keys verifier keys
 *
 * @typedef {object} Ended A log that this one goes on from, up to its last good head.
 * @property {string} origin
 * @property {number} size
 * @property {string} root base 64
 * @property {string[]} keys its first verifier keys
 *
 * @typedef {object} Pinned What this browser remembers. Plain JSON.
 * @property {number} v
 * @property {string} address where the log's files begin
 * @property {string} origin
 * @property {Era[]} eras
 * @property {string | null} founding what the founding note is known by; null if keys were pinned without it
 * @property {"first-use" | "given"} how whether the founding note or keys came from the log itself, or from the reader
 * @property {string[]} witnesses verifier keys
 * @property {number} witnesses_needed
 * @property {Ended[]} before
 * @property {string} head the largest signed head that was seen, a note
 *
 * @typedef {object} Options
 * @property {Pick<Storage, "getItem" | "setItem" | "removeItem">} [storage] localStorage by default
 * @property {typeof fetch} [fetch]
 *
 * @typedef {object} LatestHead
 * @property {string} origin
 * @property {number} size
 * @property {string} root base 64
 * @property {string} note all of it
 * @property {number} seen how many entries the head had that was remembered before
 * @property {boolean} keysChanged whether new keys were followed
 * @property {{cosigned: string[], known: number, needed: number}} witnesses
 *   whose Ed25519 cosignature holds; of ML-DSA-44 cosignatures a browser can say nothing
 */

/** The log's files, and this browser's memory of it. */
class Place {
  address = ADDRESS;
  #storage;
  #fetch;

  /** @param {Options} options */
  constructor({ storage, fetch = globalThis.fetch } = {}) {
    this.#storage = storage ?? defaultStorage();
    this.#fetch = fetch;
    this.read = this.read.bind(this);
  }

  /** @type {import("./tiles.js").Read} */
  async read(path) {
    const address = `${this.address}/${path}`;
    let answer, data;
    try {
      // Without cookies nobody can be shown a log of her own.
      answer = await this.#fetch.call(globalThis, address, {
        cache: path === CHECKPOINT ? "no-cache" : "default",
        credentials: "omit",
        referrerPolicy: "no-referrer",
        signal: AbortSignal.timeout(FETCH_MS),
      });
      data = new Uint8Array(await answer.arrayBuffer());
    } catch {
      throw new NoVerdict("unreachable", { path });
    }
    if (MISSING.includes(answer.status)) throw new NoVerdict("missing", { path });
    if (!answer.ok) throw new NoVerdict("unreachable", { path, status: answer.status });
    if (data.length > FILE_BYTES_MAX) throw new NoVerdict("too-long", { path });
    return data;
  }

  /** @returns {Pinned | null} */
  recall() {
    const kept = this.#storage.getItem(NAME);
    if (kept === null) return null;
    try {
      const record = JSON.parse(kept);
      if (record.v !== VERSION) throw new NoVerdict("memory-unreadable");
      headOf(record.head);
      return record;
    } catch {
      throw new NoVerdict("memory-unreadable");
    }
  }

  /**
   * Keep a record; not over a larger head that another page has seen meanwhile.
   * @param {Pinned} record
   */
  keep(record) {
    const kept = this.recall();
    if (kept?.origin === record.origin && headOf(kept.head).size > headOf(record.head).size) return;
    try {
      this.#storage.setItem(NAME, JSON.stringify(record));
    } catch {
      throw new NoVerdict("no-memory");
    }
  }

  forget() {
    this.#storage.removeItem(NAME);
  }

  /** @returns {string | null} */
  get evidence() {
    return this.#storage.getItem(EVIDENCE_NAME);
  }

  /** @param {string} text */
  keepEvidence(text) {
    try {
      this.#storage.setItem(EVIDENCE_NAME, text);
    } catch {
      // What is told to the reader holds it too.
    }
  }
}

/** @returns {Storage} */
function defaultStorage() {
  try {
    if (globalThis.localStorage) return globalThis.localStorage;
  } catch {
    // A browser that forbids it says so by throwing.
  }
  throw new NoVerdict("no-memory");
}

/**
 * The head in a note's text.
 * @param {string} note
 */
function headOf(note) {
  const parsed = parseNote(bytesOf(note));
  return { note: parsed, ...parseCheckpoint(parsed.text) };
}

/** @typedef {ReturnType<typeof headOf>} SignedHead */

/**
 * The keys that sign heads of this size of the log of this name.
 * @param {Pinned} pinned
 * @param {string} origin
 * @param {bigint} size
 * @returns {Promise<import("./note.js").VerifierKey[]>}
 */
export async function keysForHead(pinned, origin, size) {
  const ended = endedOf(pinned, origin);
  if (ended && size > BigInt(ended.size)) throw new ProofRefused("beyond-last-good-head", { origin, size: ended.size });
  const keys = ended?.keys ?? pinned.eras.filter((era) => BigInt(era.from) <= size).at(-1)?.keys ?? [];
  return Promise.all(keys.map(parseVerifierKey));
}

/**
 * All keys that were ever the log's: a promise does not say how long the log was.
 * @param {Pinned} pinned
 * @param {string} origin
 * @returns {Promise<import("./note.js").VerifierKey[]>}
 */
export function keysForPromise(pinned, origin) {
  const keys = endedOf(pinned, origin)?.keys ?? pinned.eras.flatMap((era) => era.keys);
  return Promise.all([...new Set(keys)].map(parseVerifierKey));
}

/**
 * The log of this name if it is one that ended, undefined if it is the one that is pinned.
 * @param {Pinned} pinned
 * @param {string} origin
 * @returns {Ended | undefined}
 */
function endedOf(pinned, origin) {
  const ended = pinned.before.find((each) => each.origin === origin);
  if (!ended && origin !== pinned.origin) {
    throw new ProofRefused("wrong-origin", { expected: pinned.origin, found: origin });
  }
  return ended;
}

// --- Pinning ---

/**
 * What is pinned; null before the first time.
 * @param {Options} [options]
 * @returns {Pinned | null}
 */
export const recall = (options) => new Place(options).recall();

/**
 * Forget what was pinned, so that another log can be. Evidence stays.
 * @param {Options} [options]
 */
export const forget = (options) => new Place(options).forget();

/**
 * The evidence of a fork or rollback that was found here: a file for `streamcoop-verify`; null if there is none.
 * @param {Options} [options]
 * @returns {string | null}
 */
export const keptEvidence = (options) => new Place(options).evidence;

/**
 * Pin the log, or hold its founding note against what is pinned.
 *
 * The first time the founding note is believed that is `given`, else the one beside the log; where `expect` is known
 * (what a poster or another member says: `sha256:…`) it has to be that one. `keys` are verifier keys that the reader
 * has from elsewhere: with them a log is pinned without a note, or goes on where its new keys could not be followed. A
 * log that has no note is pinned at first use by `told`, the keys that the service tells. `address` is where the log's
 * files begin: `/log` at first, and then what is pinned.
 * @param {Options & {address?: string, given?: string | Uint8Array, expect?: string, keys?: string[],
 *   told?: string[]}} [options]
 * @returns {Promise<Pinned>}
 */
export async function pin({ address, given, expect, keys = [], told = [], ...options } = {}) {
  const place = new Place(options);
  const record = place.recall();
  place.address = (address ?? record?.address ?? ADDRESS).replace(/\/+$/, "");
  const founding = await readFounding(place, given);
  if (expect !== undefined && founding?.pin !== expect) {
    throw new ProofRefused("founding-not-expected", { expected: expect, found: founding?.pin ?? null });
  }
  const isGiven = given !== undefined || expect !== undefined || keys.length > 0;
  /** @type {Pinned["how"]} */
  const how = isGiven ? "given" : (record?.how ?? "first-use");
  if (!record) return (await advance(place, await believed(place, founding, keys, told, how), null)).record;
  if (founding?.before.some((each) => each.founding.pin === record.founding)) {
    return goneOn(place, record, founding, how, isGiven);
  }
  const held = founding ? heldAgainst(record, founding) : record;
  const known = { ...held, address: place.address, how };
  if (keys.every((key) => record.eras.at(-1)?.keys.includes(key))) {
    place.keep(known);
    return known;
  }
  const before = headOf(record.head);
  const next = { from: plain(before.size) + 1, keys: texts(await keysOf(record.origin, keys)) };
  return (await advance(place, { ...known, eras: [...record.eras, next] }, before)).record;
}

/**
 * What is believed before anything is known.
 * @param {Place} place
 * @param {import("./founding.js").Founding | null} founding
 * @param {string[]} keys
 * @param {string[]} told
 * @param {Pinned["how"]} how
 * @returns {Promise<Pinned>}
 */
async function believed(place, founding, keys, told, how) {
  const { address } = place;
  if (founding && !keys.length) {
    const eras = [{ from: 0, keys: texts(founding.keys) }];
    return { v: VERSION, address, origin: founding.origin, eras, how, head: "", ...named(founding) };
  }
  const own = keys.length ? keys : told;
  if (!own.length) throw new NoVerdict("missing", { path: PATH });
  const { name: origin } = await parseVerifierKey(own[0]);
  const eras = [{ from: 0, keys: texts(await keysOf(origin, own)) }];
  const alone = { v: VERSION, address, origin, eras, how, head: "", ...UNNAMED };
  return founding && sharesKey(alone, founding) ? { ...alone, ...named(founding) } : alone;
}

/**
 * The log that goes on from the pinned one, if its founders stand behind it and it begins with what was seen.
 * @param {Place} place
 * @param {Pinned} record
 * @param {import("./founding.js").Founding} founding
 * @param {Pinned["how"]} how
 * @param {boolean} isGiven whether the reader has the note from elsewhere
 * @returns {Promise<Pinned>}
 */
async function goneOn(place, record, founding, how, isGiven) {
  const since = founding.before.findIndex((each) => each.founding.pin === record.founding);
  const notes = [...founding.before.slice(since).map((each) => each.founding), founding];
  for (const [at, note] of notes.slice(1).entries()) {
    const stayed = texts(notes[at].founders).some((founder) => texts(note.founders).includes(founder));
    if (!stayed && !isGiven) throw new ProofRefused("founders-gone", { origin: note.origin, before: notes[at].origin });
  }
  const seen = headOf(record.head);
  // What the log that ended told beyond its last good head is void.
  const isVoid = seen.size > founding.before[since].head.size;
  const next = await believed(place, founding, [], [], how);
  return (await advance(place, next, null, isVoid ? [] : [seen])).record;
}

/**
 * @param {Place} place
 * @param {string | Uint8Array | undefined} given
 */
async function readFounding(place, given) {
  try {
    return await parseFounding(given === undefined ? await place.read(PATH) : bytesOf(given));
  } catch (failed) {
    if (failed instanceof NoVerdict && failed.code === "missing") return null;
    throw failed;
  }
}

/**
 * What a founding note says besides the log's name and keys, as it is kept.
 * @param {import("./founding.js").Founding} founding
 */
function named(founding) {
  const before = founding.before.map(({ head, founding: its }) => ({
    origin: head.origin,
    size: plain(head.size),
    root: b64(head.root),
    keys: texts(its.keys),
  }));
  const { pin: known, witnesses, witnessesNeeded } = founding;
  return { founding: known, witnesses: texts(witnesses), witnesses_needed: witnessesNeeded, before };
}

/** @param {import("./note.js").VerifierKey[]} keys */
const texts = (keys) => keys.map((key) => key.text);

/**
 * The record, if this is the founding note that it is of, or the first that is of its keys.
 * @param {Pinned} record
 * @param {import("./founding.js").Founding} founding
 * @returns {Pinned}
 */
function heldAgainst(record, founding) {
  if (record.founding === founding.pin) return record;
  if (record.founding === null && sharesKey(record, founding)) return { ...record, ...named(founding) };
  const facts = { pinned: record.founding, found: founding.pin, origin: founding.origin };
  throw new ProofRefused("founding-changed", facts);
}

/**
 * Whether a note that nobody vouched for is of the log that is known by its keys.
 * @param {Pinned} record
 * @param {import("./founding.js").Founding} founding
 */
const sharesKey = (record, founding) =>
  record.origin === founding.origin && founding.keys.some((key) => record.eras[0].keys.includes(key.text));

// --- The latest head ---

/**
 * The log's head as it is now, once it is seen to continue the one that was remembered; then it is remembered.
 * @param {Options} [options]
 * @returns {Promise<LatestHead>}
 */
export async function latestHead(options) {
  const place = new Place(options);
  const record = requirePinned(place);
  return (await advance(place, record, headOf(record.head))).latest;
}

/**
 * Hold the signed head of a receipt against the published log: whether that begins with what the receipt is under.
 * @param {Pick<import("./receipt.js").Shown, "head">} shown what `verifyReceipt` returned
 * @param {Options} [options]
 * @returns {Promise<LatestHead>}
 */
export async function compareWithLatest(shown, options) {
  const latest = await latestHead(options);
  const place = new Place(options);
  const record = requirePinned(place);
  const [seen, now] = [headOf(shown.head.note), headOf(latest.note)];
  const tree = new Tiles(now.size, place.read);
  if (endedOf(record, seen.origin)) await requireBegins(tree, now, seen);
  else await requireContinues(place, tree, seen, now);
  return latest;
}

/** @param {Place} place */
function requirePinned(place) {
  const record = place.recall();
  if (!record) throw new NoVerdict("not-pinned");
  place.address = record.address;
  return record;
}

/**
 * @param {Place} place
 * @param {Pinned} record
 * @param {SignedHead | null} before the head that was remembered
 * @param {import("./note.js").Head[]} [seen] more heads that the log has to begin with, of logs before it
 * @returns {Promise<{record: Pinned, latest: LatestHead}>}
 */
async function advance(place, record, before, seen = []) {
  const now = headOf(unutf8(await place.read(CHECKPOINT), "note"));
  if (now.origin !== record.origin) {
    throw new ProofRefused("wrong-origin", { expected: record.origin, found: now.origin });
  }
  const tree = new Tiles(now.size, place.read);
  const eras = await signedBy(record, now, tree, before?.size ?? BigInt(record.before.at(-1)?.size ?? 0));
  if (before) await requireContinues(place, tree, before, now);
  else for (const ended of [...record.before.map(endedHead), ...seen]) await requireBegins(tree, now, ended);
  const kept = { ...record, eras, head: now.note.whole };
  place.keep(kept);
  const witnesses = await Promise.all(record.witnesses.map(parseVerifierKey));
  const latest = {
    origin: now.origin,
    size: plain(now.size),
    root: b64(now.root),
    note: now.note.whole,
    seen: plain(before?.size ?? 0n),
    keysChanged: eras.length > record.eras.length,
    witnesses: {
      cosigned: await cosigners(now.note, witnesses),
      known: new Set(witnesses.map((key) => key.name)).size,
      needed: record.witnesses_needed,
    },
  };
  return { record: kept, latest };
}

/**
 * The eras of keys, once a head is seen to be signed by the last of them.
 * @param {Pinned} record
 * @param {SignedHead} now
 * @param {Tiles} tree
 * @param {bigint} since from which entry on new keys are looked for
 * @returns {Promise<Era[]>}
 */
async function signedBy(record, now, tree, since) {
  try {
    await verified(now.note, await keysForHead(record, now.origin, now.size));
    return record.eras;
  } catch (refused) {
    if (!(refused instanceof ProofRefused) || refused.code !== "unknown-key" || now.size <= since) throw refused;
  }
  const eras = await followed(record, now, tree, since);
  const signers = { signers: now.note.signatures.map((line) => `${line.name}+${line.id}`) };
  if (eras.length === record.eras.length) throw new ProofRefused("unknown-key", signers);
  await verified(now.note, await keysForHead({ ...record, eras }, now.origin, now.size));
  return eras;
}

/**
 * The eras with those that the `keys` entries since begin.
 * @param {Pinned} record
 * @param {SignedHead} now
 * @param {Tiles} tree
 * @param {bigint} since
 * @returns {Promise<Era[]>}
 */
async function followed(record, now, tree, since) {
  const width = BigInt(WIDTH);
  const [first, last] = [since / width, (now.size - 1n) / width];
  if (last - first >= BigInt(SCANNED_MAX)) {
    throw new ProofRefused("keys-changed", { entries: plain(now.size - since) });
  }
  const eras = [...record.eras];
  for (let bundle = first; bundle <= last; bundle++) {
    for (const [at, data] of (await tree.entries(bundle)).entries()) {
      const index = bundle * width + BigInt(at);
      const entry = index < since ? null : keysEntry(data);
      if (!entry) continue;
      const path = await inclusionProof(index, now.size, tree.subtree);
      await verifyInclusion(await leafHash(data), index, now.size, path, now.root);
      const old = await Promise.all(eras[eras.length - 1].keys.map(parseVerifierKey));
      const keys = await handedOver(record.origin, entry, old);
      eras.push({ from: plain(index) + 1, keys: texts(keys) });
    }
  }
  return eras;
}

/**
 * The entry, if it is one of keys.
 * @param {Uint8Array} data
 */
function keysEntry(data) {
  try {
    return parseEntry(data, "keys");
  } catch (refused) {
    if (refused instanceof ProofRefused && refused.code === "other-entry") return null;
    throw refused;
  }
}

// --- One tree ---

/**
 * Refuses a head that does not continue another one of the same log, with both as evidence.
 * @param {Place} place
 * @param {Tiles} tree of the head that is shown now
 * @param {SignedHead} seen
 * @param {SignedHead} now
 */
async function requireContinues(place, tree, seen, now) {
  if (now.size < seen.size) throw refusedWith(place, "rolled-back", now, seen);
  if (now.size === seen.size && !same(now.root, seen.root)) throw refusedWith(place, "fork", seen, now);
  if (await begins(tree, now, seen)) return;
  // That the tree that is shown is the signed one, and begins with another root.
  const earlier = await rangeRoot(0n, seen.size, tree.subtree);
  const proof = await consistencyProof(seen.size, now.size, tree.subtree);
  if (!(await holds(() => verifyConsistency(seen.size, earlier, now.size, now.root, proof)))) {
    throw new ProofRefused("tiles-differ", { size: plain(now.size) });
  }
  throw refusedWith(place, "fork", seen, now, [`earlier ${b64(earlier)}`, ...proof.map(b64)]);
}

/**
 * Refuses a log that does not begin as the one that it goes on from ended.
 * @param {Tiles} tree
 * @param {SignedHead} now
 * @param {import("./note.js").Head} ended
 */
async function requireBegins(tree, now, ended) {
  if (ended.size > now.size || !(await begins(tree, now, ended))) {
    throw new ProofRefused("predecessor-differs", { origin: ended.origin, size: plain(ended.size) });
  }
}

/**
 * @param {Tiles} tree
 * @param {import("./note.js").Head} now
 * @param {import("./note.js").Head} seen
 * @returns {Promise<boolean>}
 */
async function begins(tree, now, seen) {
  const proof = await consistencyProof(seen.size, now.size, tree.subtree);
  return holds(() => verifyConsistency(seen.size, seen.root, now.size, now.root, proof));
}

/**
 * @param {() => Promise<void>} check
 * @returns {Promise<boolean>}
 */
async function holds(check) {
  try {
    await check();
    return true;
  } catch (refused) {
    if (refused instanceof ProofRefused) return false;
    throw refused;
  }
}

/** @param {Ended} ended */
const endedHead = ({ origin, size, root }) => ({ origin, size: BigInt(size), root: unb64(root) });

/**
 * The refusal of two heads, the smaller first; its evidence is a file that `streamcoop-verify` takes.
 * @param {Place} place
 * @param {string} code
 * @param {SignedHead} first
 * @param {SignedHead} second
 * @param {string[]} [path]
 */
function refusedWith(place, code, first, second, path = []) {
  const notes = [first.note.whole, second.note.whole];
  const evidence = `${[EVIDENCE_MARK, ...path, ""].join("\n")}\n${notes.join("\n")}`;
  place.keepEvidence(evidence);
  return new ProofRefused(code, { heads: notes, sizes: [plain(first.size), plain(second.size)], evidence });
}
