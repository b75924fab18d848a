// livekit-client's worker for end-to-end encryption. The page is told of each frame before it is encrypted.
const channel = new BroadcastChannel("frames");
const encrypt = crypto.subtle.encrypt.bind(crypto.subtle);
crypto.subtle.encrypt = (algorithm, key, data) => {
  const frame = [...(algorithm.additionalData ?? []), ...new Uint8Array(data)];
  channel.postMessage({ isAudio: algorithm.additionalData?.length === 1, frame });
  return encrypt(algorithm, key, data);
};
importScripts("/livekit-client/livekit-client.e2ee.worker.js");
