// Wires the page to WhipPublisher: nothing of WebRTC is here.
import { WhipPublisher } from "./whip-publisher.js";

const form = document.querySelector("form");
const preview = document.querySelector("video");
const state = document.querySelector("output[name=state]");
const stats = document.querySelector("output[name=stats]");

/** @type {WhipPublisher | null} */
let publisher = null;
let timer = null;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  publish(Object.fromEntries(new FormData(form))).catch((error) => {
    state.value = error.message;
    stop();
  });
});
form.stop.addEventListener("click", () => {
  state.value = "not publishing";
  stop();
});
window.addEventListener("pagehide", stop);

async function publish(options) {
  await stop();
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: true,
    video: { width: 1280, height: 720 },
  });
  preview.srcObject = stream;
  publisher = new WhipPublisher({ ...options, onState: (name) => (state.value = name) });
  form.stop.disabled = false;
  timer = setInterval(showStats, 1000);
  await publisher.start(stream);
}

async function stop() {
  clearInterval(timer);
  form.stop.disabled = true;
  preview.srcObject = null;
  stats.value = "";
  await publisher?.stop();
  publisher = null;
}

async function showStats() {
  const { video, roundTripS } = await publisher.stats();
  if (video?.width) {
    const rate = video.targetKbps === null ? "" : `, ${Math.round(video.targetKbps)} kbit/s`;
    const away = roundTripS === null ? "" : `, ${Math.round(roundTripS * 1000)} ms away`;
    const asked = `${video.pliCount} key frames asked for`;
    stats.value = `${video.codec} ${video.width}x${video.height}${rate}${away}, ${asked}`;
  }
}

// For the console of the developer tools: await publisher.stats()
Object.defineProperty(window, "publisher", { get: () => publisher });
