// How loud a track is, drawn behind the player's slider and on the track's page, and how much of it was heard.

import { call } from "./api.js";

const QUIETEST = 32; // of 255: noise is not drawn as if it were music
const seek = document.querySelector("#player .seek");
const picture = seek.querySelector(".wave");
let wanted = null;
let peaks = 1; // how many are drawn

/** A bar for each peak, in a box as wide as there are and 100 high; the loudest reaches the edges. */
function pathOf(loud) {
  const loudest = Math.max(QUIETEST, ...loud);
  return Array.from(loud, (peak, at) => {
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
  const loud = Uint8Array.from(atob(told.waveform), (byte) => byte.charCodeAt(0));
  peaks = loud.length;
  picture.setAttribute("viewBox", `0 0 ${peaks} 100`);
  for (const path of picture.querySelectorAll("path")) path.setAttribute("d", pathOf(loud));
  seek.classList.add("drawn");
}

/** So much of the track was heard, from 0 to 1; the slider is of so much of it, which is less of a preview. */
export function showHeard(trackId, heard, slid) {
  picture.setAttribute("viewBox", `0 0 ${peaks * slid} 100`);
  picture.querySelector("rect").setAttribute("width", peaks * heard);
  for (const page of document.querySelectorAll(`#main .wave[data-of="${trackId}"]`)) {
    page.querySelector("rect").setAttribute("width", page.viewBox.baseVal.width * heard);
  }
}
