// How loud a track is, drawn behind the player's slider and on the track's page, and how much of it was heard.

import { call } from "./api.js";

const QUIETEST = 32; // of 255: noise is not drawn as if it were music
const seek = document.querySelector("#player .seek");
const picture = seek.querySelector(".wave");
let wanted = null;

/** A bar for each peak, in a box as wide as there are and 100 high; the loudest reaches the edges. */
function pathOf(peaks) {
  const loudest = Math.max(QUIETEST, ...peaks);
  return Array.from(peaks, (peak, at) => {
    const height = Math.max(2, Math.round((100 * peak) / loudest));
    return `M${at}.15,${50 - height / 2}h.7v${height}h-.7z`;
  }).join("");
}

/** Draw the track behind the slider. One that has no waveform, or cannot be asked for, has the plain slider. */
export async function drawWave(trackId) {
  wanted = trackId;
  seek.classList.remove("drawn");
  let told;
  try {
    told = await call("GET", `/api/v1/tracks/${trackId}`);
  } catch {
    return;
  }
  if (wanted !== trackId || !told.waveform) return;
  const peaks = Uint8Array.from(atob(told.waveform), (byte) => byte.charCodeAt(0));
  picture.setAttribute("viewBox", `0 0 ${peaks.length} 100`);
  for (const path of picture.querySelectorAll("path")) path.setAttribute("d", pathOf(peaks));
  seek.classList.add("drawn");
}

/** A part of the track, from 0 to 1, was heard. */
export function showHeard(trackId, part) {
  const pictures = [picture, ...document.querySelectorAll(`#main .wave[data-of="${trackId}"]`)];
  for (const each of pictures) each.querySelector("rect").setAttribute("width", part * each.viewBox.baseVal.width);
}
