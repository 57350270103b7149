// Signing in person: by a wallet in this browser (EIP-1193), or by a passkey (WebAuthn).

/** Nothing was signed. `code`: `no-wallet`, `other-account` (with `address`), `no-passkey`, `stopped`. */
export class NotSigned extends Error {
  constructor(code, facts = {}) {
    super(code);
    this.code = code;
    this.facts = facts;
  }
}

// --- Wallets ---

const REFUSED_BY_USER = 4001;

export const hasWallet = () => Boolean(window.ethereum);

async function ask(method, params = []) {
  if (!hasWallet()) throw new NotSigned("no-wallet");
  try {
    return await window.ethereum.request({ method, params });
  } catch (refused) {
    throw refused?.code === REFUSED_BY_USER ? new NotSigned("stopped") : new Error(refused?.message ?? String(refused));
  }
}

/** The account that is chosen in the wallet, in lower case. */
export async function walletAddress() {
  const [address] = await ask("eth_requestAccounts");
  if (!address) throw new NotSigned("stopped");
  return address.toLowerCase();
}

async function require(address) {
  const accounts = await ask("eth_requestAccounts");
  if (!accounts.some((account) => account.toLowerCase() === address.toLowerCase())) throw new NotSigned("other-account", { address });
}

/** A text, signed by an account (EIP-191). */
export async function signText(address, text) {
  await require(address);
  const bytes = new TextEncoder().encode(text);
  const hex = `0x${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  return ask("personal_sign", [hex, address]);
}

/** Typed data, signed by an account (EIP-712). */
export async function signTyped(address, typed) {
  await require(address);
  const chain = Number(typed.domain.chainId);
  if (Number(await ask("eth_chainId")) !== chain) {
    // Some wallets sign only for the chain that is chosen in them. Where they do not know this one, they say so below.
    await ask("wallet_switchEthereumChain", [{ chainId: `0x${chain.toString(16)}` }]).catch(() => null);
  }
  return withUsualV(await ask("eth_signTypedData_v4", [address, JSON.stringify(typed)]));
}

/** Some devices tell the last byte as 0 or 1 instead of 27 or 28. */
function withUsualV(signature) {
  const v = Number.parseInt(signature.slice(-2), 16);
  return v < 2 ? signature.slice(0, -2) + (v + 27).toString(16) : signature;
}

// --- Passkeys ---

function bytesOf(told) {
  const plain = atob(told.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
}

function told(buffer) {
  const plain = Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join("");
  return btoa(plain).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

const described = (credentials) => (credentials ?? []).map((credential) => ({ ...credential, id: bytesOf(credential.id) }));

async function credential(how, options) {
  if (!navigator.credentials?.[how] || !window.PublicKeyCredential) throw new NotSigned("no-passkey");
  let made;
  try {
    made = await navigator.credentials[how]({ publicKey: options });
  } catch (refused) {
    throw new NotSigned(refused?.name === "NotAllowedError" ? "stopped" : "no-passkey");
  }
  if (!made) throw new NotSigned("stopped");
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (made.response[name]) response[name] = told(made.response[name]);
  }
  return {
    id: made.id,
    rawId: told(made.rawId),
    type: made.type,
    response,
    clientExtensionResults: made.getClientExtensionResults(),
  };
}

/** `RegistrationResponseJSON` for `PublicKeyCredentialCreationOptionsJSON`. */
export function makePasskey(options) {
  const user = { ...options.user, id: bytesOf(options.user.id) };
  return credential("create", { ...options, challenge: bytesOf(options.challenge), user, excludeCredentials: described(options.excludeCredentials) });
}

/** `AuthenticationResponseJSON` for `PublicKeyCredentialRequestOptionsJSON`. */
export function askPasskey(options) {
  return credential("get", { ...options, challenge: bytesOf(options.challenge), allowCredentials: described(options.allowCredentials) });
}
