const LOST_AFTER_MS = 3000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5000;

/**
 * Publishes a MediaStream by WHIP (RFC 9725): one HTTP request in, one out. When the server goes away,
 * or sends its anchors elsewhere, it asks at the same address again, until `stop`.
 *
 *   const publisher = new WhipPublisher({ url, token, onState: (state) => … });
 *   await publisher.start(await navigator.mediaDevices.getUserMedia({ audio: true, video: true }));
 *   …
 *   await publisher.stop();
 */
export class WhipPublisher {
  #url;
  #token;
  #codec;
  #layers;
  #onState;
  #peer = null;
  #stream = null;
  #session = null;
  #pauseMs = FIRST_PAUSE_MS;
  #timer = null;

  /**
   * @param {object} options
   * @param {string} options.url the WHIP endpoint: …/whip/{SdkAppId}/{RoomIdType}/{RoomId}/{UserId}
   * @param {string} options.token the UserSig of that UserId
   * @param {string} [options.codec] "H264", "VP8", "VP9", "AV1" or "H265"; the browser chooses if it is empty
   * @param {string} [options.layers] a scalability mode such as "L3T3_KEY"; empty for one layer
   * @param {(state: RTCPeerConnectionState) => void} [options.onState] "new" again when it comes back
   */
  constructor({ url, token, codec = "", layers = "", onState = () => {} }) {
    this.#url = url;
    this.#token = token;
    this.#codec = codec;
    this.#layers = layers;
    this.#onState = onState;
  }

  /** The connection's state: "new" while there is none. */
  get state() {
    return this.#peer?.connectionState ?? "new";
  }

  /**
   * Offers the stream's tracks to the server; it takes ownership of them.
   *
   * Rejects with an Error that says what the server said.
   */
  async start(stream) {
    this.#stream = stream;
    try {
      await this.#connect();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Ends the session and frees the camera; harmless when it was called before. */
  async stop() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = null;
    await this.#leave();
  }

  /**
   * What is sent, one object for each track, and what the server says of it.
   *
   * @returns {Promise<object>} { audio: {…}, video: {…}, roundTripS } where a track has `codec`,
   *   `bytesSent`, `packetsSent`, `nackCount`, `fractionLost`, and video also `width`, `height`,
   *   `framesEncoded`, `keyFramesEncoded`, `pliCount`, `layers`,
   *   `targetKbps`.
   */
  async stats() {
    const report = (await this.#peer?.getStats()) ?? new Map();
    const result = {};
    for (const item of report.values()) {
      if (item.type === "outbound-rtp") {
        const remote = report.get(item.remoteId);
        result[item.kind] = {
          codec: report.get(item.codecId)?.mimeType ?? null,
          bytesSent: item.bytesSent,
          packetsSent: item.packetsSent,
          nackCount: item.nackCount,
          fractionLost: remote?.fractionLost ?? null,
          width: item.frameWidth ?? null,
          height: item.frameHeight ?? null,
          framesEncoded: item.framesEncoded ?? null,
          keyFramesEncoded: item.keyFramesEncoded ?? null,
          pliCount: item.pliCount ?? null,
          layers: item.scalabilityMode ?? null,
          targetKbps: item.targetBitrate === undefined ? null : item.targetBitrate / 1000,
        };
        result.roundTripS = remote?.roundTripTime ?? result.roundTripS ?? null;
      }
    }
    return result;
  }

  async #connect() {
    const peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.#peer = peer;
    for (const track of this.#stream.getTracks()) {
      const transceiver = peer.addTransceiver(track, {
        direction: "sendonly",
        streams: [this.#stream],
        ...(track.kind === "video" &&
          this.#layers && { sendEncodings: [{ scalabilityMode: this.#layers }] }),
      });
      if (track.kind === "video" && this.#codec) {
        transceiver.setCodecPreferences(findCodecs(this.#codec));
      }
    }
    peer.addEventListener("connectionstatechange", () => this.#noteState(peer));
    await this.#negotiate(peer);
    if (peer !== this.#peer) {
      return; // `stop` was called meanwhile
    }
    // A server that ends the session closes DTLS; `connectionState` tells only seconds later.
    const transport = peer.getSenders()[0].transport;
    transport.addEventListener("statechange", () => {
      if (transport.state === "closed") {
        this.#comeBack(peer);
      }
    });
  }

  async #negotiate(peer) {
    await peer.setLocalDescription();
    // The server is ICE-lite: it needs none of our candidates, so there is no waiting for them.
    const { sdp } = peer.localDescription;
    let response = await this.#offer(this.#url, sdp);
    if (response.status === 401 && response.redirected) {
      // Another node has the room, and browsers leave the token behind on the way to another host.
      response = await this.#offer(response.url, sdp);
    }
    const text = await response.text();
    if (response.status !== 201) {
      throw new Error(`HTTP ${response.status}: ${explain(text)}`);
    }
    const session = new URL(response.headers.get("Location"), response.url).href;
    if (peer !== this.#peer) {
      this.#sayGoodbye(session);
      return;
    }
    this.#session = session;
    await peer.setRemoteDescription({ type: "answer", sdp: text });
  }

  #offer(url, sdp) {
    const headers = { "Content-Type": "application/sdp", Authorization: `Bearer ${this.#token}` };
    return fetch(url, { method: "POST", headers, body: sdp });
  }

  #noteState(peer) {
    if (peer !== this.#peer) {
      return;
    }
    clearTimeout(this.#timer);
    this.#onState(this.state);
    if (this.state === "connected") {
      this.#pauseMs = FIRST_PAUSE_MS;
    } else if (this.state === "failed") {
      this.#comeBack(peer);
    } else if (this.state === "disconnected") {
      this.#timer = setTimeout(() => this.#comeBack(peer), LOST_AFTER_MS);
    }
  }

  async #comeBack(peer) {
    if (peer === null || peer !== this.#peer) {
      return;
    }
    this.#leave();
    this.#onState("new");
    // Spread, so that a hundred pages do not come back in one instant.
    const pauseMs = this.#pauseMs * (0.75 + Math.random() / 2);
    this.#pauseMs = Math.min(this.#pauseMs * 2, LONGEST_PAUSE_MS);
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    if (this.#stream === null || this.#peer !== null) {
      return;
    }
    try {
      await this.#connect();
    } catch {
      this.#comeBack(this.#peer);
    }
  }

  async #leave() {
    clearTimeout(this.#timer);
    this.#peer?.close();
    this.#peer = null;
    const session = this.#session;
    this.#session = null;
    if (session) {
      await this.#sayGoodbye(session);
    }
  }

  async #sayGoodbye(session) {
    const headers = { Authorization: `Bearer ${this.#token}` };
    // keepalive: the goodbye is sent even if it is said because the page is closed.
    await fetch(session, { method: "DELETE", headers, keepalive: true }).catch(() => {});
  }
}

function findCodecs(name) {
  const { codecs } = RTCRtpSender.getCapabilities("video");
  const found = codecs.filter((codec) => codec.mimeType.toUpperCase() === `VIDEO/${name}`);
  if (found.length === 0) {
    throw new Error(`this browser cannot encode ${name}`);
  }
  return found;
}

function explain(text) {
  try {
    return JSON.parse(text).detail;
  } catch {
    return text;
  }
}
